"""Who is trained on, who chooses the learning rate, who is tested: groups never straddle, and a seed decides all."""

import hashlib
import json
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import combinations

import torch
from torch import Tensor

from crossfade.errors import InputError, nearest
from crossfade.probing.schema import Dataset, Fold, Item, Task

PARTS = 5
"""Folds where the data has none; validation is one part in as many of what is trained on."""
TRIALS = 20_000
"""Pairs that are compared at most, where the data does not say which."""
WITH_CLASSES = ("classification", "slots", "key", "verification")
SPLITS = ("train", "valid", "test")


def assemble(
    task: Task, items: Sequence[Item], trials: Sequence[tuple[int, int, bool]] = (), *, seed: int = 0, where: str = ""
) -> Dataset:
    """Items, checked and divided: by their `split` (train, valid, test, or names of folds), else into grouped folds.

    Raises InputError for an id that is there twice, a split that is unknown or empty, a group on two sides, one class
    only, and a class that is tested without being trained on (verification and key: these may be new).
    """
    counted = Counter(item.id for item in items)
    if twice := [name for name, times in counted.items() if times > 1]:
        raise InputError(f"{where}: '{twice[0]}' is there {counted[twice[0]]} times; expected every clip once")
    folds = _folds(task, items, seed, where)
    for fold in folds:
        _check(task, items, fold, where)
    if task.kind == "verification" and not trials:
        trials = pairs(items, folds)
    return _dataset(task, tuple(items), folds, tuple(trials))


def few_shot(dataset: Dataset, shots: int, seed: int) -> Dataset:
    """The same tests with `shots` training and `shots` validation items of each class in every fold, drawn by `seed`.

    A class with fewer items gives all it has; without classes (ctc, regression, tagging, beat) it is `shots` in all.
    Raises InputError for less than one shot, and for so many that every training item is drawn each time.
    """
    if shots < 1:
        raise InputError(f"shots: expected 1 or more items per class, received {shots}")
    strata = _strata(dataset.task, dataset.items)
    generator = torch.Generator().manual_seed(seed)

    def draw(indices: Tensor) -> Tensor:
        shuffled = indices[torch.randperm(len(indices), generator=generator)].tolist()
        seen: Counter[Hashable] = Counter()
        drawn = []
        for index in shuffled:
            seen[strata[index]] += 1
            if seen[strata[index]] <= shots:
                drawn.append(index)
        return torch.tensor(sorted(drawn), dtype=torch.int64)

    folds = tuple(Fold(draw(fold.train), draw(fold.valid), fold.test) for fold in dataset.folds)
    if all(len(few.train) == len(fold.train) for few, fold in zip(folds, dataset.folds, strict=True)):
        most = max(Counter(strata[index] for index in dataset.folds[0].train.tolist()).values())
        raise InputError(
            f"shots: {shots}, but no class has more than {most} training clips; give fewer, or leave it out"
        )
    return _dataset(dataset.task, dataset.items, folds, dataset.trials)


def deal(strata: Sequence[Hashable], groups: Sequence[Hashable], parts: int, seed: int) -> Tensor:
    """A part for each item, (items,) int64: groups stay whole, and every part gets its share of every stratum.

    Groups go one by one, the largest first and at random among equals, to the part that has least of what they bring.
    No part is empty where there are as many groups as parts.
    """
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    order = torch.randperm(len(members), generator=torch.Generator().manual_seed(seed)).tolist()
    shuffled = list(members.values())
    total, sizes = Counter(strata), [0] * parts
    counts: list[Counter[Hashable]] = [Counter() for _ in range(parts)]
    dealt = torch.zeros(len(groups), dtype=torch.int64)
    for indices in sorted((shuffled[position] for position in order), key=len, reverse=True):
        brings = Counter(strata[index] for index in indices)
        has = [sum(times * part[stratum] / total[stratum] for stratum, times in brings.items()) for part in counts]
        best = min(range(parts), key=lambda part: (has[part], sizes[part], part))
        counts[best] += brings
        sizes[best] += len(indices)
        dealt[indices] = best
    return dealt


# Folds --------------------------------------------------------------------------------------------------------------


def _folds(task: Task, items: Sequence[Item], seed: int, where: str) -> tuple[Fold, ...]:
    said = {item.split for item in items}
    if said == {None}:
        groups = _groups(items)
        parts = deal(_strata(task, items), groups, max(2, min(PARTS, len(set(groups)))), seed)
        names = [str(part) for part in parts.tolist()]
    elif None in said:
        missing = next(item.id for item in items if item.split is None)
        raise InputError(f"{where}: '{missing}' has no split, others have; expected one of {', '.join(SPLITS)} for all")
    else:
        names = [str(item.split) for item in items]
    if said & set(SPLITS):
        if unknown := sorted(set(names) - set(SPLITS)):
            raise InputError(f"{where}: unknown split '{unknown[0]}'; {nearest(unknown[0], SPLITS)}")
        if absent := [split for split in ("train", "test") if split not in names]:
            raise InputError(
                f"{where}: none of {len(items)} clips has the split '{absent[0]}'; expected train and test"
            )
        train, valid, test = (_where(names, split) for split in SPLITS)
        return (Fold(train, valid, test) if len(valid) else _carved(task, items, train, test, seed),)
    ordered = sorted(set(names))
    if task.validation == "next fold" and len(ordered) > 2:
        following = dict(zip(ordered, ordered[1:] + ordered[:1], strict=True))
        return tuple(
            Fold(_where(names, *set(ordered) - {name, after}), _where(names, after), _where(names, name))
            for name, after in following.items()
        )
    rest = {name: _where(names, *set(ordered) - {name}) for name in ordered}
    return tuple(_carved(task, items, train, _where(names, name), seed) for name, train in rest.items())


