"""What a protocol asks for, what was chosen of all that was tried, and what of it a result tells."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from crossfade.audio.sources import AudioFile
from crossfade.errors import InputError
from crossfade.probing.learners import SOLVED, Lesson, learn, plan_lesson, sweep_steps
from crossfade.probing.measure import Answers, Question, answer, protocol
from crossfade.probing.schema import Dataset, Fold, Head, Item, Kind, Task
from crossfade.progress import SILENT

LAYERS, WIDTH, CLIPS = 3, 4, 60


@dataclass
class Means:
    """Features of all items, none of which was skipped."""

    means: Tensor
    precision: str = "float32"
    window: str = "clip"

    def frames(self, index: int) -> Tensor:
        return self.means[index][:, None].expand(-1, 8, -1)

    def keep(self, indices: Tensor) -> Tensor:
        return indices


def dataset(kind: Kind = "classification", head: Head = "linear", **settings: Any) -> Dataset:
    labels: Any = [f"c{clip % 3}" for clip in range(CLIPS)]
    if kind == "frames":
        labels = [((0.0, 1.0, label),) for label in labels]
    task = Task(name="made", kind=kind, protocol={"head": head, **settings})  # type: ignore[arg-type, call-arg]
    items = tuple(Item(str(clip), AudioFile("x.wav", Path("x.wav")), label) for clip, label in enumerate(labels))
    folds = tuple(Fold(*torch.arange(CLIPS).roll(20 * fold).split([30, 10, 20])) for fold in range(3))
    return Dataset(task, items, folds, "")


def means() -> Means:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(CLIPS, LAYERS, WIDTH, generator=generator)
    features[:, 1, :3] += 3 * torch.eye(3)[torch.arange(CLIPS) % 3]
    return Means(features)


def planned(made: Dataset, head: Head | None = None, **changed: Any) -> Lesson:
    seeds = (7,) if head in SOLVED else (7, 8)
    asked = {"protocol": "sweep", "layers": None, "seeds": seeds, "beam": 1} | changed
    return plan_lesson(made, head=head, **asked)


def told(lesson: Lesson) -> dict[str, Any]:
    question = Question(lesson, published=False, shots=None, draws=4, backgrounds=(), seed=3)
    return protocol(means(), question, "clean", averaged=False).model_dump()  # type: ignore[arg-type]


@pytest.mark.parametrize("head", ["linear", "ridge", "knn"])
def test_one_of_what_was_tried_is_chosen(head: Head) -> None:
    """Even where all are equal: features that tell all and features that tell nothing."""
    made = dataset(projection=None)
    plan = planned(made, head)
    one = replace(plan, training=replace(plan.training, steps=20, rates=(1e-3, 1e-2, 1e-1)))
    for heard in (means(), Means(torch.zeros(CLIPS, LAYERS, WIDTH))):
        learned = learn(made, made.folds[0], heard, one, 1.0, torch.device("cpu"), SILENT)
        chosen = [point for point in learned.sweep if point.chosen]
        assert [point.seed for point in chosen] == ([7, 8] if head == "linear" else [0])
        assert [point.rate for point in chosen] == [*learned.rates] or head != "linear"
        for point in chosen:
            values = [other.valid or 0 for other in learned.sweep if other.seed == point.seed]
            assert point.valid == max(values)


@pytest.mark.parametrize(("layers", "number"), [(1, 1), ("last", 2)])
def test_neighbours_of_a_layer_are_told_by_its_own_number(layers: Any, number: int) -> None:
    made = dataset()
    learned = learn(made, made.folds[0], means(), planned(made, "knn", layers=layers), 1.0, torch.device("cpu"), SILENT)
    assert {point.layer for point in learned.sweep} == {number}


def test_a_seed_for_every_column_of_predictions() -> None:
    linear, ridge = planned(dataset()), planned(dataset(), "ridge", seeds=(7,))
    for lesson, shots, seeds in ((linear, None, (7, 8)), (ridge, None, (7,)), (ridge, 2, (3, 4, 5))):
        assert Question(lesson, False, shots, 3, (), 3).seeds == seeds


def test_a_protocol_says_what_a_head_is_made_of() -> None:
    made = dataset(projection=5, hidden=6)
    linear, mlp, ridge, knn = (told(planned(made, head)) for head in ("linear", "mlp", "ridge", "knn"))
    assert (linear["layers"], linear["projection"], "hidden" in linear) == ("weighted", 5, False)
    assert (mlp["layers"], mlp["projection"], mlp["hidden"]) == ("weighted", None, 6)
    assert (ridge["layers"], ridge["projection"], ridge["steps"], ridge["rates"]) == ("all", None, None, ())
    assert (knn["layers"], knn["projection"], knn["steps"], knn["rates"]) == ("one of all", None, None, ())
    assert [told(planned(made, head, layers=1))["layers"] for head in ("linear", "ridge", "knn")] == [1, 1, 1]
    blstm = told(planned(dataset("frames", "blstm", projection=5, hidden=6, depth=2)))
    assert (blstm["projection"], blstm["hidden"], blstm["depth"]) == (5, 6, 2)


def test_a_lesson_is_as_the_task_says() -> None:
    said = {"projection": 5, "hidden": 6, "depth": 2, "dropout": 0.1, "steps": 9, "batch": 4, "rate": 0.5, "warmup": 3}
    lesson = planned(dataset(head="mlp", **said, mixup=0.2, accumulate=2, balanced=True), protocol="published")
    made, trained = lesson.settings, lesson.training
    assert (made.kind, made.layers, made.projection) == ("mlp", "weighted", 5)
    assert (made.hidden, made.depth, made.dropout) == (6, 2, 0.1)
    assert (trained.rates, trained.steps, trained.batch, trained.warmup) == ((0.5,), 9, 4, 3)
    assert (trained.mixup, trained.accumulate, trained.balanced, trained.seeds) == (0.2, 2, True, (7, 8))


def test_a_sweep_hears_the_clips_often_enough_and_no_longer() -> None:
    assert [sweep_steps("classification", clips, 16) for clips in (0, 160, 99999)] == [300, 1000, 3000]
    assert [sweep_steps("ctc", clips, 16) for clips in (0, 210, 99999)] == [300, 393, 1000]
    assert planned(dataset("frames", "frame", batch=1)).training.steps == 900


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        ("classification", {"protocol": "published"}, "made: head ridge is in no published protocol; use protocol"),
        ("verification", {}, "made: head ridge compares no pairs of clips; use head linear"),
        ("classification", {"seeds": (1, 2)}, "made: head ridge has no seed, so 2 of them are one; leave seeds out"),
    ],
)
def test_what_a_head_without_gradients_cannot_be_asked(kind: Kind, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        planned(dataset(kind), "ridge", **changed)


def test_a_beam_is_for_text_alone() -> None:
    asked: list[tuple[Kind, Head]] = [("ctc", "frame"), ("frames", "frame"), ("classification", "linear")]
    assert [planned(dataset(kind, head), beam=4).beam for kind, head in asked] == [4, 1, 1]


@pytest.mark.parametrize("head", ["linear", "ridge"])
@pytest.mark.parametrize("always", [True, False])
def test_validation_clips_that_judge_nothing_are_named(head: Head, always: bool) -> None:
    made = dataset("tagging", projection=None)
    valid = set(made.folds[0].valid.tolist())
    items = tuple(
        replace(item, label=("a",) if (always if at in valid else at % 2) else ()) for at, item in enumerate(made.items)
    )
    said = "validation: roc_auc has no value on these 10 clips (it needs a tag that some of them have and some lack)"
    with pytest.raises(InputError, match=re.escape(said)):
        learn(replace(made, items=items), made.folds[0], means(), planned(made, head), 1.0, torch.device("cpu"), SILENT)


def test_frames_without_a_name_judge_nothing() -> None:
    made = dataset("frames", "frame", projection=None)
    valid = set(made.folds[0].valid.tolist())
    items = tuple(replace(item, label=()) if at in valid else item for at, item in enumerate(made.items))
    with pytest.raises(InputError, match="validation: frame_accuracy has no value on these 10 clips"):
        learn(replace(made, items=items), made.folds[0], means(), planned(made), 1.0, torch.device("cpu"), SILENT)


def test_trials_are_those_whose_clips_are_tested_and_heard() -> None:
    """Every trial is answered with the cosine of its own two clips, whatever order the items come in."""
    made = dataset("verification")
    trials = ((5, 2, True), (2, 9, False), (9, 5, False), (1, 2, False))
    made = Dataset(made.task, made.items, made.folds, "", trials)
    heard, fold = means(), Fold(torch.arange(20, 40), torch.arange(40, 60), torch.tensor([9, 2, 5]))
    asked: list[list[int]] = []

    class Same:
        @staticmethod
        def predict(heard: Means, items: list[int]) -> list[list[Any]]:
            asked.append([*items])
            return [[heard.means[item, 1] for item in items]] * 2

    answers = Answers({}, [])
    answer(made, heard, fold, 4, Same(), answers, 0)  # type: ignore[arg-type]
    assert asked == [[2, 5, 9]]
    assert answers.folds == {0: 4, 1: 4, 2: 4}
    assert len(answers.columns) == 2
    for trial, score in answers.columns[1].items():
        pair = heard.means[list(trials[trial][:2]), 1]
        assert score == pytest.approx(float(torch.cosine_similarity(pair[0], pair[1], dim=0)), abs=1e-6)
