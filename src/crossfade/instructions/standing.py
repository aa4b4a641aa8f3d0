"""Many instances in a few numbers: averages over the benchmark's tree, and how a model stands to a baseline."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from crossfade.errors import InputError
from crossfade.instructions.metrics import find_metric
from crossfade.instructions.readers import Reader
from crossfade.instructions.scores import Figure, InstanceScore, Relative, Scores

TO_ONE = ("lcc", "srcc", "ktau")
"""Metrics that are no percentages, and of which 1 is all there is."""


@dataclass(frozen=True)
class Standing:
    """What a model is worth on one branch of the tree, () for all of it.

    `average` is over the tasks that have a share of 100 (`share`), instances of one task averaged first; its interval
    takes instances as independent. `relative` is the same mean of relative scores, over `compared` instances.
    """

    branch: tuple[str, ...]
    instances: int
    average: float | None
    interval: tuple[float, float] | None
    averaged: int
    relative: float | None = None
    compared: int = 0
    left_out: tuple[str, ...] = field(default=())


def share(figure: Figure) -> tuple[float, tuple[float, float] | None] | None:
    """A figure as a share of 100 of which more is better, with its interval; None for errors that have no end.

    Percentages as they are, error rates from 100 downwards to 0, which is also more errors than words, correlations
    times 100.
    """
    if figure.value is None or not (figure.percent or find_metric(figure.metric, "regression").metric.name in TO_ONE):
        return None

    def shared(value: float) -> float:
        if figure.better == "lower":
            return max(0.0, 100.0 - value)
        return value if figure.percent else 100.0 * value

    ends = None if figure.interval is None else sorted(map(shared, figure.interval))
    return shared(figure.value), (ends[0], ends[1]) if ends else None


def relative_score(value: float, baseline: float, *, better: str) -> float | None:
    """How much better than the baseline, in percent of the baseline; above 0 is better whichever way a metric points.

    Our reading of the paper, whose formula is not published: 100 · (value - baseline) / |baseline|, with the sign
    turned where lower is better. None for a baseline of 0.
    """
    if not baseline:
        return None
    gain = value - baseline if better == "higher" else baseline - value
    return 100 * gain / abs(baseline)


def relative_to(scores: Scores, baseline: Scores, reader: Reader | None = None) -> Relative:
    """The relative score of every instance that both have, and why the others have none.

    Raises InputError where nothing can be compared, or one is a probed encoder and the other is not.
    """
    if scores.comparable != baseline.comparable:
        raise InputError(
            f"baseline {baseline.model}: an encoder that was probed and a model that answers do not compare"
        )
    reader = scores.reader(reader)
    own, others = first_figures(scores, reader), first_figures(baseline, baseline.reader(reader))
    found: dict[str, float] = {}
    lost: dict[str, str] = {}
    for name, figure in own.items():
        other = others.get(name)
        if other is None:
            lost[name] = "the baseline lacks it"
        elif figure.value is None or other.value is None:
            lost[name] = "one of both has no value"
        elif figure.metric != other.metric or _asked(scores, name) != _asked(baseline, name):
            lost[name] = "other metric or other items"
        elif (gain := relative_score(figure.value, other.value, better=figure.better)) is None:
            lost[name] = "the baseline is 0"
        else:
            found[name] = gain
    if not found:
        raise InputError(f"baseline {baseline.model}: no instance in common that can be compared; run it on the same")
    return Relative(baseline=baseline.model, reader=reader, scores=found, lost=lost)


def _asked(scores: Scores, name: str) -> int:
    return next(one.items for one in scores.instances if one.name == name)


def first_figures(scores: Scores, reader: Reader) -> dict[str, Figure]:
    """The figure that stands for each instance, under one reader."""
    reads = {one.name: one.readers.get(reader) for one in scores.instances}
    return {name: read.first for name, read in reads.items() if read is not None and read.first is not None}


def standings(scores: Scores, reader: Reader) -> list[Standing]:
    """A standing for the whole, for every domain and for every branch below it, in the order of the tree."""
    branches = {one.branch[:depth] for one in scores.instances for depth in range(len(one.branch) + 1)}
    figures = first_figures(scores, reader)
    relative = scores.relative.scores if scores.relative else {}
    return [
        _standing(place, [one for one in scores.instances if one.branch[: len(place)] == place], figures, relative)
        for place in sorted(branches)
    ]


def _standing(
    place: tuple[str, ...],
    instances: Sequence[InstanceScore],
    figures: Mapping[str, Figure],
    relative: Mapping[str, float],
) -> Standing:
    found = {one.name: share(figures[one.name]) for one in instances if one.name in figures}
    shares = {name: value for name, value in found.items() if value is not None}
    weights = _weights(one for one in instances if one.name in shares)
    gains = _weights(one for one in instances if one.name in relative)
    average = sum(weight * shares[name][0] for name, weight in weights.items()) if weights else None
    return Standing(
        branch=place,
        instances=len(instances),
        average=average,
        interval=_interval(average, weights, {name: ends for name, (_, ends) in shares.items()}),
        averaged=len(weights),
        relative=sum(weight * relative[name] for name, weight in gains.items()) if gains else None,
        compared=len(gains),
        left_out=tuple(one.name for one in instances if one.name not in shares),
    )


def _weights(instances: Iterable[InstanceScore]) -> dict[str, float]:
    """What each instance counts: tasks alike, instances alike within theirs."""
    tasks: dict[str, list[str]] = {}
    for one in instances:
        tasks.setdefault(one.task, []).append(one.name)
    return {name: 1 / len(tasks) / len(names) for names in tasks.values() for name in names}


def _interval(
    average: float | None, weights: Mapping[str, float], ends: Mapping[str, tuple[float, float] | None]
) -> tuple[float, float] | None:
    """From the intervals of independent instances; None where one has none."""
    if average is None:
        return None
    squares = 0.0
    for name, weight in weights.items():
        own = ends[name]
        if own is None:
            return None
        squares += (weight * (own[1] - own[0]) / 2) ** 2
    return average - squares**0.5, average + squares**0.5