def _where(names: Sequence[str], *wanted: str) -> Tensor:
    return torch.tensor([index for index, name in enumerate(names) if name in wanted], dtype=torch.int64)


def _carved(task: Task, items: Sequence[Item], train: Tensor, test: Tensor, seed: int) -> Fold:
    """Validation is the part of `train` that is nearest to a fifth without the groups that alone have a class."""
    rest = [items[index] for index in train.tolist()]
    if not rest:
        return Fold(train, train, test)
    strata, groups = _strata(task, rest), _groups(rest)
    parts = deal(strata, groups, PARTS, seed).tolist()
    choices = [_spared(strata, groups, [part == own for own in parts], task) for part in range(PARTS)]
    valid = min(choices, key=lambda choice: (not choice.any(), abs(PARTS * int(choice.sum()) - len(rest))))
    return Fold(train[~valid], train[valid], test)


def _spared(strata: Sequence[Hashable], groups: Sequence[Hashable], taken: Sequence[bool], task: Task) -> Tensor:
    """Which of the items that would be `taken` (items,) can be, so that every class is still trained on."""
    left = {stratum for stratum, gone in zip(strata, taken, strict=True) if not gone}
    lone = task.kind != "verification"  # which compares speakers that nobody trained on
    needed = {group for group, stratum in zip(groups, strata, strict=True) if lone and stratum not in left}
    return torch.tensor([gone and group not in needed for group, gone in zip(groups, taken, strict=True)])


def _strata(task: Task, items: Sequence[Item]) -> list[Hashable]:
    return [item.label if task.kind in WITH_CLASSES else "" for item in items]


def _groups(items: Sequence[Item]) -> list[Hashable]:
    return [index if item.group is None else item.group for index, item in enumerate(items)]


def pairs(items: Sequence[Item], folds: Sequence[Fold]) -> tuple[tuple[int, int, bool], ...]:
    """Every pair of a fold's test items, evenly thinned where there are too many: data without trials of its own."""
    every = [pair for fold in folds for pair in combinations(fold.test.tolist(), 2)]
    kept = every[:: -(-len(every) // TRIALS)]
    return tuple((first, second, items[first].label == items[second].label) for first, second in kept)


# Checks -------------------------------------------------------------------------------------------------------------


def _check(task: Task, items: Sequence[Item], fold: Fold, where: str) -> None:
    sides = {name: [items[i] for i in getattr(fold, name).tolist()] for name in SPLITS}
    if empty := [name for name, side in sides.items() if not side]:
        needed = "; the learning rate is chosen on it" if empty[0] == "valid" else ""
        raise InputError(
            f"{where}: nothing of {len(items)} clips can be spared for the {empty[0]} split{needed}; expected every "
            "class in three groups or more, or a `split` column"
        )
    homes: dict[str, str] = {}
    for name, side in sides.items():
        for item in side:
            if item.group is not None and homes.setdefault(item.group, name) != name:
                raise InputError(
                    f"{where}: group '{item.group}' is in {homes[item.group]} and in {name} (there: '{item.id}'); "
                    "expected every group on one side"
                )
    trained = set(_strata(task, sides["train"]))
    if len(trained) < 2 and task.kind in WITH_CLASSES:
        raise InputError(f"{where}: only one class to train on, {next(iter(trained))!r}; expected two or more")
    if task.kind in ("classification", "slots"):
        known = {answer for item in sides["train"] for answer in _answers(item)}
        new = ((item, answer) for item in sides["test"] for answer in _answers(item) if answer not in known)
        if found := next(new, None):
            item, answer = found
            own = [one for one in items if answer in _answers(one)]
            raise InputError(
                f"{where}: class '{answer[1]}' of '{item.id}' is tested, but no clip of it is trained on: there are "
                f"{len(own)} in {len(set(_groups(own)))} groups; expected two groups or more, on both sides: give it "
                "more clips, or leave the class out"
            )


def _answers(item: Item) -> list[tuple[int, object]]:
    return list(enumerate(item.label if isinstance(item.label, tuple) else (item.label,)))


def _dataset(
    task: Task, items: tuple[Item, ...], folds: tuple[Fold, ...], trials: tuple[tuple[int, int, bool], ...]
) -> Dataset:
    told = [[item.id, item.start, item.seconds, item.label] for item in items]
    divided = [[getattr(fold, name).tolist() for name in SPLITS] for fold in folds]
    sha256 = hashlib.sha256(json.dumps([told, divided, trials]).encode()).hexdigest()
    return Dataset(task, items, folds, sha256, trials)
