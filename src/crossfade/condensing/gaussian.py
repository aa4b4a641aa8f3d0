"""The plainest generator: a Gaussian for every class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from crossfade.condensing.matching import class_means


@dataclass(frozen=True)
class Gaussian:
    """Means (classes, width), and for every class a root (width, width): root @ root.T is its covariance."""

    means: Tensor
    roots: Tensor

    def sample(self, classes: Tensor, noise: Tensor) -> Tensor:
        """A point (rows, width) for each of `classes` (rows,), from normal noise (rows, width)."""
        moved = torch.empty_like(noise)
        for number, root in enumerate(self.roots):
            own = classes == number
            moved[own] = noise[own] @ root.T
        return self.means[classes] + moved


def fit_gaussian(rows: Tensor, classes: Tensor, count: int) -> Gaussian:
    """Each class's mean, and its covariance drawn towards what all share, of rows (rows, width) of `classes` (rows,).

    A class of n rows in d channels keeps n / (n + d) of its own covariance: our choice, as few rows say little of many
    channels.
    """
    means = class_means(rows, classes, count)
    centred = (rows - means[classes]).double()
    width = rows.shape[1]
    shared = centred.T @ centred / max(1, len(rows) - count)
    roots = []
    for number in range(count):
        own = centred[classes == number]
        covariance = own.T @ own / max(1, len(own) - 1)
        values, vectors = torch.linalg.eigh(torch.lerp(shared, covariance, len(own) / (len(own) + width)))
        roots.append((vectors * values.clamp_min(0).sqrt()).to(rows.dtype))
    return Gaussian(means, torch.stack(roots))
