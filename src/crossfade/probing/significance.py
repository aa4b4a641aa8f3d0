"""What chance alone could do: intervals of a metric, tests of a difference, many tests at once.

Resampling draws test items (or their groups) with replacement, 10,000 times with seed 1234, as the published study of
paper 3 does; McNemar's test and the Benjamini-Hochberg procedure follow the same protocol. A metric that is a function
of sums over items is resampled by one matrix product: how often each item is drawn, times what it adds to each sum.
Trials of verification are pairs of clips, and it is clips that are drawn: pairs that share one are not independent.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.linalg import eigh

from crossfade.errors import InputError
from crossfade.probing.results import Scored

if TYPE_CHECKING:
    from crossfade.probing.metrics import Metric

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Unit = Literal["item", "group"]

SEED = 1234
RESAMPLES, RECOMPUTED = 10_000, 1_000
"""Resamples of a metric that is a function of sums, and of one that has to be computed anew for each."""

LEVEL = 0.95
FEW_DISCORDANT = 25
FEWEST_GROUPS = 5
"""To be resampled: fewer are too often drawn all alike."""

ROUNDING = 1e-9
"""A spread or a difference that is none."""

BETWEEN = " | "
"""What is between the ids of a trial's two clips."""

RIGHT_OR_WRONG = ("accuracy", "slot_accuracy")
"""Metrics that are the share of items that are right, which McNemar's test is about."""

_BLOCK = 1_000_000
"""Counts, or weights of items, held at a time."""


@dataclass(frozen=True)
class Panel:
    """Several columns of answers (models, seeds, draws) to the same test items.

    `units` (items, 1) says which unit of resampling each item belongs to, 0 to `count` - 1, or (items, 2) which two it
    is a pair `of`; an item counts as often as its units do, multiplied. `folds` are the indices of items over which the
    metric is taken, then averaged.
    """

    labels: list[Any]
    columns: list[list[Any]]
    units: Integers
    count: int
    of: Literal["items", "clips", "groups"]
    folds: list[Integers]

    @property
    def paired(self) -> bool:
        """Whether each item is a pair of units."""
        return self.of == "clips"


@dataclass(frozen=True)
class Estimate:
    """A metric's value over all seeds, each seed's, the 95 % interval, and in words how it was found.

    `group_interval` is over groups of items (speakers, kits), None where items have none that tell them apart.
    """

    value: float
    values: tuple[float, ...]
    interval: tuple[float, float]
    method: str
    group_interval: tuple[float, float] | None = None


def panel(models: Sequence[Sequence[Scored]], *, unit: Unit = "item", averaged: bool = False) -> Panel:
    """The answers of models to the same items, a column for every model and seed; the order of items does not matter.

    Raises:
        InputError: fewer than two items; or, by group, an item without one.
    """
    ordered = [sorted(items, key=lambda item: item.id) for items in models]
    first = ordered[0]
    if len(first) < 2:
        raise InputError(f"test items: {len(first)}, an interval needs at least 2; test on more clips")
    if unit == "group" and (missing := [item.id for item in first if item.group is None]):
        raise InputError(f"unit group: test items without a group: {len(missing)}, '{missing[0]}' among them")
    names = [[str(item.group)] for item in first] if unit == "group" else _drawn(first)
    place = {name: number for number, name in enumerate(sorted({name for own in names for name in own}))}
    fold = np.array([item.fold for item in first]) if averaged else np.zeros(len(first))
    return Panel(
        labels=[item.label for item in first],
        columns=[[item.predictions[seed] for item in items] for items in ordered for seed in range(_seeds(items))],
        units=np.array([[place[name] for name in own] for own in names], np.int64),
        count=len(place),
        of="groups" if unit == "group" else "items" if len(names[0]) == 1 else "clips",
        folds=[np.flatnonzero(fold == number) for number in np.unique(fold)],
    )


def _drawn(items: Sequence[Scored]) -> list[list[str]]:
    """What is drawn of each item: itself, or the two clips of a trial."""
    clips = [item.id.split(BETWEEN) for item in items]
    trials = all(isinstance(item.label, bool) and len(own) == 2 for item, own in zip(items, clips, strict=True))
    return clips if trials else [[item.id] for item in items]


def _seeds(items: Sequence[Scored]) -> int:
    return len(items[0].predictions)


def evaluator(metric: "Metric", panel: Panel) -> Callable[[Floats], Floats]:
    """A function from how often each unit counts, (resamples, units), to every column's metric, (resamples, columns).

    NaN where a resample has no value, as an error rate without errors of one kind.
    """
    parts, combine = metric.parts, metric.combine
    if parts is None or combine is None or panel.paired:
        return partial(_recomputed, metric, panel)
    import torch  # which the metric has brought already

    added = np.stack([np.asarray(parts(panel.labels, column), np.float64) for column in panel.columns], axis=1)
    sums = []
    for fold in panel.folds:
        by_unit = np.zeros((panel.count, *added.shape[1:]))
        np.add.at(by_unit, panel.units[fold, 0], added[fold])
        sums.append(by_unit.reshape(panel.count, -1))

    def evaluate(counts: Floats) -> Floats:
        drawn = [torch.from_numpy((counts @ by_unit).reshape(len(counts), *added.shape[1:])) for by_unit in sums]
        return _mean_of_folds(np.stack([np.asarray(combine(total), np.float64) for total in drawn]))

    return evaluate


