"""A leaderboard from results files: models by tasks, a best one only where it is shown, every number traceable."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from crossfade.errors import InputError
from crossfade.probing.compare import tested
from crossfade.probing.pairing import Entry, gather, same, why_not
from crossfade.probing.results import Result, find_results
from crossfade.probing.scores import Preset, Score, fits, is_plain, load_preset, presets, score_results


@dataclass(frozen=True)
class Column:
    """One task under one condition and protocol: each model's result, and the best model where one is shown to be."""

    name: str
    entries: Mapping[str, Entry]
    best: str | None

    @property
    def first(self) -> Entry:
        """The result that says what all results of the column have in common."""
        return next(iter(self.entries.values()))


@dataclass(frozen=True)
class Leaderboard:
    """`models` in order of the first score, or as they were given; `scores` are of presets, by name, then by model.

    A score that lacks fewer tasks comes first: with other tasks it is another score.
    """

    models: tuple[str, ...]
    columns: tuple[Column, ...]
    scores: Mapping[str, Mapping[str, Score]]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Leaderboard({len(self.models)} models, {len(self.columns)} columns, scores: {', '.join(self.scores)})"

    def to_dict(self) -> dict[str, Any]:
        """Everything that is shown, ready for JSON."""
        return {
            "models": list(self.models),
            "columns": [
                {
                    "name": column.name,
                    "task": column.first.result.task.name,
                    "metric": column.first.result.metric,
                    "better": column.first.result.better,
                    "best": column.best,
                    "protocol": column.first.result.protocol.model_dump(mode="json"),
                    "results": {
                        model: {
                            "value": entry.result.value,
                            "interval": entry.result.interval,
                            "group_interval": entry.result.group_interval,
                            "file": entry.source,
                        }
                        for model, entry in column.entries.items()
                    },
                }
                for column in self.columns
            ],
            "scores": {
                name: {model: score.to_dict() for model, score in scores.items()}
                for name, scores in self.scores.items()
            },
            "notes": list(self.notes),
        }


def leaderboard(sources: Sequence[str | Path], *, score: Preset | None = None, partial: bool = False) -> Leaderboard:
    """Read results files, and folders of them, into a leaderboard.

    The best of a column is marked where paired tests show it better than every other model there, all columns being one
    family (Benjamini-Hochberg at 5 %).

    Args:
        sources: results files, or folders that hold some at any depth.
        score: the preset of the score column; by default every packaged preset whose tasks all models have.
        partial: score models that lack some of the preset's tasks too, and name those.

    Raises:
        InputError: a file that cannot be used, no results, one model with unlike answers to the same, a value that is
            not what its items give, or tasks missing from the score.
    """
    files, passed = _files([Path(source) for source in sources])
    entries, doubles = gather(files)
    by_model: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_model[entry.model].append(entry)
    chosen = [score] if score else _fitting(by_model)
    results = {model: [entry.result for entry in own] for model, own in by_model.items()}
    scores = {preset.name: _scores(preset, results, partial) for preset in chosen}
    models = list(by_model)
    for of_model in list(scores.values())[:1]:
        models.sort(
            key=lambda model: (len(of_model[model].missing), -of_model[model].value) if model in of_model else (inf, 0)
        )
    columns, notes = _columns(entries)
    notes += [f"{note}." for note in doubles]
    notes += [f"{path} is no results file and was passed over." for path in passed]
    notes += [
        f"{name} of {model} is partial, without {', '.join(found.missing)}."
        for name, of_model in scores.items()
        for model, found in of_model.items()
        if found.missing
    ]
    notes += [f"{model} has no task of {name}." for name in scores for model in models if model not in scores[name]]
    return Leaderboard(tuple(models), tuple(columns), scores, tuple(notes))


def _scores(preset: Preset, results: Mapping[str, Sequence[Result]], partial: bool) -> dict[str, Score]:
    """Of all models; if `partial`, of those that have any of the tasks."""
    able = {
        model: own
        for model, own in results.items()
        if not partial or any(is_plain(result) and result.task.name in preset.tasks for result in own)
    }
    return {model: score_results(preset, own, partial=partial) for model, own in (able or results).items()}


def _files(sources: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    files: list[Path] = []
    passed: list[Path] = []
    for source in sources:
        if source.is_dir():
            found, others = find_results(source)
            if not found:
                raise InputError(f"{source}: no results file in this folder; write some with `crossfade probe -o`")
            files, passed = files + found, passed + others
        else:
            files.append(source)
    return files, passed


def _fitting(by_model: Mapping[str, Sequence[Entry]]) -> list[Preset]:
    packaged = [load_preset(name) for name in presets()]
    return [
        preset for preset in packaged if all(fits(preset, [entry.result for entry in own]) for own in by_model.values())
    ]


def _columns(entries: Sequence[Entry]) -> tuple[list[Column], list[str]]:
    """Columns by domain, then task, the clean ones first; and notes on what could not be tested."""
    groups: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[same(entry.result)].append(entry)
    domains = list(dict.fromkeys(entry.result.task.domain for entry in entries))
    tasks = list(dict.fromkeys(entry.result.task.name for entry in entries))

    def place(group: list[Entry]) -> tuple[int, int, bool, int]:
        task, protocol = group[0].result.task, group[0].result.protocol
        return domains.index(task.domain), tasks.index(task.name), protocol.condition != "clean", protocol.shots or 0

    ordered = sorted(groups.values(), key=place)
    best, notes = _best(ordered)
    columns = [
        Column(group[0].setting, {entry.model: entry for entry in group}, winner)
        for group, winner in zip(ordered, best, strict=True)
    ]
    return columns, notes


def _best(groups: Sequence[Sequence[Entry]]) -> tuple[list[str | None], list[str]]:
    """The model of each group that is shown to be better than all others, if any; and why others were not tested."""
    pairs: dict[Entry, list[Entry]] = {}
    notes = []
    for group in groups:
        sign = 1 if group[0].result.better == "higher" else -1
        top = max(group, key=lambda entry: sign * entry.result.value)
        others = [entry for entry in group if entry is not top]
        reasons = [(other.model, why) for other in others if (why := why_not(top.result, other.result))]
        notes += [f"{top.setting}: {model} is not tested against {top.model}: {why}." for model, why in reasons]
        pairs[top] = [] if reasons else others
    found, lost = tested({top: others for top, others in pairs.items() if others}, "item")
    notes += [f"{one.setting}: {one.model} is not tested: {one.reason}." for one in lost]
    beaten = {pair for pair, difference in found.items() if difference.verdict == "worse"}
    return [
        top.model if others and all((top, other) in beaten for other in others) else None
        for top, others in pairs.items()
    ], notes
