"""Averages over tasks, of several models on the same: what they are, and how far chance could move them.

An average is the mean of the domains' means, each the mean of its tasks, in percent with more being better: an error
rate of 30 % counts as 70, an R² of 0.5 as 50. Test items of every task are resampled as `significance` does, the same
for all models, tasks apart from each other unless they have the same items.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crossfade.errors import InputError
from crossfade.probing.pairing import setting, why_not
from crossfade.probing.results import Result
from crossfade.probing.significance import SEED, Floats, interval, mean_over_draws, panel, resample, two_sided

__all__ = ["Averages", "Found", "average", "validated_average"]


@dataclass(frozen=True)
class Found:
    """A statistic of averages, with its 95 % interval; `p` is the paired bootstrap's that it is 0, None for shares."""

    value: float
    interval: tuple[float, float]
    p: float | None = None


@dataclass(frozen=True)
class Averages:
    """`values` (models,) in percent, and `draws` (resamples, models) of them; `tasks` has the models' value in each."""

    values: Floats
    draws: Floats
    tasks: Mapping[str, tuple[float, ...]]

    def mean(self, model: int) -> Found:
        """A model's average."""
        return self._found(lambda values: values[..., model])

    def difference(self, model: int, reference: int) -> Found:
        """A model's average minus another's, paired."""
        return self._found(lambda values: values[..., model] - values[..., reference], tested=True)

    def share(self, model: int, whole: int, floor: int) -> Found:
        """(model - floor) / (whole - floor): how much a model has of another's margin over a third.

        Raises InputError where a resample's margin is not above 0, so that a share of it says nothing.
        """
        margins = self.draws[:, whole] - self.draws[:, floor]
        if np.nanmin(margins) <= 0:
            raise InputError(
                f"share: the margin of {self.values[whole] - self.values[floor]:.1f} points may be none; expected "
                "models that are clearly apart, or more test clips"
            )
        return self._found(lambda v: (v[..., model] - v[..., floor]) / (v[..., whole] - v[..., floor]))

    def _found(self, statistic: Callable[[Floats], Floats], *, tested: bool = False) -> Found:
        drawn = statistic(self.draws)
        return Found(float(statistic(self.values)), interval(drawn), two_sided(drawn) if tested else None)


def average(models: Sequence[Sequence[Result]], *, seed: int = SEED) -> Averages:
    """Averages of models over the tasks (conditions, shots) that their results are about, the same for all.

    Raises InputError: no results; a task that one of them lacks or has twice; results that are no answer to the same.
    """
    found = [_by_setting(results) for results in models]
    first = found[0]
    for other in found[1:]:
        if lone := sorted(first.keys() ^ other.keys()):
            lacking = next(iter((other if lone[0] in first else first).values())).model.name
            raise InputError(f"{lone[0]}: not measured for {lacking}; an average needs every task of every model")
    seeds: dict[tuple[str, ...], int] = {}
    values, draws = {}, {}
    for task in first:
        results = [named[task] for named in found]
        items = tuple(sorted(item.id for item in results[0].items))
        values[task], draws[task] = _on_task(task, results, seeds.setdefault(items, seed + len(seeds)))
    fewest = min(len(drawn) for drawn in draws.values())
    weights = _weights(first)
    return Averages(
        values=np.sum([weight * values[task] for task, weight in weights.items()], axis=0),
        draws=np.sum([weight * draws[task][:fewest] for task, weight in weights.items()], axis=0),
        tasks={task: tuple(value.tolist()) for task, value in values.items()},
    )


def validated_average(results: Sequence[Result]) -> float:
    """One model's average on validation clips, by which it may be chosen: no test clip enters.

    Raises InputError as `average` does, and for a result without validation clips.
    """
    found = _by_setting(results)
    for task, one in found.items():
        if one.valid is None:
            raise InputError(f"{task}: {one.model.name} has no validation clips to be chosen by; probe with some")
    return sum(w * float(_percent(found[task], np.array(found[task].valid))) for task, w in _weights(found).items())


def _by_setting(results: Sequence[Result]) -> dict[str, Result]:
    if not results:
        raise InputError("average: a model without results; expected those of one task or more")
    named = {setting(one.task.name, one.protocol.condition, one.protocol.shots): one for one in results}
    if len(named) < len(results):
        raise InputError(f"{results[0].model.name}: a task occurs twice; an average takes each task once")
    return named


def _on_task(task: str, results: Sequence[Result], seed: int) -> tuple[Floats, Floats]:
    """Values (models,) and draws (resamples, models) of results on one task, in percent, more is better."""
    from crossfade.probing.metrics import METRICS

    first = results[0]
    for other in results[1:]:
        if reason := why_not(first, other):
            raise InputError(f"{task}: {first.model.name} and {other.model.name} cannot be compared: {reason}")
    answers = panel([result.items for result in results], averaged=first.protocol.folds == "averaged")
    values, draws = resample(METRICS[first.metric], answers, seed=seed)
    ends = np.cumsum([len(result.values) for result in results])[:-1]
    drawn = first.protocol.shots is not None
    means = [mean_over_draws(columns, drawn=drawn, seed=seed) for columns in np.split(draws, ends, axis=1)]
    return (
        _percent(first, np.array([columns.mean() for columns in np.split(values, ends)])),
        _percent(first, np.stack(means, axis=1)),
    )


def _percent(result: Result, values: Floats) -> Floats:
    percent = values * (1 if result.percent else 100)
    return percent if result.better == "higher" else 100 - percent


def _weights(results: Mapping[str, Result]) -> dict[str, float]:
    """What each task counts: domains alike, tasks alike within theirs."""
    domains = [result.task.domain for result in results.values()]
    return {task: 1 / (len({*domains}) * domains.count(result.task.domain)) for task, result in results.items()}
