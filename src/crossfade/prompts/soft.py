"""Soft prompts: a few learned vectors that a frozen encoder hears before its frames."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from crossfade.encoders.writer import output_folder
from crossfade.errors import InputError
from crossfade.prompts.attach import Handle
from crossfade.prompts.config import PromptConfig
from crossfade.prompts.drift import Defence
from crossfade.prompts.store import read_prompts, write_prompts

DEVIATION = 0.02
"""Of the numbers that prompts start from: our choice, that of a transformer's embeddings."""


class SoftPrompts(nn.Module):
    """Learned vectors (layers, count, width), float32, for one frozen encoder; the only parameter.

    `vectors` None: they start from the seed, see `initial_vectors`.
    """

    def __init__(self, config: PromptConfig, vectors: Tensor | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        found = initial_vectors(config, seed) if vectors is None else vectors.detach().float().clone()
        shape = (config.layers, config.count, config.width)
        if tuple(found.shape) != shape:
            raise InputError(f"prompts: config promises vectors of shape {shape}, received {tuple(found.shape)}")
        self.vectors = nn.Parameter(found)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self) -> Tensor:
        """The vectors as a model hears them: in training some numbers are dropped."""
        dropped: Tensor = self.dropout(self.vectors)
        return dropped

    def attach(self, model: nn.Module) -> Handle:
        """Put the prompts into a transformers model (the encoder or a task model around it) until `Handle.detach`.

        Neither weights nor buffers of the model change. Gradients reach `vectors`. Hooks that were in the model before
        see frames alone. Raises InputError for a model of another family, width or depth, and for one with prompts.
        """
        return Handle(model, self.config, self)

    @contextmanager
    def attached(self, model: nn.Module) -> Iterator[nn.Module]:
        """`model` with the prompts, as long as the context lasts; see `attach`."""
        handle = self.attach(model)
        try:
            yield model
        finally:
            handle.detach()

    def require_base(self, name: str, sha256: str | None) -> None:
        """Raises InputError unless the encoder `name` with this hash of its weight files is the one they are for."""
        wanted = self.config.base_sha256
        if wanted is not None and sha256 != wanted:
            raise InputError(
                f"{name}: its weights have SHA-256 {str(sha256)[:12]}…, the prompts were tuned on "
                f"{self.config.base_model_name_or_path} ({wanted[:12]}…); give that one"
            )

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write `folder`, whole or not at all: adapter_config.json, with a record of the vectors, and safetensors."""
        with output_folder(Path(folder), overwrite=overwrite) as draft:
            write_prompts(draft, self.config, self.vectors)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, defence: Defence = "refuse") -> Self:
        """The prompts in a folder; where they are not what its config recorded, `defence` says what then.

        Raises InputError for a folder that holds none, damaged ones, and changed ones (see `drift.defend`).
        """
        return cls(*read_prompts(Path(folder), defence))


def initial_vectors(config: PromptConfig, seed: int, heard: Sequence[Tensor] = ()) -> Tensor:
    """What prompts start from, (layers, count, width), drawn from the seed.

    `normal`: Gaussian numbers, see `DEVIATION`. `frames`: frames that the encoder itself makes of some clips, each
    vector one that the layer reads; `heard` are the clips' hidden states (layers + 1, frames, width) without prompts.
    """
    random = torch.Generator().manual_seed(seed)
    if config.init == "normal":
        return DEVIATION * torch.randn(config.layers, config.count, config.width, generator=random)
    frames = torch.cat([clip[: config.layers] for clip in heard], dim=1) if heard else torch.empty(config.layers, 0, 0)
    if frames.shape[1] < config.count:
        raise InputError(
            f"init 'frames': {frames.shape[1]} frames for {config.count} prompts; give more or longer clips"
        )
    return frames[:, torch.randperm(frames.shape[1], generator=random)[: config.count]].float().cpu()
