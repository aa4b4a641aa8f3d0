"""Which results can be tested against which, and why the others cannot."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossfade.errors import InputError
from crossfade.probing.results import Result, load_results

Source = str | Path | Iterable[Result]


@dataclass(frozen=True, eq=False)
class Entry:
    """A result, the name its model goes by (unlike for unlike weights), and where the result is from."""

    model: str
    result: Result
    source: str


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


def gather(sources: Iterable[Source]) -> list[Entry]:
    """All results, each with its model's name and where it is from.

    A name that stands for unlike weights is told apart by their hash.

    Raises:
        InputError: a file that is no results file, no result at all, or one model measured twice on the same.
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
    for _, result in read:
        weights[result.model.name].add(_weights(result))
    entries = [Entry(_name(result, len(weights[result.model.name])), result, source) for source, result in read]
    seen: dict[tuple[str, str, str], Entry] = {}
    for entry in entries:
        first = seen.setdefault((entry.model, *same(entry.result)), entry)
        if first is not entry:
            raise InputError(
                f"{entry.model} is measured twice on {entry.result.task.name} under one protocol, in {first.source} "
                f"and in {entry.source}; leave one of them out"
            )
    return entries


def _weights(result: Result) -> str:
    return (result.model.sha256 or "")[:8] or result.model.revision or "unhashed"


def _name(result: Result, kinds: int) -> str:
    return result.model.name if kinds == 1 else f"{result.model.name}@{_weights(result)}"


def same(result: Result) -> tuple[str, str]:
    """What two results must agree on to be tested against each other."""
    protocol = json.dumps(result.protocol.model_dump(mode="json"), sort_keys=True)
    return f"{result.task.name} {result.task.sha256} {result.metric}", protocol


def _alike(result: Result) -> tuple[str, str]:
    """What makes two results each other's counterpart, tested or not."""
    return result.task.name, f"{result.protocol.condition}, {result.protocol.shots} shots"


def match(own: Sequence[Entry], others: Sequence[Entry]) -> tuple[list[tuple[Entry, Entry]], list[NotComparable]]:
    """Pairs of results that can be tested, and all others with the reason why they cannot."""
    pairs: list[tuple[Entry, Entry]] = []
    rest, left = list(others), list(own)
    for key in (same, _alike):
        waiting: dict[tuple[str, str], list[Entry]] = defaultdict(list)
        for entry in rest:
            waiting[key(entry.result)].append(entry)
        for entry in list(left):
            if counterparts := waiting[key(entry.result)]:
                pairs.append((entry, counterparts.pop(0)))
                left.remove(entry)
                rest.remove(pairs[-1][1])
    reasons = [(pair, why_not(pair[0].result, pair[1].result)) for pair in pairs]
    lost = [
        not_comparable(other, f"{reason}, in {one.source} and {other.source}")
        for (one, other), reason in reasons
        if reason
    ]
    for alone, lacking in ((left, others), (rest, own)):
        lost += [not_comparable(entry, f"not measured for {lacking[0].model}") for entry in alone]
    return [pair for pair, reason in reasons if not reason], lost


def setting(task: str, condition: str, shots: int | None) -> str:
    """`task`, or `task (babble at 10 dB, 5 shots)`."""
    shown = [] if condition == "clean" else [condition]
    shown += [] if shots is None else [f"{shots} shots"]
    return f"{task} ({', '.join(shown)})" if shown else task


def not_comparable(entry: Entry, reason: str) -> NotComparable:
    """The record of a result that is not tested."""
    protocol = entry.result.protocol
    return NotComparable(entry.result.task.name, protocol.condition, protocol.shots, entry.model, reason)


def why_not(one: Result, other: Result) -> str | None:
    """What two results of a task differ in that forbids a paired test; None if nothing does."""
    if one.task.sha256 != other.task.sha256:
        return f"other clips, labels or folds (task hashes {one.task.sha256[:8]} and {other.task.sha256[:8]})"
    if one.metric != other.metric:
        return f"metric {one.metric} and {other.metric}"
    protocols = [result.protocol.model_dump(mode="json") for result in (one, other)]
    for key in protocols[0] | protocols[1]:
        first, second = (protocol.get(key) for protocol in protocols)
        if first != second:
            return f"protocol: {key} is {first} and {second}"
    if one.protocol.shots is not None and one.seeds != other.seeds:
        return f"other draws of training clips (seeds {list(one.seeds)} and {list(other.seeds)})"
    items = [{item.id: (item.label, item.group, item.fold) for item in result.items} for result in (one, other)]
    if lone := sorted(items[0].keys() ^ items[1].keys()):
        return f"{len(lone)} test items are in one of them only, '{lone[0]}' among them"
    if unlike := sorted(id for id in items[0] if items[0][id] != items[1][id]):
        return f"{len(unlike)} test items have other labels, groups or folds, '{unlike[0]}' among them"
    return None
