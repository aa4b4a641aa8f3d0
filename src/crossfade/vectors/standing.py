"""Where an encoder stands: a score for each domain and their mean, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from crossfade.errors import InputError
from crossfade.probing.averages import average, validated_average
from crossfade.probing.results import Result
from crossfade.probing.schema import Task
from crossfade.probing.scores import Preset, score_results, score_values

MEAN = "average over tasks"


@dataclass(frozen=True)
class Spread:
    """A score with its 95 % interval, as far as test clips decide."""

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Standing:
    """Scores by domain, and `average`, the mean of the domains."""

    domains: Mapping[str, Spread]
    average: Spread

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self)


def check_score(tasks: Sequence[Task], preset: Preset | None, *, partial: bool) -> None:
    """InputError, before anything is measured, where the tasks do not give the preset's score."""
    if preset is None:
        return
    present = {task.name: task for task in tasks if task.name in preset.tasks}
    if not present:
        asked = ", ".join(task.name for task in tasks)
        raise InputError(
            f"score: {preset.name} is empty here: none of its tasks ({', '.join(preset.tasks)}) is asked for ({asked})"
        )
    if (missing := [name for name in preset.tasks if name not in present]) and not partial:
        raise InputError(f"score: {preset.name} needs {', '.join(missing)} too; add them, or --partial")
    for name, task in present.items():
        if task.metric != preset.tasks[name].metric:
            raise InputError(
                f"score: {name} is measured in {task.metric}, {preset.name} has {preset.tasks[name].metric}"
            )


def standing(results: Sequence[Result], preset: Preset | None = None) -> Standing:
    """One model's results as scores: averages over tasks (`probing.averages`), or a preset's (`probing.scores`)."""
    parts = by_domain(results, preset)
    return Standing({domain: _spread(own, preset) for domain, own in parts.items()}, _spread(results, preset))


def by_domain(results: Sequence[Result], preset: Preset | None = None) -> dict[str, list[Result]]:
    """Results by the domain in which they count, without those that do not."""
    found: dict[str, list[Result]] = {}
    for result in results:
        name = result.task.name
        if preset is None or name in preset.tasks:
            found.setdefault(preset.tasks[name].domain if preset else result.task.domain, []).append(result)
    return found


def _spread(results: Sequence[Result], preset: Preset | None) -> Spread:
    if preset is None:
        mean = average([results]).mean(0)
        return Spread(mean.value, mean.interval)
    score = score_results(preset, results, partial=True)
    assert score.interval is not None  # which results have
    return Spread(score.value, score.interval)


def validated(results: Sequence[Result], preset: Preset | None = None) -> float:
    """One model's score on validation clips: no test clip enters. Raises InputError where there are none."""
    if preset is None:
        return validated_average(results)
    values = {result.task.name: result.valid for result in results if result.task.name in preset.tasks}
    known = {task: value for task, value in values.items() if value is not None}
    if lacking := sorted({*values} - {*known}):
        raise InputError(f"{lacking[0]}: no validation clips can be heard, which alone may drive a search")
    return score_values(preset, known, partial=True).value


def front(standings: Mapping[str, Standing]) -> list[str]:
    """Those that no other beats in one domain without being worse in another: the Pareto front."""

    def beats(one: Standing, other: Standing) -> bool:
        pairs = [(one.domains[domain].value, other.domains[domain].value) for domain in one.domains]
        return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)

    return [
        name
        for name, own in standings.items()
        if not any(beats(other, own) for rival, other in standings.items() if rival != name)
    ]
