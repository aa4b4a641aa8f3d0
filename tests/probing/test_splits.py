from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossfade.audio.sources import AudioFile
from crossfade.errors import InputError
from crossfade.probing.schema import Fold, Item, Label, Task
from crossfade.probing.splits import assemble, deal, few_shot

SIDES = ("train", "valid", "test")


def task(**fields: Any) -> Task:
    return Task.model_validate({"name": "task"} | fields)


def items(
    labels: Sequence[Label], groups: Sequence[str | None] | None = None, splits: Sequence[str | None] | None = None
) -> list[Item]:
    none = [None] * len(labels)
    rows = zip(labels, groups or none, splits or none, strict=True)
    return [Item(f"{n}.wav", AudioFile(f"{n}.wav", Path(f"{n}.wav")), *row) for n, row in enumerate(rows)]


def sides(fold: Fold) -> list[set[int]]:
    return [set(getattr(fold, side).tolist()) for side in SIDES]


def refusal(about: Task, clips: Sequence[Item]) -> str:
    with pytest.raises(InputError) as caught:
        assemble(about, clips, where="m.csv")
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Invariants


@st.composite
def clips_in_groups(draw: st.DrawFn) -> list[Item]:
    """Two to four classes, each in three groups or more, groups of unlike sizes, in any order."""
    groups = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=2, max_size=12))
    groups += [(label, 1) for label in {label for label, _ in groups} | {0, 1} for _ in range(3)]
    rows = [(f"class {label}", f"group {n}") for n, (label, size) in enumerate(groups) for _ in range(size)]
    rows = draw(st.permutations(rows))
    return items(*map(list, zip(*rows, strict=True)))


@given(clips_in_groups(), st.integers(0, 1000))
def test_grouped_folds(clips: list[Item], seed: int) -> None:
    dataset, again = assemble(task(), clips, seed=seed), assemble(task(), clips, seed=seed)
    assert len(dataset.folds) == 5
    assert sorted(index for fold in dataset.folds for index in fold.test.tolist()) == list(range(len(clips)))
    for fold in dataset.folds:
        train, valid, test = sides(fold)
        assert train | valid | test == set(range(len(clips)))
        assert len(train) + len(valid) + len(test) == len(clips)
        homes = [{clips[index].group for index in side} for side in (train, valid, test)]
        assert sum(map(len, homes)) == len(set.union(*homes))
        assert {clips[index].label for index in valid | test} <= {clips[index].label for index in train}
    assert dataset.sha256 == again.sha256
    assert all(
        torch.equal(getattr(a, side), getattr(b, side))
        for a, b in zip(dataset.folds, again.folds, strict=True)
        for side in SIDES
    )


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=40), st.integers(2, 5), st.integers()
)
def test_dealing(rows: list[tuple[int, int]], parts: int, seed: int) -> None:
    strata, groups = [row[0] for row in rows], [row[1] for row in rows]
    dealt = deal(strata, groups, parts, seed % 2**32)
    assert dealt.tolist() == deal(strata, groups, parts, seed % 2**32).tolist()
    assert len({(group, part) for group, part in zip(groups, dealt.tolist(), strict=True)}) == len(set(groups))
    assert len(set(dealt.tolist())) == min(parts, len(set(groups)))


@given(st.integers(1, 30), st.integers(2, 6), st.integers(0, 100))
def test_without_groups_every_part_gets_its_share_of_every_class(count: int, classes: int, seed: int) -> None:
    strata = [n % classes for n in range(count * classes)]
    dealt = deal(strata, range(len(strata)), 5, seed).tolist()
    for stratum in range(classes):
        shares = Counter(part for part, own in zip(dealt, strata, strict=True) if own == stratum)
        assert max(shares.values()) - min(shares[part] for part in range(5)) <= 1


@given(st.integers(1, 6), st.integers(0, 1000))
def test_few_shots_leave_the_test_and_draw_within_each_class(shots: int, seed: int) -> None:
    whole = assemble(task(), items([f"class {n % 3}" for n in range(60)] + ["class 3"] * 6))
    dataset = few_shot(whole, shots, seed)
    assert few_shot(whole, shots, seed).sha256 == dataset.sha256 != whole.sha256
    for fold, full in zip(dataset.folds, whole.folds, strict=True):
        assert torch.equal(fold.test, full.test)
        for drawn, all_of_it in ((fold.train, full.train), (fold.valid, full.valid)):
            assert set(drawn.tolist()) <= set(all_of_it.tolist())
            has = Counter(whole.items[index].label for index in all_of_it.tolist())
            assert Counter(whole.items[index].label for index in drawn.tolist()) == {
                label: min(shots, times) for label, times in has.items()
            }


# What is said of splits


def test_train_valid_and_test_are_taken_as_they_are() -> None:
    splits = ["train", "test", "train", "valid", "test", "train"]
    (fold,) = assemble(task(), items(list("aabaab"), splits=splits)).folds
    assert sides(fold) == [{0, 2, 5}, {3}, {1, 4}]
    assert fold.train.dtype == torch.int64


