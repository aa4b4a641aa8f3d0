"""Softmax regression: what learns from points, real or made, and what says how telling a point is.

One classifier everywhere, so that what differs between two numbers is what it was trained on: features standardised by
the points' own statistics, cross-entropy plus `damping` / 2 times the squared weights, all points in every step, Adam.
It is convex and starts at zero, so it has no luck; several dampings are trained at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from crossfade.probing.metrics import METRICS

DAMPINGS = (1e-3, 1e-2, 1e-1, 1.0)
STEPS, RATE = 150, 0.05
"""Updates, and the learning rate of the first, which falls to 0 in a line."""

EPSILON = 1e-5
"""Adam's: gradients that are rounding alone, as those of the bias where classes are alike, move nothing."""

STILL = 1e-3
"""A channel that varies less than this, of the mean channel's deviation, is taken as one that does not vary."""


@dataclass(frozen=True)
class Classifier:
    """Scores are standardised features times `weights` (width, classes) plus `bias` (classes,), all float32."""

    mean: Tensor
    deviation: Tensor
    weights: Tensor
    bias: Tensor
    damping: float

    def scores(self, features: Tensor) -> Tensor:
        """Logits (rows, classes) of features (rows, width); gradients pass."""
        return ((features - self.mean) / self.deviation) @ self.weights + self.bias

    def classes(self, features: Tensor) -> Tensor:
        """The likeliest class (rows,) of features (rows, width)."""
        return self.scores(features).argmax(-1)


def statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (width,) of rows (rows, width); a channel that stands still gets the mean deviation."""
    deviation = rows.std(0, correction=0)
    usual = deviation.mean().clamp_min(1e-12)
    return rows.mean(0), torch.where(deviation > STILL * usual, deviation, usual)


@torch.no_grad()
def fit_classifiers(
    features: Tensor, classes: Tensor, count: int, dampings: Sequence[float] = DAMPINGS, steps: int = STEPS
) -> list[Classifier]:
    """A classifier for every damping, trained on features (rows, width) of `classes` (rows,) out of `count`."""
    mean, deviation = statistics(features)
    rows, wanted = (features - mean) / deviation, one_hot(classes, count).to(features.dtype)[:, None]
    weights = rows.new_zeros(rows.shape[1], len(dampings), count, requires_grad=True)
    bias = rows.new_zeros(len(dampings), count, requires_grad=True)
    shrink = torch.tensor(dampings, dtype=rows.dtype)[:, None]
    optimizer = torch.optim.Adam([weights, bias], lr=RATE, eps=EPSILON, fused=True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps)
        scores = (rows @ weights.flatten(1)).view(len(rows), *bias.shape) + bias
        wrong = (scores.softmax(-1) - wanted) / len(rows)
        weights.grad = (rows.T @ wrong.flatten(1)).view_as(weights) + shrink * weights
        bias.grad = wrong.sum(0)
        optimizer.step()
    return [
        Classifier(mean, deviation, weights.detach()[:, place].clone(), bias.detach()[place].clone(), damping)
        for place, damping in enumerate(dampings)
    ]


def uar(classes: Tensor, found: Tensor) -> float:
    """Unweighted average recall, in percent, of the classes (rows,) that were found."""
    return METRICS["uar"].value(classes.tolist(), found.tolist())


def best_classifier(found: Sequence[Classifier], features: Tensor, classes: Tensor) -> tuple[Classifier, float]:
    """The one with the highest recall on validation rows, and that recall; ties go to the stronger damping."""
    values = [uar(classes, one.classes(features)) for one in found]
    place = max(range(len(found)), key=lambda at: (values[at], found[at].damping))
    return found[place], values[place]