def _recomputed(metric: "Metric", panel: Panel, counts: Floats) -> Floats:
    import torch

    weights = torch.from_numpy(reduce(np.multiply, (counts.take(side, axis=1) for side in panel.units.T)))
    values = np.empty((len(panel.folds), len(counts), len(panel.columns)))
    for (number, fold), (place, column) in product(enumerate(panel.folds), enumerate(panel.columns)):
        labels, answers = ([side[index] for index in fold] for side in (panel.labels, column))
        values[number, :, place] = metric.values(labels, answers, weights[:, fold])
    return _mean_of_folds(values)


def _mean_of_folds(values: Floats) -> Floats:
    """Mean over the first axis, over those folds that have a value."""
    finite = np.isfinite(values)
    count = finite.sum(0)
    total = np.where(finite, values, 0.0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def counts(units: int, resamples: int, seed: int, items: int = 0) -> Iterator[Floats]:
    """How often each unit is drawn in each resample, (some, units) at a time; depends on nothing but the arguments.

    The more `items` are to be weighted, the fewer at a time.
    """
    random = np.random.default_rng(seed)
    size = max(1, _BLOCK // max(units, items))
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        drawn = random.integers(0, units, (rows, units)) + np.arange(rows)[:, None] * units
        yield np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float64)


def resample(metric: "Metric", panel: Panel, resamples: int | None = None, seed: int = SEED) -> tuple[Floats, Floats]:
    """Every column's metric, (columns,), and what it is on each resample, (resamples, columns): the same for all.

    Of trials, clips are drawn, and resamples that have no value (no pair of one kind) are left out.
    """
    if resamples is None:
        resamples = RESAMPLES if metric.parts is not None else RECOMPUTED
    evaluate = evaluator(metric, panel)
    blocks = counts(panel.count, resamples, seed, len(panel.labels))
    values, draws = evaluate(np.ones((1, panel.count)))[0], np.concatenate([evaluate(block) for block in blocks])
    if panel.paired:
        alone = replace(panel, units=np.arange(len(panel.labels))[:, None], count=len(panel.labels), of="items")
        draws = _counted_once(draws, resample(metric, alone, resamples, seed)[1])
    return values, draws


def _counted_once(clips: Floats, pairs: Floats) -> Floats:
    """Draws of clips, (resamples, columns), brought to the covariance that other clips would show; those with a value.

    A pair counts as often as the product of its clips, whose variance is 3 where a pair drawn on its own has 1, while
    pairs that share a clip have the right covariance, 1. So the covariance over pairs is in it twice too often, and is
    taken out (what remains is that of Aronow, Samii and Assenova, 2015, for dyadic data), but never more than leaves
    that over pairs: pairs that share no clip are independent items.
    """
    clips, pairs = (draws[np.isfinite(draws).all(1)] for draws in (clips, pairs))
    if not len(clips) or np.ptp(clips, axis=0).max() < ROUNDING:
        return clips
    over_clips, over_pairs = (np.atleast_2d(np.cov(draws.T)) for draws in (clips, pairs))
    over_clips += ROUNDING * np.trace(over_clips) * np.eye(len(over_clips))  # columns may be alike
    shares, axes = eigh(over_pairs, over_clips)  # along which both covariances are diagonal
    narrower = np.sqrt(np.clip(np.maximum(1 - 2 * shares, shares), 0, 1))
    middle = clips.mean(0)
    found: Floats = middle + (clips - middle) @ (axes * narrower) @ axes.T @ over_clips
    return found


def estimate(
    metric: "Metric",
    items: Sequence[Scored],
    *,
    averaged: bool = False,
    drawn: bool = False,
    resamples: int | None = None,
    seed: int = SEED,
) -> Estimate:
    """A metric's mean over the seeds of `items` with its 95 % interval over items, and over groups where they have any.

    Args:
        averaged: take the metric in each fold and average, where the published protocol does so; else pool all folds.
        drawn: the predictions are of several draws of training clips (few-shot); two or more give a t-interval over
            draws, with the test items as they are.
        resamples: 10,000 by default; 1,000 for a metric that is no function of sums (ranks), as `method` then says.

    Raises:
        InputError: too few items, or a metric that has no value on them.
    """
    answers = panel([items], averaged=averaged)
    if drawn and len(answers.columns) > 1:
        values = evaluator(metric, answers)(np.ones((1, answers.count)))[0]
        low, high, method = *t_interval(values.tolist()), f"t over {len(values)} draws of the training clips"
    else:
        values, draws = resample(metric, answers, resamples, seed)
        means = draws.mean(1)
        low, high = interval(means)
        over = f"{answers.count} {answers.of}"
        method = f"bootstrap over {over}, {np.isfinite(means).sum():,} resamples, seed {seed}"
        if high - low < ROUNDING:
            method += ", none of which differs"
            if metric.percent and round(low, 9) in (0, 100):
                low, high = exact_share(low > ROUNDING, answers.count)
                method = f"exact binomial, as no resample of the {over} differs"
    if not np.isfinite(values).all():
        raise InputError(f"metric {metric.name} has no value on these {len(items)} test items; test on more clips")
    by_group = over_groups(metric, items, averaged=averaged)
    return Estimate(float(values.mean()), tuple(values.tolist()), (low, high), method, by_group)


def over_groups(metric: "Metric", items: Sequence[Scored], *, averaged: bool = False) -> tuple[float, float] | None:
    """95 % interval of a metric's mean over seeds for other groups: the jackknife that leaves one out at a time.

    Student's t with one degree of freedom fewer than there are groups makes it as wide as few groups ask for, where a
    bootstrap over them would be too narrow. None where an item has no group, there is one group only, or every item is
    its own; and where groups are all alike, or the metric needs them all.
    """
    names = {item.group for item in items}
    if None in names or not 2 <= len(names) < len(items):
        return None
    answers = panel([items], unit="group", averaged=averaged)
    evaluate, count = evaluator(metric, answers), answers.count
    size = max(1, _BLOCK // len(items))
    lacking = (1 - np.eye(min(size, count - start), count, start) for start in range(0, count, size))
    others = np.concatenate([evaluate(block).mean(1) for block in lacking])
    spread = math.sqrt((count - 1) * others.var())
    if not (math.isfinite(spread) and spread > ROUNDING):
        return None
    value, half = evaluate(np.ones((1, count))).mean(), stats.t.ppf((1 + LEVEL) / 2, count - 1) * spread
    return float(value - half), float(value + half)


def interval(draws: Floats) -> tuple[float, float]:
    """The middle 95 % of the resamples that have a value. Raises InputError where none has."""
    finite = draws[np.isfinite(draws)]
    if not finite.size:
        raise InputError("no resample of the test items has a value; test on more clips")
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return low, high


def exact_share(right: bool, items: int) -> tuple[float, float]:
    """Clopper-Pearson interval in percent where all items are right, or all wrong: resampling shows no spread.

    For a percentage of any kind at 0 or 100 it is what the metric would be if as many further items as could be unlike
    these, at most 1 - 0.025^(1 / items) of all, were at the metric's other end.
    """
    found = stats.binomtest(items if right else 0, items).proportion_ci(LEVEL, method="exact")
    return 100 * float(found.low), 100 * float(found.high)


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of draws, from Student's t. Raises InputError for fewer than two."""
    if len(values) < 2:
        raise InputError(f"draws: {len(values)}, an interval over draws needs at least 2")
    mean, half = np.mean(values), stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * stats.sem(values)
    return float(mean - half), float(mean + half)


def mean_over_draws(draws: Floats, *, drawn: bool, seed: int = SEED) -> Floats:
    """Mean over a model's columns, (resamples, columns) -> (resamples,).

    Where the columns are draws of training clips (`drawn`), these are resampled as well, so that the spread tells of
    them and of the test items. One fewer is drawn than there are, which makes the variance of a few draws right; the
    same ones are for every model with as many columns.
    """
    resamples, columns = draws.shape
    if drawn and columns > 1:
        picked = np.random.default_rng([seed, columns]).integers(0, columns, (resamples, columns - 1))
        draws = np.take_along_axis(draws, picked, axis=1)
    means: Floats = draws.mean(1)
    return means


def two_sided(differences: Floats) -> float:
    """p of a paired bootstrap: twice the share of resampled differences on the rarer side of zero.

    One is added to both counts, so that no finite number of resamples gives 0; ties count on both sides.
    """
    finite = differences[np.isfinite(differences)]
    rarer = min(int((finite <= ROUNDING).sum()), int((finite >= -ROUNDING).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(finite) + 1))


def mcnemar(only_first: int, only_second: int) -> tuple[float, str]:
    """p and name of McNemar's test: of the items that one model alone gets right, is each as likely to be either's?

    Exact binomial below 25 of them, else chi-square with continuity correction.
    """
    discordant = only_first + only_second
    if discordant == 0:
        return 1.0, "McNemar, exact"
    if discordant < FEW_DISCORDANT:
        return float(stats.binomtest(only_first, discordant).pvalue), "McNemar, exact"
    statistic = max(0, abs(only_first - only_second) - 1) ** 2 / discordant
    return float(stats.chi2.sf(statistic, 1)), "McNemar"


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """q of every test: the share of false findings to expect among all that are as small (Benjamini and Hochberg)."""
    found: list[float] = stats.false_discovery_control(p_values, method="bh").tolist() if p_values else []
    return found
