"""Nearest neighbours on cached means: nothing is trained, the layer and how many neighbours vote are chosen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from crossfade.errors import InputError
from crossfade.probing.kinds import ClipTargets
from crossfade.probing.metrics import METRICS, Metric
from crossfade.probing.results import SweepPoint
from crossfade.probing.schema import DEFAULTS, Fold

NEIGHBOURS = (1, 3, 5, 10, 20, 50)
_COMPARED = 1024
"""Clips that are compared with all training clips at a time."""


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
    curve: tuple[SweepPoint, ...] = ()

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
    metric: Metric | None = None,
    *,
    neighbours: Sequence[int] = NEIGHBOURS,
    layers: Sequence[int] | None = None,
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
    tried: list[tuple[float, int, int]] = []
    for layer in layers:
        own = neighbours_of(features, targets, fold.train, layer, counts[-1])
        nearest = own.nearest(features[fold.valid], counts[-1])
        values = [metric.value(labels, targets.decode(own.votes(*nearest, count))) for count in counts]
        tried += [(value, layer, count) for value, count in zip(values, counts, strict=True)]
    best = max(tried, key=lambda choice: metric.rank(choice[0]))
    curve = tuple(
        SweepPoint(layer=layer, neighbours=count, valid=value, chosen=(value, layer, count) == best)
        for value, layer, count in tried
    )
    return replace(neighbours_of(features, targets, fold.train, *best[1:]), curve=curve)