def test_validation_is_a_fifth_of_training_by_group() -> None:
    labels, groups = list("ab") * 25, [f"g{n // 2 % 10}" for n in range(40)] + ["t"] * 10
    (fold,) = assemble(task(), items(labels, groups, ["train"] * 40 + ["test"] * 10)).folds
    assert [len(side) for side in sides(fold)] == [32, 8, 10]
    assert len({groups[index] for index in fold.valid.tolist()}) == 2
    seeds = [assemble(task(), items(labels, groups, ["train"] * 40 + ["test"] * 10), seed=s).sha256 for s in range(4)]
    assert len(set(seeds)) > 1


def test_validation_never_takes_the_only_group_of_a_class() -> None:
    labels, groups = list("aaaab") * 4 + list("ab"), [*(f"g{n % 5}" for n in range(20)), "t", "t"]
    for seed in range(10):
        (fold,) = assemble(task(), items(labels, groups, ["train"] * 20 + ["test"] * 2), seed=seed).folds
        assert {labels[index] for index in fold.valid.tolist()} == {"a"}


def test_named_folds_are_tested_one_by_one() -> None:
    clips = items(list("ab") * 9, splits=[f"fold {n // 6}" for n in range(18)])
    folds = assemble(task(), clips).folds
    assert [sorted(fold.test.tolist()) for fold in folds] == [list(range(6 * n, 6 * n + 6)) for n in range(3)]
    assert [len(fold.valid) for fold in folds] == [2, 2, 2]
    after = assemble(task(validation="next fold"), clips).folds
    assert [fold.valid.tolist() for fold in after] == [folds[n].test.tolist() for n in (1, 2, 0)]


def test_the_fingerprint_tells_labels_folds_and_trials_apart() -> None:
    labels, splits = list("ababab"), ["train", "train", "valid", "valid", "test", "test"]
    same = assemble(task(), items(labels, splits=splits))
    assert same.sha256 == assemble(task(title="another"), items(labels, splits=splits)).sha256
    assert same.sha256 != assemble(task(), items(list("abbaab"), splits=splits)).sha256
    assert same.sha256 != assemble(task(), items(labels, splits=[*splits[:2], *splits[4:], *splits[2:4]])).sha256
    assert same.sha256 != assemble(task(), items(labels, splits=splits), [(0, 1, False)]).sha256


def test_kinds_without_classes_are_dealt_evenly() -> None:
    folds = assemble(task(kind="regression"), items([(float(n),) for n in range(25)])).folds
    assert [[len(side) for side in sides(fold)] for fold in folds] == [[16, 4, 5]] * 5
    assert [len(fold.train) for fold in few_shot(assemble(task(kind="ctc"), items(["hi"] * 25)), 3, 0).folds] == [3] * 5


def test_verification_tests_and_validates_speakers_that_nobody_trained_on() -> None:
    speakers = [f"s{n // 4}" for n in range(28)]
    clips = items(speakers, speakers, ["train"] * 20 + ["test"] * 8)
    (fold,) = assemble(task(kind="verification"), clips, [(20, 21, True), (20, 24, False)]).folds
    assert [len(side) for side in sides(fold)] == [16, 4, 8]
    assert len({speakers[index] for index in fold.valid.tolist()}) == 1


# Bad input


def test_refusals() -> None:
    many, splits = list("ab") * 10, ["train"] * 10 + ["valid"] * 5 + ["test"] * 5
    assert "m.csv: unknown split 'tests'; did you mean 'test'?" in refusal(
        task(), items(many, None, [*splits[:-1], "tests"])
    )
    assert "m.csv: '19.wav' has no split, others have; expected one of train, valid, test" in refusal(
        task(), items(many, None, [*splits[:-1], None])
    )
    assert "m.csv: none of 15 clips has the split 'test'; expected train and test" in refusal(
        task(), items(many[:15], None, splits[:15])
    )
    assert "m.csv: none of 5 clips has the split 'train'; expected train and test" in refusal(
        task(), items(many[:5], None, ["test"] * 5)
    )
    assert "m.csv: nothing of 20 clips can be spared for the train split" in refusal(task(), items(many, ["one"] * 20))
    assert "m.csv: nothing of 20 clips can be spared for the valid split" in refusal(
        task(), items(many, ["one"] * 15 + ["two"] * 5, ["train"] * 15 + ["test"] * 5)
    )
    groups = [f"g{n}" for n in range(19)]
    assert "m.csv: group 'g3' is in train and in test (there: '19.wav'); expected every group on one side" in refusal(
        task(), items(many, [*groups, "g3"], splits)
    )
    assert "m.csv: only one class to train on, 'a'; expected two or more" in refusal(task(), items(["a"] * 20))
    assert "class 'c' of '19.wav' is tested, but no clip of it is trained on: there are 1 in 1 groups" in refusal(
        task(), items([*many[:-1], "c"], None, splits)
    )
    slots = [("on", "lamp"), ("off", "lamp")] * 9 + [("on", "lamp"), ("off", "radio")]
    assert "class 'radio' of '19.wav' is tested" in refusal(task(kind="slots"), items(slots, None, splits))
    twice = items(many)
    assert "m.csv: '3.wav' is there 2 times; expected every clip once" in refusal(task(), [*twice, twice[3]])
    with pytest.raises(InputError, match="shots: expected 1 or more items per class, received 0"):
        few_shot(assemble(task(), twice), 0, 0)
