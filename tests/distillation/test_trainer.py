"""How weights move: by which rate, along whose gradient, and what they are looked at for."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from distilling import SHAPE, furthest, recipe, weights
from torch import Tensor

from crossfade import distill
from crossfade.distillation import run, watch
from crossfade.distillation.recipe import Watch
from crossfade.distillation.students import make_student
from crossfade.distillation.watch import Watcher
from crossfade.errors import InputError
from crossfade.training.checkpoints import Work
from crossfade.training.numbered import training_arguments

STILL = {"shape": SHAPE, "dropout": 0.0}
PLAIN = {"steps": 1, "warmup": 0.0, "schedule": "constant", "weight_decay": 0.0, "clip": 1e9}
CNN = "feature_extractor."


@pytest.fixture(autouse=True)
def few_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "MEASURED_BATCHES", 3)


def moved(home: Path, output: Path, **changes: object) -> dict[str, Tensor]:
    """The negative gradient of the first batch: Adam's first step is -rate · g / (|g| + epsilon)."""
    training = PLAIN | {"rate": 1e4, "epsilon": 1e4} | changes.pop("training", {})
    said = recipe(home, student=STILL, training=training, **changes)
    before = make_student(said.student)[0].state_dict()
    after = weights(distill(said, output, device="cpu").path)
    return {name: after[name] - before[name] for name in after}


def ratio(one: dict[str, Tensor], other: dict[str, Tensor], cnn: bool) -> float:
    """How much longer the one is, where they point the same way, in the CNN or the rest."""
    long, short = (torch.cat([m[name].flatten() for name in m if name.startswith(CNN) == cnn]) for m in (one, other))
    assert float(torch.cosine_similarity(long, short, dim=0)) == pytest.approx(1, abs=1e-4)
    return float(long.norm() / short.norm())


@pytest.mark.parametrize("surgery", [False, True])
def test_the_cnn_has_its_own_rate_and_gradient(surgery: bool, home: Path, tmp_path: Path) -> None:
    objective = {"surgery": surgery}
    plain = moved(home, tmp_path / "plain", objective=objective)
    slow = moved(home, tmp_path / "slow", objective=objective, training={"cnn_rate": 0.5})
    weak = moved(home, tmp_path / "weak", objective=objective, training={"cnn_gradient": 0.25})
    still = moved(home, tmp_path / "still", objective=objective, training={"cnn_rate": 0.0})
    assert ratio(slow, plain, cnn=True) == pytest.approx(0.5, rel=1e-3)
    assert ratio(slow, plain, cnn=False) == pytest.approx(1.0, rel=1e-3)
    assert ratio(still, plain, cnn=False) == pytest.approx(1.0, rel=1e-3)
    assert all(float(step.abs().max()) == 0 for name, step in still.items() if name.startswith(CNN))
    if not surgery:  # with it, what is projected depends on the scale of the CNN
        assert ratio(weak, plain, cnn=True) == pytest.approx(0.25, rel=1e-3)
        assert ratio(weak, plain, cnn=False) == pytest.approx(1.0, rel=1e-3)


def test_a_weighted_teacher_pulls_harder(home: Path, tmp_path: Path) -> None:
    teachers = [{"model": str(home / "teacher")}]
    plain = moved(home, tmp_path / "plain", teachers=teachers)
    heavy = moved(home, tmp_path / "heavy", teachers=[teachers[0] | {"weight": 3.0}])
    assert ratio(heavy, plain, cnn=False) == pytest.approx(3.0, rel=1e-3)


def test_the_mean_of_the_last_steps_is_written(home: Path, tmp_path: Path) -> None:
    """After 1, 2 and 3 steps the student keeps none, 2/11 and, as the decay says, 0.2 of the mean before."""
    training = PLAIN | {"rate": 1e-2}

    def trained(name: str, **changes: object) -> dict[str, Tensor]:
        return weights(distill(recipe(home, student=STILL, training=training | changes), tmp_path / name).path)

    first, second, third = (trained(f"{steps}", steps=steps) for steps in (1, 2, 3))
    found = trained("mean", steps=3, average=0.2)
    for name, mean in found.items():
        early = first[name] * 2 / 11 + second[name] * 9 / 11
        torch.testing.assert_close(mean, early * 0.2 + third[name] * 0.8)
    assert not torch.equal(found["encoder.layer_norm.weight"], third["encoder.layer_norm.weight"])


