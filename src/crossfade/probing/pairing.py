"""Which results can be tested against which, and why the others cannot."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np

from crossfade.errors import InputError, nearest
from crossfade.probing.results import Result, load_results
from crossfade.probing.significance import evaluator, panel

Source = str | Path | Iterable[Result]

FIXED = ("condition", "shots", "draws", "folds")
"""What a protocol says of the question and the test. All else is a setting: how the answer was learned."""

TELLING = ("head", "layers", "published", "precision", "beam", "projection", "hidden", "batch", "steps", "rates")
"""Settings in the order in which they are named to tell results apart; those that follow from others come last."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A result, the name its model goes by (unlike for unlike weights), and where the result is from.

    `way` are the settings that tell it from others of the same task, condition and shots; empty without others.
    """

    model: str
    result: Result
    source: str
    way: str = ""

    @property
    def setting(self) -> str:
        """The task and what makes its setting unlike the usual one."""
        return setting(*self.question, self.way)

    @property
    def question(self) -> tuple[str, str, int | None]:
        """Task, condition and shots."""
        return self.result.task.name, self.result.protocol.condition, self.result.protocol.shots


@dataclass(frozen=True)
class NotComparable:
    """A result of `model` that has no counterpart to be tested against, and why."""

    task: str
    condition: str
    shots: int | None
    model: str
    reason: str

    @property
    def setting(self) -> str:
        """The task and what makes its setting unlike the usual one."""
        return setting(self.task, self.condition, self.shots)


def gather(sources: Iterable[Source]) -> tuple[list[Entry], list[str]]:
    """All results, each with its model's name and where it is from; and notes on what was given twice.

    A name that stands for unlike weights is told apart by their hash. A result that is given twice with the same
    answers is one.

    Raises:
        InputError: a file that is no results file, no result at all, one model with unlike answers to the same, or a
            value that is not what its own items give.
    """
    read: list[tuple[str, Result]] = []
    for number, source in enumerate(sources, start=1):
        if isinstance(source, str | Path):
            read += [(str(source), result) for result in load_results(source)]
        else:
            read += [(f"results {number}", result) for result in source]
    if not read:
        raise InputError("no results in what was given; expected results files of `crossfade probe`")
    weights = defaultdict(set)
    for source, result in read:
        weights[result.model.name].add(_weights(result))
        _require_sound(result, source)
    entries, notes = _once(
        [Entry(_name(result, len(weights[result.model.name])), result, source) for source, result in read]
    )
    together = defaultdict(list)
    for entry in entries:
        together[entry.setting].append(entry)
    ways = {entry: way for group in together.values() for entry, way in tell_apart([group]).items()}
    return [replace(entry, way=ways[entry]) for entry in entries], notes


def _weights(result: Result) -> str:
    return (result.model.sha256 or "")[:8] or result.model.revision or "unhashed"


def _name(result: Result, kinds: int) -> str:
    return result.model.name if kinds == 1 else f"{result.model.name}@{_weights(result)}"


def _require_sound(result: Result, source: str) -> None:
    """InputError unless the value is what the items give."""
    from crossfade.probing.metrics import METRICS

    where = f"{source}: {result.model.name} on {result.task.name}"
    if result.metric not in METRICS:
        raise InputError(f"{where}: metric '{result.metric}' is unknown; {nearest(result.metric, METRICS)}")
    answers = panel([result.items], averaged=result.protocol.folds == "averaged")
    value = float(evaluator(METRICS[result.metric], answers)(np.ones((1, answers.count))).mean())
    if not isclose(value, result.value, rel_tol=1e-4, abs_tol=1e-4):
        raise InputError(
            f"{where}: value {result.value:g} does not follow from its items, which give {value:g}; probe again"
        )


def _once(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """Entries without those that say again what another says, and a note on these."""
    seen: dict[tuple[str, ...], Entry] = {}
    again = Counter[tuple[str, str]]()
    for entry in entries:
        first = seen.setdefault((entry.model, *same(entry.result)), entry)
        if first.result.items != entry.result.items:
            raise InputError(
                f"{entry.model} is measured twice on {entry.setting} under one protocol with unlike answers, in "
                f"{first.source} and in {entry.source}; leave one of them out"
            )
        if first is not entry:
            again[first.source, entry.source] += 1
    notes = [f"Counted once: results that {one} and {other} share ({count})" for (one, other), count in again.items()]
    return list(seen.values()), notes


def asked(result: Result) -> dict[str, Any]:
    """All that a protocol says, without what does not apply."""
    told = result.protocol.model_dump(mode="json")
    return {key: value for key, value in told.items() if value is not None and value != []}


def same(result: Result, *, across: bool = False) -> tuple[str, str]:
    """What two results must agree on to be tested against each other; `across` settings, these may differ."""
    protocol = {key: value for key, value in asked(result).items() if key in FIXED or not across}
    return f"{result.task.name} {result.task.sha256} {result.metric}", json.dumps(protocol, sort_keys=True)


def tell_apart(groups: Sequence[Sequence[Entry]]) -> dict[Entry, str]:
    """What tells the results of each group from one another: as few settings as do, as in "head ridge"."""
    facts = {
        entry: asked(entry.result) | {"metric": entry.result.metric, "data": entry.result.task.sha256[:8]}
        for group in groups
        for entry in group
    }
    group_of = {entry: number for number, group in enumerate(groups) for entry in group}

    def kinds(keys: Sequence[str]) -> int:
        return len({(group_of[entry], *(str(fact.get(key)) for key in keys)) for entry, fact in facts.items()})

    telling: list[str] = []
    for key in dict.fromkeys([*TELLING, *(key for fact in facts.values() for key in fact)]):
        if kinds([*telling, key]) > kinds(telling):
            telling.append(key)
    return {
        entry: ", ".join(f"{key} {shown(fact[key])}" for key in telling if key in fact) for entry, fact in facts.items()
    }


def by_settings(entries: Sequence[Entry]) -> list[Entry]:
    """One model's results as if each of its settings were a model of its own: `speech (head ridge)`."""
    groups = defaultdict(list)
    for entry in entries:
        groups[same(entry.result, across=True)].append(entry)
    ways = tell_apart(list(groups.values()))
    return [
        replace(entry, model=f"{entry.model} ({ways[entry]})" if ways[entry] else entry.model, way="")
        for entry in entries
    ]


