"""Ridge regression on cached means, in closed form: the head for few clips, where trained heads learn them by heart."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crossfade.probing.kinds import ClipTargets
from crossfade.probing.metrics import Metric
from crossfade.probing.results import SweepPoint
from crossfade.probing.schema import Fold

DAMPINGS = tuple(10.0**power for power in range(-4, 3))
"""What is added to the diagonal, relative to the mean power of the standardised features."""


@dataclass(frozen=True)
class Ridge:
    """A linear map of all layers side by side, standardised: `weights` (layers x width, outputs), float64."""

    mean: Tensor
    deviation: Tensor
    weights: Tensor
    offset: Tensor
    curve: tuple[SweepPoint, ...] = ()

    def scores(self, features: Tensor) -> Tensor:
        """Scores (1, clips, outputs) of features (clips, layers, width)."""
        rows = (features.flatten(1).double() - self.mean) / self.deviation
        return (rows @ self.weights + self.offset)[None]


def solve(features: Tensor, wanted: Tensor, dampings: Sequence[float]) -> list[Ridge]:
    """The least-squares map from features (clips, layers, width) to `wanted` (clips, outputs) for every damping.

    One decomposition of the clips' Gram matrix or of the features' covariance, whichever is smaller, serves them all.
    """
    rows, targets = features.flatten(1).double(), wanted.double()
    mean, deviation, offset = rows.mean(0), rows.std(0, correction=0) + 1e-5, targets.mean(0)
    rows, targets = (rows - mean) / deviation, targets - offset
    tall = rows.shape[0] > rows.shape[1]
    values, vectors = torch.linalg.eigh(rows.T @ rows if tall else rows @ rows.T)
    left, right = (vectors, vectors.T @ (rows.T @ targets)) if tall else (rows.T @ vectors, vectors.T @ targets)
    power = rows.shape[0] if tall else rows.shape[1]
    return [
        Ridge(mean, deviation, left @ (right / (values + damping * power)[:, None]), offset) for damping in dampings
    ]


def fit_ridge(features: Tensor, targets: ClipTargets, fold: Fold, metric: Metric) -> Ridge:
    """Choose the damping by `metric` on the fold's validation clips, then solve again with them added.

    Ties go to the stronger damping. features: (clips, layers, width), each layer's mean over time.
    """
    labels, own = [targets.labels[clip] for clip in fold.valid.tolist()], features[fold.valid]
    trials = solve(features[fold.train], targets.dense[fold.train], DAMPINGS)
    values = [metric.value(labels, targets.decode(one.scores(own)[0])) for one in trials]
    best = max(range(len(DAMPINGS)), key=lambda place: (metric.rank(values[place]), place))
    curve = tuple(
        SweepPoint(damping=damping, valid=value, chosen=place == best)
        for place, (damping, value) in enumerate(zip(DAMPINGS, values, strict=True))
    )
    both = torch.cat([fold.train, fold.valid])
    (chosen,) = solve(features[both], targets.dense[both], [DAMPINGS[best]])
    return Ridge(chosen.mean, chosen.deviation, chosen.weights, chosen.offset, curve)