def test_gradients_are_clipped(home: Path, tmp_path: Path) -> None:
    plain = moved(home, tmp_path / "plain")
    clipped = moved(home, tmp_path / "clipped", training={"clip": 1e-3})
    assert torch.cat([step.flatten() for step in clipped.values()]).norm() < 1.01e-3
    assert ratio(clipped, plain, cnn=True) == pytest.approx(ratio(clipped, plain, cnn=False), rel=1e-2)


# Looks ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Looks see these scores, one after the other."""
    coming: list[float] = []

    def scores(self: Watcher, student: Path, cache: Path) -> Iterator[tuple[str, float]]:
        assert (student / "model.safetensors").is_file()
        score = coming.pop(0)
        yield from (("one", score), ("other", score + 1))

    monkeypatch.setattr(Watcher, "_scores", scores)
    return coming


def watched(**changes: object) -> dict[str, object]:
    return {"watch": {"tasks": "embedded", "steps": 2, **changes}}


def test_the_best_student_is_kept(home: Path, tmp_path: Path, scored: list[float]) -> None:
    scored += [0.4, 0.9, 0.9, 0.1]
    made = distill(recipe(home, training={"steps": 7}, **watched()), tmp_path / "out", device="cpu")
    assert (made.steps, made.chosen) == (7, 4)
    assert [look["step"] for look in made.looks] == [2, 4, 6, 7]
    assert [look["mean"] for look in made.looks] == pytest.approx([0.9, 1.4, 1.4, 0.6])
    assert [path.name for path in (tmp_path / ".out.work").glob("best-*")] == ["best-4"]
    short = distill(recipe(home, training={"steps": 7}), tmp_path / "last", device="cpu")
    assert furthest(weights(made.path), weights(short.path)) > 0
    assert "Written is the student of step 4" in (made.path / "README.md").read_text()


def test_training_stops_when_nothing_is_gained(home: Path, tmp_path: Path, scored: list[float]) -> None:
    scored += [0.5, 0.7, 0.7, 0.6]
    said = recipe(home, training={"steps": 50}, **watched(patience=2))
    made = distill(said, tmp_path / "out", device="cpu")
    assert (made.steps, made.chosen, scored) == (8, 4, [])
    again = distill(said, tmp_path / "out", device="cpu", overwrite=True)
    assert (again.steps, again.chosen) == (8, 4)


def test_a_look_is_a_probe(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clip tasks by ridge regression; what counts is what probing finds on validation clips, not on test clips."""
    folder = tmp_path / "task"
    folder.mkdir()
    rows = [
        f'{{"path": "{home / domain}/{place}.wav", "label": "{domain}", "split": "{split}"}}'
        for domain in ("speech", "music")
        for place, split in enumerate(("train", "train", "valid", "valid", "test", "test"))
    ]
    (folder / "manifest.jsonl").write_text("\n".join(rows))
    said = recipe(home, training={"steps": 2}, watch={"tasks": str(folder), "steps": 2})
    made = distill(said, tmp_path / "out", device="cpu")
    (result,) = watch.probe(made.path, folder, head="ridge", device="cpu", cache=tmp_path / "cache")
    assert [look["scores"] for look in made.looks] == [{"task": result.valid}]
    assert result.valid != result.value
    monkeypatch.setattr(watch, "probe", lambda *_, **__: [result.model_copy(update={"sweep": ()})])
    with pytest.raises(InputError, match=r"^watch\.tasks: .* has no validation clips, on which students are compared"):
        distill(said, tmp_path / "again", device="cpu")


def test_less_may_be_better(tmp_path: Path) -> None:
    work = Work(tmp_path / "out")
    work.folder.mkdir()
    watcher = Watcher(Watch(tasks=("ks", "sv", "asr"), patience=2), work, lambda _: None, device="cpu", seed=0)
    assert watcher.tasks == [("ks", "ridge"), ("sv", None), ("asr", None)]
    assert not watcher.is_over(10)
    work.write_json("watch.json", [{"step": step, "mean": mean} for step, mean in ((1, -3), (2, -2), (3, -2), (4, -5))])
    assert [watcher.is_over(step) for step in (1, 2, 3, 4)] == [False, False, False, True]


def test_a_logged_training_has_the_students_name(home: Path, tmp_path: Path) -> None:
    said = recipe(home, training={"log": "trackio"})
    arguments = training_arguments(said.training, said.seed, Work(tmp_path / "student"), torch.device("cpu"))
    assert (arguments.report_to, arguments.project, arguments.run_name) == (["trackio"], "crossfade", "student")
