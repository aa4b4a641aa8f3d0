"""From sound to text: an encoder, soft prompts where it has some, and a linear CTC head."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import ctc_loss, layer_norm
from torch.nn.utils.rnn import pad_sequence

from crossfade.probing.ctc import BLANK, TokenTable, greedy
from crossfade.probing.upstreams import Upstream
from crossfade.probing.whisper import WhisperListener
from crossfade.prompts.attach import Handle
from crossfade.prompts.corpus import grouped
from crossfade.prompts.recipe import Head
from crossfade.prompts.soft import SoftPrompts

Heard = Callable[[], Tensor] | None
"""Prompts that a model hears, as `attach.Handle` takes them; None: no prompts."""


class CtcHead(nn.Module):
    """Scores of tokens from a clip's layers, each frame of each layer brought to mean 0 and variance 1 first."""

    def __init__(self, layers: int, width: int, outputs: int, settings: Head) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.zeros(layers)) if settings.layers == "weighted" else None
        self.dropout = nn.Dropout(settings.dropout)
        self.output = nn.Linear(width, outputs)

    def forward(self, layers: Tensor) -> Tensor:
        """(frames, outputs) of a clip's layers (layers, frames, width)."""
        heard = layer_norm(layers if self.mix is not None else layers[-1:], layers.shape[-1:])
        frames = heard[0] if self.mix is None else torch.einsum("l,lfw->fw", self.mix.softmax(0), heard)
        scores: Tensor = self.output(self.dropout(frames))
        return scores


class Recognizer(nn.Module):
    """Writes what clips say. `encoder` is what holds `upstream`'s model: it, or peft's wrapping of it.

    The encoder is always in evaluation mode, so that a clip is heard alike in training and afterwards.
    """

    encoder: nn.Module

    def __init__(
        self, upstream: Upstream, encoder: nn.Module, prompts: SoftPrompts | None, head: CtcHead, table: TokenTable
    ) -> None:
        super().__init__()
        self.upstream, self.table = upstream, table
        self.encoder, self.prompts, self.head = encoder, prompts, head
        self.listen: Any = upstream.listen
        if isinstance(self.listen, WhisperListener) and prompts is not None and prompts.config.place == "before":
            self.listen = replace(self.listen, taken=prompts.config.count)

    def train(self, mode: bool = True) -> "Recognizer":
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, clips: Sequence[Tensor], heard: Heard, *, head_alone: bool = False) -> list[Tensor]:
        """Scores (frames, tokens + 1) of each clip (samples,), as if it were alone.

        head_alone: gradients end at the head.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not head_alone):
            states = self.states(clips, heard)
        return [self.head(own) for own in states]

    def states(self, clips: Sequence[Tensor], heard: Heard) -> list[Tensor]:
        """What the head scores, (layers, frames, width) float32 of each clip (samples,)."""
        with self.upstream.computing(), self._hearing(heard):
            return [own.float() for own in self.listen([clip.to(self.upstream.device) for clip in clips])]

    @contextmanager
    def _hearing(self, heard: Heard) -> Iterator[None]:
        if heard is None or self.prompts is None:
            yield
            return
        handle = Handle(self.listen.model, self.prompts.config, heard)
        try:
            yield
        finally:
            handle.detach()

    @torch.no_grad()
    def write(self, states: Sequence[Tensor]) -> list[str]:
        """The text of each clip from its states, by the best path."""
        return [self.table.decode(greedy(self.head(own))) for own in states]

    def trained(self) -> dict[str, nn.Parameter]:
        """What a training moves, by name."""
        return {name: value for name, value in self.named_parameters() if value.requires_grad}

    def take(self, state: dict[str, Tensor]) -> None:
        """Set what is trained to what a training saved of it."""
        with torch.no_grad():
            for name, value in self.trained().items():
                value.copy_(state[name])


def losses(scores: Sequence[Tensor], ids: Sequence[Tensor]) -> Tensor:
    """Connectionist temporal classification, (clips,): the negative log likelihood of each clip's ids per token.

    A clip whose frames cannot carry its ids counts nothing.
    """
    lengths = torch.tensor([len(own) for own in scores])
    sizes = torch.tensor([len(own) for own in ids])
    frames = pad_sequence([own.log_softmax(-1) for own in scores])
    found = ctc_loss(frames, torch.cat(list(ids)).to(frames.device), lengths, sizes, BLANK, "none", zero_infinity=True)
    return found / sizes.clamp_min(1).to(found)


def transcribe(
    recognizer: Recognizer, clips: Sequence[Tensor], hear: Callable[[list[int]], Heard], most: int
) -> list[str]:
    """The text of every clip (samples,), in batches of `most` samples with clips of like length.

    hear: the prompts of a batch, whose clips it is given by their places.
    """
    return [text for (text,) in transcribe_alike([recognizer], clips, hear, most)]


@torch.no_grad()
def transcribe_alike(
    recognizers: Sequence[Recognizer], clips: Sequence[Tensor], hear: Callable[[list[int]], Heard], most: int
) -> list[tuple[str, ...]]:
    """The texts of every clip, one of each recogniser, where all have the same states: the first listens for all."""
    lengths = [len(clip) for clip in clips]
    texts: dict[int, tuple[str, ...]] = {}
    for batch in grouped(sorted(range(len(clips)), key=lengths.__getitem__), lengths, most):
        states = recognizers[0].states([clips[place] for place in batch], hear(batch))
        texts |= zip(batch, zip(*(one.write(states) for one in recognizers), strict=True), strict=True)
    return [texts[place] for place in range(len(clips))]
