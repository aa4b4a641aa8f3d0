"""Which prompts a clip hears at inference: those that were tuned, others in their place, or none."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crossfade.prompts import modes as ways
from crossfade.prompts.bank import PromptBank, noise_profile
from crossfade.prompts.methods import METHODS
from crossfade.prompts.recognizer import Heard
from crossfade.prompts.tuned import Tuned


@dataclass(frozen=True)
class Means:
    """What modes go by: a seed, other vectors and the share of them, a bank and how sharply it is weighted."""

    seed: int = 0
    other: Tensor | None = None
    share: float = 0.5
    bank: PromptBank | None = None
    temperature: float = 1.0


ALONE: Mapping[str, Callable[[Tensor, Means], Tensor | None]] = {
    "keep": lambda own, _: ways.keep(own),
    "remove": lambda own, _: ways.remove(own),
    "random": lambda own, means: ways.random(own, means.seed),
    "shuffled": lambda own, means: ways.shuffled(own, means.seed),
}
BESIDE: Mapping[str, Callable[[Tensor, Tensor, Means], Tensor]] = {
    "swapped": lambda own, other, _: ways.swapped(own, other),
    "interpolated": lambda own, other, means: ways.interpolated(own, other, means.share),
}
BANKED: Mapping[str, Callable[[PromptBank, Tensor, Means], Tensor]] = {
    "nearest": lambda bank, profile, _: bank.nearest(profile),
    "weighted": lambda bank, profile, means: bank.weighted(profile, means.temperature),
    "averaged": lambda bank, _, __: bank.averaged(),
}
MODES = (*ALONE, *BESIDE, *BANKED)
"""What is heard for prompts: see `modes`, and `bank` for the last three. All else than prompts is heard as it is."""


def hears_nothing(mode: str, tuned: Tuned) -> bool:
    """Whether the encoder is heard as it was before the tuning: alike whatever was tuned on it."""
    return METHODS[tuned.recipe.method].frozen and (tuned.recognizer.prompts is None or mode == "remove")


def hearing(mode: str, tuned: Tuned, clips: Sequence[Tensor], means: Means) -> Callable[[list[int]], Heard]:
    """Which prompts a batch of clips (by their places) hears. Raises InputError for vectors that do not fit."""
    prompts = tuned.recognizer.prompts
    if prompts is None:
        return lambda _: None
    own = prompts.vectors.detach()
    if mode in BANKED:
        assert means.bank is not None
        bank, rate = means.bank, tuned.upstream.rate
        ways.swapped(own, bank.vectors[0])  # which refuses other shapes
        bank.prompts[0].require_base(tuned.upstream.name, tuned.upstream.sha256)

        def chosen(batch: list[int]) -> Heard:
            profiles = [noise_profile(clips[place].cpu(), rate) for place in batch]
            each = torch.stack([BANKED[mode](bank, profile, means) for profile in profiles]).to(own)
            return lambda: each

        return chosen
    if mode in BESIDE:
        assert means.other is not None
        vectors: Tensor | None = BESIDE[mode](own, means.other.to(own), means)
    else:
        vectors = ALONE[mode](own, means)
    return lambda _: None if vectors is None else lambda: vectors
