"""One number for many tasks: the normalised score of SUPERB and of paper 1, from presets that are data.

    score of a domain = 1000 / tasks * sum over tasks of (value - baseline) / (reference - baseline)

so that the baseline has 0 and the reference 1000 on every task, whichever way its metric points; the score is the mean
of the domains' scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, FiniteFloat

from crossfade.documents import Strict, read_yaml, validated
from crossfade.errors import InputError, nearest
from crossfade.probing.results import Result

PRESETS = Path(__file__).parent / "presets"
FULL = 1000.0


class Anchor(Strict):
    """What is worth 1000 (`reference`) and 0 (`baseline`) on one task, in the unit of its metric."""

    domain: str
    metric: str
    reference: FiniteFloat
    baseline: FiniteFloat


class Preset(Strict):
    """A score: the anchors of every task, and where they come from."""

    name: str
    title: str
    source: str
    tasks: Mapping[str, Anchor] = Field(min_length=1)

    def weights(self, present: Sequence[str]) -> dict[str, float]:
        """How much the score grows per unit of each task's value, when `present` tasks are all there are."""
        domains = [self.tasks[task].domain for task in present]
        found = {}
        for task in present:
            anchor = self.tasks[task]
            tasks = domains.count(anchor.domain) * len({*domains})
            found[task] = FULL / tasks / (anchor.reference - anchor.baseline)
        return found

    def to_yaml(self) -> str:
        """The preset as a file that `load_preset` reads."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True)


@dataclass(frozen=True)
class Score:
    """`value` is the mean of `domains`; `missing` are the preset's tasks it was made without.

    `interval` holds it with 95 % confidence as far as its tasks' test items decide: tasks are independent, the anchors
    are as the preset has them. None where a task came without an interval.
    """

    preset: str
    value: float
    domains: Mapping[str, float]
    interval: tuple[float, float] | None
    missing: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self)


def presets() -> tuple[str, ...]:
    """Names of the packaged presets."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.yaml")))


def load_preset(name: str | Path) -> Preset:
    """A packaged preset by its name, or your own by the path of its YAML file.

    Raises:
        InputError: no such preset, a key that is missing, unknown or of the wrong type, or a task whose reference
            equals its baseline.
    """
    path = PRESETS / f"{name}.yaml" if name in presets() else Path(name)
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"score: '{name}' is no preset and no YAML file; {nearest(str(name), presets())}")
    preset = validated(Preset, read_yaml(path), path)
    _check(preset, str(path))
    return preset


def preset_from(
    name: str, reference: Sequence[Result], baseline: Sequence[Result], *, title: str = "", source: str = ""
) -> Preset:
    """A preset from what was measured: the reference's results are worth 1000, the baseline's 0.

    `reference` may hold one model's results on some tasks and another's on the rest (speech and music).

    Raises:
        InputError: a task that one of them lacks or has twice, or on which they are equal or of unlike metrics.
    """
    tops, bottoms = clean(reference), clean(baseline)
    if lone := sorted({*tops} ^ {*bottoms}):
        raise InputError(f"preset {name}: {', '.join(lone)}: in one of reference and baseline, expected in both")
    for task in tops:
        if tops[task].metric != bottoms[task].metric:
            raise InputError(f"preset {name}: {task}: metrics {tops[task].metric} and {bottoms[task].metric} are mixed")
    models = [", ".join(dict.fromkeys(result.model.name for result in results)) for results in (reference, baseline)]
    preset = Preset(
        name=name,
        title=title or name,
        source=source or f"measured: {models[0]} = 1000, {models[1]} = 0",
        tasks={
            task: Anchor(
                domain=top.task.domain,
                metric=top.metric,
                reference=top.value,
                baseline=bottoms[task].value,
            )
            for task, top in tops.items()
        },
    )
    _check(preset, f"preset {name}")
    return preset


def _check(preset: Preset, where: str) -> None:
    for task, anchor in preset.tasks.items():
        if anchor.reference == anchor.baseline:
            raise InputError(f"{where}: {task}: reference and baseline are both {anchor.reference:g}; they must differ")


def score_values(
    preset: Preset,
    values: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]] | None = None,
    metrics: Mapping[str, str] | None = None,
    *,
    partial: bool = False,
    of: str = "score",
) -> Score:
    """The score of `values` (task -> value); tasks that the preset does not know do not enter.

    Raises:
        InputError: a task of the preset is missing and `partial` is false, or all of them are; or one of `metrics` is
            not the preset's. `of` says whose score it is.
    """
    present = [task for task in preset.tasks if task in values]
    missing = tuple(task for task in preset.tasks if task not in values)
    if partial and not present:
        raise InputError(f"{of}: none of {preset.name}'s tasks is there: {', '.join(missing)}; measure some of them")
    if missing and not partial:
        hint = "; measure them, or ask for a partial score (--partial)" if present else ""
        raise InputError(f"{of}: {preset.name} needs tasks that are missing: {', '.join(missing)}{hint}")
    for task in present:
        if metrics is not None and metrics[task] != preset.tasks[task].metric:
            raise InputError(f"{of}: {task}: metric {metrics[task]}, {preset.name} has {preset.tasks[task].metric}")
    weights = preset.weights(present)
    shares = {task: weights[task] * (values[task] - preset.tasks[task].baseline) for task in present}
    names = list(dict.fromkeys(preset.tasks[task].domain for task in present))
    domains = {
        name: len(names) * sum(share for task, share in shares.items() if preset.tasks[task].domain == name)
        for name in names
    }
    value = sum(shares.values())
    spread = None
    if intervals is not None and all(task in intervals for task in present):
        spread = sum((weights[task] * (intervals[task][1] - intervals[task][0]) / 2) ** 2 for task in present) ** 0.5
    return Score(preset.name, value, domains, None if spread is None else (value - spread, value + spread), missing)


def score_results(preset: Preset, results: Sequence[Result], *, partial: bool = False) -> Score:
    """The score of one model's results on clean audio with all training clips.

    Raises:
        InputError: as `score_values`, or one of the tasks measured twice.
    """
    found = clean([result for result in results if result.task.name in preset.tasks])
    return score_values(
        preset,
        {task: result.value for task, result in found.items()},
        {task: result.interval for task, result in found.items()},
        {task: result.metric for task, result in found.items()},
        partial=partial,
        of=results[0].model.name if results else "score",
    )


def fits(preset: Preset, results: Sequence[Result]) -> bool:
    """Whether one model's results have every task of the preset, once, in its metric."""
    found = [
        (result.task.name, result.metric) for result in results if is_plain(result) and result.task.name in preset.tasks
    ]
    return sorted(found) == sorted((task, anchor.metric) for task, anchor in preset.tasks.items())


def is_plain(result: Result) -> bool:
    """Whether a result is on clean audio with all training clips, as scores take them."""
    return result.protocol.condition == "clean" and result.protocol.shots is None


def clean(results: Sequence[Result]) -> dict[str, Result]:
    """Results on clean audio with all training clips, by task. Raises InputError where a task occurs twice."""
    found: dict[str, Result] = {}
    for result in results:
        if is_plain(result):
            if result.task.name in found:
                raise InputError(f"{result.model.name}: {result.task.name} occurs twice; a score takes each task once")
            found[result.task.name] = result
    return found
