"""Looking at a generator while it is trained: how telling its points are, how spread, and whether it has collapsed."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from crossfade.condensing.classifier import DAMPINGS, fit_classifiers, uar
from crossfade.condensing.gan import Generator
from crossfade.condensing.matching import SMALLEST, spread
from crossfade.condensing.material import Material
from crossfade.condensing.noise import even_noise
from crossfade.condensing.settings import Settings

DRAWS = 3
"""Draws of points over which a look is averaged: fixed ones, so that looks differ by the generator alone."""

NARROW, WIDE = 0.1, 10.0
"""A class whose points are less than this share of the real spread apart is one point; more than the other, noise."""

TELLING = 0.1
"""A generator whose points reach less than this share of what real clips reach above chance says nothing."""


@dataclass(frozen=True)
class Look:
    """After `step` updates: recall on validation clips, in percent, of classifiers trained on points, at the best
    `damping`; the smallest share of the real spread that a class's points have, and the largest; the mean losses since
    the last look."""

    step: int
    valid: float
    damping: float
    narrowest: float
    widest: float
    losses: dict[str, float]


def look(
    generator: Generator, material: Material, settings: Settings, step: int, losses: dict[str, float], seed: int
) -> Look:
    """Look at a generator: `losses` are what training says of itself."""
    classes = torch.arange(material.count).repeat_interleave(settings.per_class)
    values = torch.zeros(len(DAMPINGS), dtype=torch.float64)
    for draw in range(DRAWS):
        points = draw_points(generator, classes, torch.Generator().manual_seed(seed + draw))
        found = fit_classifiers(points, classes, material.count)
        values += torch.tensor([uar(material.valid_classes, one.classes(material.valid)) for one in found])
    best = max(range(len(DAMPINGS)), key=lambda at: (float(values[at]), DAMPINGS[at]))
    shares = spread_shares(points, classes, material)
    return Look(step, float(values[best]) / DRAWS, DAMPINGS[best], float(shares.min()), float(shares.max()), losses)


@torch.no_grad()
def draw_points(generator: Generator, classes: Tensor, random: torch.Generator) -> Tensor:
    """A point (rows, width) in standardised units for each of `classes` (rows,), the noise evened out."""
    made: Tensor = generator(even_noise(classes, generator.noise, random), classes)
    return made


def spread_shares(points: Tensor, classes: Tensor, material: Material) -> Tensor:
    """How spread the points of each class are, of what its real rows are (count,); 1 where there is one point alone."""
    real = spread(material.rows, material.classes, material.count)
    made = spread(points, classes, material.count)
    return torch.where(classes.bincount(minlength=material.count) > 1, made / real.clamp_min(SMALLEST), 1.0)


def collapse(found: Look) -> str | None:
    """Why what was looked at is no generator of classes, in words; None where it is one."""
    if not all(isfinite(value) for value in (*found.losses.values(), found.narrowest, found.widest)):
        return "its losses are not finite"
    if found.narrowest < NARROW:
        return f"the points of a class are all but one: {found.narrowest:.2g} of the real spread"
    if found.widest > WIDE:
        return f"the points of a class are noise: {found.widest:.3g} times the real spread"
    return None


def says_nothing(best: float, reference: float, count: int) -> bool:
    """Whether points that reach `best` percent recall tell next to nothing, where real clips reach `reference`."""
    chance = 100 / count
    return reference > chance and best - chance < TELLING * (reference - chance)


def best_of(looks: Sequence[Look]) -> Look | None:
    """The look with the highest recall of those that have not collapsed, the first of equals; None without one."""
    return max((one for one in looks if collapse(one) is None), key=lambda one: one.valid, default=None)
