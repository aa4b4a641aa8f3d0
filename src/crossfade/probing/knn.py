"""Nearest neighbours on cached means: nothing is trained, the layer and how many neighbours vote are chosen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import torch
from torch import Tensor
from torch.nn.functional import normalize

from crossfade.errors import InputError
from crossfade.probing.kinds import ClipTargets
from crossfade.probing.metrics import METRICS, Metric
from crossfade.probing.schema import DEFAULTS, Fold
from crossfade.probing.training import Check

NEIGHBOURS = (1, 3, 5, 10, 20, 50)
_COMPARED = 1024
"""Clips that are compared with all training clips at a time."""


class Choice(TypedDict):
    """What was tried, and the metric on validation data."""

    layer: int
    neighbours: int
    valid: float


@dataclass(frozen=True)
class Neighbours:
    """Training clips of one layer, standardised: `clips` (clips, width), and what each stands for, (clips, outputs).

    curve: every layer and number of neighbours with its value on validation data.
    """

    clips: Tensor
    dense: Tensor
    mean: Tensor
    deviation: Tensor
    layer: int
    neighbours: int
    curve: tuple[Choice, ...] = ()

    rates: tuple[float, ...] = ()
    sweep: tuple[Check, ...] = ()
    """Nothing is trained: there only for likeness with `heads.Fitted`."""

    def scores(self, features: Tensor) -> Tensor:
        """Votes (1, clips, outputs) for features (clips, layers, width): the mean of the nearest training clips.

        A neighbour counts 1 + cosine, which decides where two classes have as many.
        """
        nearest = self.nearest(features, self.neighbours)
        return self.votes(*nearest, self.neighbours)[None]

    def nearest(self, features: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Cosines, the highest first, and training clips, (clips, count) each, of features (clips, layers, width)."""
        found = []
        for rows in torch.split(features, _COMPARED):
            unit = normalize((rows[:, self.layer] - self.mean) / self.deviation, dim=-1)
            found.append((unit @ self.clips.T).topk(count, dim=1))
        return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])

    def votes(self, cosines: Tensor, clips: Tensor, count: int) -> Tensor:
        """Votes (clips, outputs) of the first `count` that `nearest` found."""
        weights = 1 + cosines[:, :count, None]
        return (weights * self.dense[clips[:, :count]]).sum(1) / weights.sum(1).clamp_min(1e-9)


def neighbours_of(features: Tensor, targets: ClipTargets, train: Tensor, layer: int, count: int) -> Neighbours:
    """The training clips of one layer of features (clips, layers, width); standardised by their own statistics."""
    own = features[train, layer].float()
    mean, deviation = own.mean(0), own.std(0, correction=0) + 1e-5
    return Neighbours(
        normalize((own - mean) / deviation, dim=-1), targets.dense[train], mean, deviation, layer, min(count, len(own))
    )


def fit_knn(
    features: Tensor,
    targets: ClipTargets,
    fold: Fold,
    *,
    neighbours: Sequence[int] = NEIGHBOURS,
    layers: Sequence[int] | None = None,
    metric: Metric | None = None,
) -> Neighbours:
    """Choose the layer (of all by default) and the number of neighbours by `metric` on the fold's validation clips.

    features: (clips, layers, width), each layer's mean over time. Exact: every clip is compared with every training
    clip. Numbers of neighbours above that of the training clips are left out. Ties go to the lower layer, then to fewer
    neighbours. Raises InputError for verification, and where there is something to choose and no validation clips.
    """
    if targets.kind == "verification":
        raise InputError("head knn: a task of verification compares clips with each other; expected linear or mlp")
    layers = range(features.shape[1]) if layers is None else layers
    counts = sorted({min(count, len(fold.train)) for count in neighbours})
    if not len(fold.valid):
        if len(layers) * len(counts) > 1:
            raise InputError(
                f"{len(layers)} layers and {len(counts)} numbers of neighbours, but no validation clips to choose by; "
                "give one of each"
            )
        return neighbours_of(features, targets, fold.train, layers[0], counts[0])
    metric = metric or METRICS[DEFAULTS[targets.kind][0]]
    labels = [targets.labels[clip] for clip in fold.valid.tolist()]
    sign = 1 if metric.better == "higher" else -1
    tried: list[Choice] = []
    for layer in layers:
        own = neighbours_of(features, targets, fold.train, layer, counts[-1])
        nearest = own.nearest(features[fold.valid], counts[-1])
        for count in counts:
            value = metric.value(labels, targets.decode(own.votes(*nearest, count)))
            tried.append(Choice(layer=layer, neighbours=count, valid=value))
    best = max(tried, key=lambda choice: sign * choice["valid"])
    chosen = neighbours_of(features, targets, fold.train, best["layer"], best["neighbours"])
    return replace(chosen, curve=tuple(tried))
