"""Reading chosen channels out of a running model, a sample of its frames at a time."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from crossfade.encoders.families import Tap


class Taps:
    """Hooks that keep sampled frames of `taps` while `model` runs; a context manager that removes them again.

    `frames` holds positions in [0, 1) of the clip: taps of different frame rates sample the same instants.
    """

    def __init__(self, model: nn.Module, taps: Sequence[Tap]) -> None:
        self.taps = taps
        self.frames = torch.zeros(1)
        self.kept: dict[Tap, Tensor] = {}
        self._handles = [self._hook(model.get_submodule(tap.module), tap) for tap in taps]

    def _hook(self, module: nn.Module, tap: Tap) -> torch.utils.hooks.RemovableHandle:
        keep = self._keep(tap)
        if tap.side == "input":
            return module.register_forward_pre_hook(lambda _, inputs: keep(inputs[0]))
        return module.register_forward_hook(lambda _, __, output: keep(output))

    def _keep(self, tap: Tap) -> Callable[[Any], None]:
        def keep(value: Any) -> None:
            activations: Tensor = value[0] if isinstance(value, tuple) else value
            time = 1 if tap.channels_last else 2
            index = (self.frames.to(activations.device) * activations.shape[time]).long()
            sample = activations.index_select(time, index)
            sample = sample if tap.channels_last else sample.transpose(1, 2)
            self.kept[tap] = sample.reshape(-1, sample.shape[-1])

        return keep

    def take(self) -> dict[Tap, Tensor]:
        """What the last run left: (clips x sampled frames, channels) for every tap."""
        missing = [tap.module for tap in self.taps if tap not in self.kept]
        if missing:
            raise RuntimeError(f"nothing flowed through {missing[0]}: transformers runs this model another way")
        kept, self.kept = self.kept, {}
        return kept

    def __enter__(self) -> "Taps":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
