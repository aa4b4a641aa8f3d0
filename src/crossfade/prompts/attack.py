"""Malicious prompts: a small change of tuned ones that makes a recogniser fail, found by its own gradient."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from crossfade.errors import InputError
from crossfade.progress import SILENT, Progress
from crossfade.prompts.config import Record
from crossfade.prompts.drift import bounded

OVERSHOOT = 2.5
"""All steps together, over the radius of the ball: far enough to reach any point of it (1706.06083)."""


@dataclass(frozen=True)
class Attack:
    """Attacked `vectors` (layers, count, width), and the loss before every step, first that of a random change."""

    vectors: Tensor
    losses: tuple[float, ...]


def attack(
    vectors: Tensor,
    loss: Callable[[Tensor], Tensor],
    *,
    epsilon: float,
    steps: int = 50,
    seed: int = 0,
    within: Record | None = None,
    progress: Progress = SILENT,
) -> Attack:
    """Vectors no further than `epsilon` times their norm from those given, at which `loss` is large.

    Projected gradient ascent in the Euclidean norm over all layers and vectors, from a random change of that size.
    `loss` is called with the vectors once a step; it may listen to other clips every time, and the change found is one
    for all of them. `within`: the attacker hides from a check of norms, and no vector grows beyond the recorded ones
    of its layer. Raises InputError for a loss that is not finite.
    """
    if not (epsilon > 0 and steps > 0):
        raise InputError(f"attack: expected epsilon and steps above 0, received {epsilon} and {steps}")
    tuned = vectors.detach()
    radius = epsilon * float(tuned.norm())
    found = _hidden(randomly_changed(tuned, epsilon, seed), within)
    losses = []
    for step in progress.track(range(steps), total=steps, description="attacking"):
        found.requires_grad_()
        value = loss(found)
        if not isfinite(float(value.detach())):
            raise InputError(
                f"attack: the loss is {float(value.detach())} at step {step}; leave out clips that have none"
            )
        losses.append(float(value.detach()))
        (gradient,) = torch.autograd.grad(value, found)
        with torch.no_grad():
            change = found - tuned + OVERSHOOT * radius / steps * gradient / gradient.norm().clamp_min(1e-30)
            found = _hidden(tuned + change * (radius / change.norm().clamp_min(1e-30)).clamp_max(1.0), within)
    return Attack(found, tuple(losses))


def randomly_changed(vectors: Tensor, epsilon: float, seed: int) -> Tensor:
    """Vectors `epsilon` times their norm away from those given, in a random direction: what an attack must beat."""
    tuned = vectors.detach()
    change = torch.randn(tuned.shape, generator=torch.Generator().manual_seed(seed)).to(tuned)
    return torch.add(tuned, change, alpha=epsilon * float(tuned.norm() / change.norm()))


def _hidden(vectors: Tensor, within: Record | None) -> Tensor:
    """Shortened where a check of norms would see them; the ball has room for that, because tuned ones pass it."""
    return vectors if within is None else bounded(vectors, within)
