"""What prompts do inside an encoder: how much its frames attend to them, and how far they move what it says."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from crossfade.prompts.attach import layers_of
from crossfade.prompts.soft import SoftPrompts
from crossfade.vectors.geometry import cka


class Listener(Protocol):
    """`probing.padded.PaddedEncoder` or `probing.whisper.WhisperListener`."""

    @property
    def model(self) -> Any: ...

    def __call__(self, clips: Sequence[Tensor]) -> list[Tensor]: ...


@dataclass(frozen=True)
class Attention:
    """Share of their attention that frames give to prompts: `mass` (layers, heads), mean over frames.

    `even` is what it would be if all were attended to alike.
    """

    mass: Tensor
    even: float


@torch.inference_mode()
def attention_mass(listen: Listener, prompts: SoftPrompts, clips: Sequence[Tensor]) -> Attention:
    """What frames of `clips` (samples,) give to prompts in every layer and head; for Whisper, clips of at most 30 s."""
    count, sums, frames, even = prompts.config.count, torch.tensor(0.0), 0, 0.0
    for clip in clips:
        with prompts.attached(listen.model), _watched(listen.model, count) as given:
            listen([clip])
        mass = torch.stack(given)  # (layers, heads, frames)
        sums = sums + mass.double().sum(-1).cpu()
        frames += mass.shape[-1]
        even += mass.shape[-1] * count / (count + mass.shape[-1])
    return Attention(sums / frames, even / frames)


@contextmanager
def _watched(model: nn.Module, count: int) -> Iterator[list[Tensor]]:
    """A list that every layer's attention adds to as it runs: what its frames give to the `count` prompts."""
    given: list[Tensor] = []
    attentions = [next(part for part in layer.children() if hasattr(part, "v_proj")) for layer in layers_of(model)]
    hooks = [attention.register_forward_hook(_giving(given, count), with_kwargs=True) for attention in attentions]
    try:
        yield given
    finally:
        for hook in hooks:
            hook.remove()


def _giving(given: list[Tensor], count: int) -> Callable[..., None]:
    """A hook that runs an attention once more with values that are 1 for prompts and 0 for frames.

    What is mixed then is the mass on prompts, in every channel of a head alike: so it is known without the weights,
    which fused attention never tells.
    """

    def mark(_: nn.Module, __: Any, values: Tensor) -> Tensor:
        marked = torch.zeros_like(values)
        marked[:, :count] = 1.0
        return marked

    def give(attention: Any, args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        def keep(_: nn.Module, inputs: tuple[Tensor]) -> None:
            frames = inputs[0][:, count:].flatten(0, 1)
            given.append(frames[:, :: attention.head_dim].T)  # a channel of each head

        hooks = attention.v_proj.register_forward_hook(mark), attention.out_proj.register_forward_pre_hook(keep)
        try:
            attention.forward(*args, **kwargs)
        finally:
            for hook in hooks:
                hook.remove()

    return give


@dataclass(frozen=True)
class Shift:
    """How far prompts move hidden states, one number for what enters the transformer and for every layer.

    `cosine` of a frame with and without prompts, mean over frames; `cka` (linear, 1905.00414) of all of them.
    """

    cosine: tuple[float, ...]
    cka: tuple[float, ...]


@torch.inference_mode()
def shift(listen: Listener, prompts: SoftPrompts, clips: Sequence[Tensor]) -> Shift:
    """Hidden states of `clips` (samples,) with prompts against those without."""
    plain = torch.cat(listen(clips), dim=1)
    with prompts.attached(listen.model):
        prompted = torch.cat(listen(clips), dim=1)
    cosine = torch.cosine_similarity(plain, prompted, dim=-1).mean(-1)
    pairs = zip(plain, prompted, strict=True)
    return Shift(tuple(cosine.tolist()), tuple(cka(one, other) for one, other in pairs))