def match(
    own: Sequence[Entry], others: Sequence[Entry], *, across: bool = False
) -> tuple[list[tuple[Entry, Entry]], list[NotComparable]]:
    """Pairs of results that can be tested, and all others with the reason why they cannot."""
    counterparts = {same(entry.result, across=across): entry for entry in own}
    met = [(counterparts[key], entry) for entry in others if (key := same(entry.result, across=across)) in counterparts]
    reasons = [(one, other, why_not(one.result, other.result, across=across)) for one, other in met]
    lost = [not_comparable(other, _where(reason, one, other)) for one, other, reason in reasons if reason]
    told = {entry for pair in met for entry in pair}
    for mine, theirs in ((others, own), (own, others)):
        for entry in mine:
            if entry in told:
                continue
            alike = [one for one in theirs if one.question == entry.question]
            if not alike:
                lost.append(not_comparable(entry, f"not measured for {theirs[0].model}"))
                continue
            near = min(alike, key=lambda one: len(_unlike(one.result, entry.result)))
            one, other = (near, entry) if mine is others else (entry, near)
            lost.append(not_comparable(entry, _where(why_not(one.result, other.result, across=across), one, other)))
            told.add(near)
    return [(one, other) for one, other, reason in reasons if not reason], lost


def _where(reason: str | None, one: Entry, other: Entry) -> str:
    return f"{reason}, in {one.source} and {other.source}"


def _unlike(one: Result, other: Result) -> list[str]:
    first, second = asked(one), asked(other)
    return [key for key in first | second if first.get(key) != second.get(key)]


def why_not(one: Result, other: Result, *, across: bool = False) -> str | None:
    """What two results of a task differ in that forbids a paired test; None if nothing does.

    Settings may differ where `across` is true. One that only one of them has, as a head's steps, follows from another
    and is named only where nothing else differs.
    """
    if one.task.sha256 != other.task.sha256:
        return f"other clips, labels or folds (task hashes {one.task.sha256[:8]} and {other.task.sha256[:8]})"
    if one.metric != other.metric:
        return f"metric {one.metric} and {other.metric}"
    if unlike := [key for key in _unlike(one, other) if key in FIXED or not across]:
        first, second = asked(one), asked(other)
        told = [key for key in unlike if key in first and key in second] or unlike
        return "other settings: " + ", ".join(
            f"{key} {shown(first.get(key))} and {shown(second.get(key))}" for key in told
        )
    if one.protocol.shots is not None and one.seeds != other.seeds:
        return f"other draws of training clips (seeds {list(one.seeds)} and {list(other.seeds)})"
    items = [{item.id: (item.label, item.group, item.fold) for item in result.items} for result in (one, other)]
    if lone := sorted(items[0].keys() ^ items[1].keys()):
        return f"test items that are in one of them only: {len(lone)}, '{lone[0]}' among them"
    if unlike := sorted(id for id in items[0] if items[0][id] != items[1][id]):
        return f"test items with other labels, groups or folds: {len(unlike)}, '{unlike[0]}' among them"
    return None


def setting(task: str, condition: str, shots: int | None, way: str = "") -> str:
    """`task`, or `task (babble at 10 dB, 5 shots, head ridge)`."""
    told = ["" if condition == "clean" else condition, "" if shots is None else f"{shots} shots", way]
    unusual = ", ".join(part for part in told if part)
    return f"{task} ({unusual})" if unusual else task


def not_comparable(entry: Entry, reason: str) -> NotComparable:
    """The record of a result that is not tested."""
    return NotComparable(*entry.question, entry.model, reason)


def shown(value: object) -> str:
    """A setting's value as a person writes it."""
    if isinstance(value, list | tuple):
        return " ".join(map(shown, value))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
