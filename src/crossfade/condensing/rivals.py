"""Every way to get so many points of each class, by name: the generator and what it has to be better than."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from crossfade.condensing.coresets import herding, k_centre, random_subset
from crossfade.condensing.gan import Generator
from crossfade.condensing.gaussian import fit_gaussian
from crossfade.condensing.leakage import MADE
from crossfade.condensing.material import Material
from crossfade.condensing.noise import even_noise
from crossfade.condensing.optimised import distribution_matching, gradient_matching
from crossfade.condensing.watch import draw_points

FULL, GENERATOR, GAUSSIAN, RANDOM = "full set", "generator", "gaussian", "random subset"


@dataclass(frozen=True)
class Chosen:
    """Points (points, width) in standardised units, their classes, and the training row that each is, or `MADE`."""

    points: Tensor
    classes: Tensor
    sources: Tensor


Rival = Callable[[Material, Tensor, int], Chosen]
"""From what there is, how many of each class (classes,) and a seed, to points."""

Choose = Callable[[Tensor, int, torch.Generator], Tensor]
Noise = Callable[[Tensor, int, torch.Generator], Tensor]
Learn = Callable[[Tensor, Tensor, Tensor, Tensor, int, int], Tensor]


def everything(material: Material) -> Chosen:
    """All training rows."""
    return Chosen(material.rows, material.classes, torch.arange(len(material.rows)))


def of_generator(generator: Generator) -> Rival:
    """What a generator makes."""

    def make(material: Material, sizes: Tensor, seed: int) -> Chosen:
        classes = torch.arange(material.count).repeat_interleave(sizes)
        return _made(draw_points(generator, classes, torch.Generator().manual_seed(seed)), classes)

    return make


def _made(points: Tensor, classes: Tensor) -> Chosen:
    return Chosen(points, classes, torch.full_like(classes, MADE))


def _subset(choose: Choose) -> Rival:
    """Some rows of each class; all where there are fewer than asked for."""

    def make(material: Material, sizes: Tensor, seed: int) -> Chosen:
        random = torch.Generator().manual_seed(seed)
        picked = []
        for number, size in enumerate(sizes.tolist()):
            own = (material.classes == number).nonzero()[:, 0]
            picked.append(own[choose(material.rows[own], size, random)])
        sources = torch.cat(picked)
        return Chosen(material.rows[sources], material.classes[sources], sources)

    return make


def _gaussian(noise: Noise) -> Rival:
    """Points of a Gaussian for every class."""

    def make(material: Material, sizes: Tensor, seed: int) -> Chosen:
        classes = torch.arange(material.count).repeat_interleave(sizes)
        model = fit_gaussian(material.rows, material.classes, material.count)
        drawn = noise(classes, material.rows.shape[1], torch.Generator().manual_seed(seed))
        return _made(model.sample(classes, drawn), classes)

    return make


def learned(learn: Learn) -> Rival:
    """Points that are learned by `learn`, from a random subset on."""

    def make(material: Material, sizes: Tensor, seed: int) -> Chosen:
        start = RIVALS[RANDOM](material, sizes, seed)
        points = learn(material.rows, material.classes, start.points, start.classes, material.count, seed)
        return _made(points, start.classes)

    return make


RIVALS: Mapping[str, Rival] = {
    RANDOM: _subset(random_subset),
    "herding": _subset(lambda rows, keep, random: herding(rows, keep)),
    "k-centre": _subset(lambda rows, keep, random: k_centre(rows, keep)),
    GAUSSIAN: _gaussian(lambda classes, width, random: torch.randn(len(classes), width, generator=random)),
    "even gaussian": _gaussian(even_noise),
    "distribution matching": learned(distribution_matching),
    "gradient matching": learned(gradient_matching),
}
"""What a generator is compared with on the same budget."""
