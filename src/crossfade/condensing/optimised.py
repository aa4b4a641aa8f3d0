"""Points that are themselves learned: by distribution matching and by gradient matching.

Distribution matching: Zhao and Bilen (arXiv 2110.04181). Gradient matching: Zhao, Mopuri and Bilen (arXiv 2006.05929).
Both were made for images and convolutional networks; over feature vectors the random networks are one hidden layer, and
the classifier whose gradients are matched is the softmax regression that is later trained.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, one_hot

from crossfade.condensing.matching import class_means

STEPS, RATE = 200, 0.03
HIDDEN = 128
"""Width of the random networks of distribution matching."""
SCALE = 0.1
"""Deviation of the random weights of the classifiers whose gradients are matched."""

Loss = Callable[[Tensor, torch.Generator], Tensor]


def distribution_matching(
    rows: Tensor, classes: Tensor, start: Tensor, start_classes: Tensor, count: int, seed: int, steps: int = STEPS
) -> Tensor:
    """Points (points, width), from `start` on, with the class means of real rows in the eyes of random networks.

    rows (rows, width) of `classes` (rows,), both in standardised units, as is what comes back.
    """
    width = rows.shape[1]

    def loss(points: Tensor, generator: torch.Generator) -> Tensor:
        weights = torch.randn(width, HIDDEN, generator=generator) / width**0.5
        offset = torch.randn(HIDDEN, generator=generator)
        real = class_means((rows @ weights + offset).relu(), classes, count)
        made = class_means((points @ weights + offset).relu(), start_classes, count)
        return (real - made).square().sum(1).mean()

    return _learned(start, loss, seed, steps)


def gradient_matching(
    rows: Tensor, classes: Tensor, start: Tensor, start_classes: Tensor, count: int, seed: int, steps: int = STEPS
) -> Tensor:
    """Points (points, width), from `start` on, that pull random classifiers where the real rows of a class pull them.

    Shapes as for `distribution_matching`. The loss is one minus the cosine of both pulls, for every class whose rows
    pull and every output, as published.
    """
    width = rows.shape[1]

    def loss(points: Tensor, generator: torch.Generator) -> Tensor:
        weights = SCALE * torch.randn(width, count, generator=generator)
        real = class_gradients(rows, classes, weights)
        made = class_gradients(points, start_classes, weights)
        return (1 - cosine_similarity(real, made, dim=1)).mean()

    return _learned(start, loss, seed, steps)


def class_gradients(rows: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """The gradient (count, width, count) of the mean cross-entropy of each class's rows by `weights` (width, count)."""
    count = weights.shape[1]
    wrong = (rows @ weights).softmax(-1) - one_hot(classes, count).to(rows.dtype)
    members = [classes == number for number in range(count)]
    return torch.stack([rows[own].T @ wrong[own] / own.sum().clamp_min(1) for own in members])


def _learned(start: Tensor, loss: Loss, seed: int, steps: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    points = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([points], lr=RATE, fused=True)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(loss(points, generator))
        optimizer.step()
    return points.detach()
