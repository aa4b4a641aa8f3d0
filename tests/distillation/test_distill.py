"""From a recipe to a student on disk: what is written, what is refused, and what is the same every time."""

import json
import re
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile
import torch
from distilling import SHAPE, furthest, recipe, same, told, weights
from folders import contents, loaded
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor
from transformers.utils import logging as transformers_logging

from crossfade import distill
from crossfade.audio.decode import read_audio
from crossfade.distillation import run, trainer
from crossfade.distillation.distiller import Distiller
from crossfade.distillation.recipe import DistilRecipe, Student, load_recipe
from crossfade.distillation.signals import Teacher
from crossfade.distillation.students import make_student
from crossfade.errors import InputError
from crossfade.probing.upstreams import Upstream, open_upstream


@pytest.fixture(autouse=True, scope="module")
def few_measured() -> Iterator[None]:
    """Teachers' scales from a few clips."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "MEASURED_BATCHES", 3)
        yield


@pytest.fixture(scope="module")
def made(few_measured: None, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished student; its training's folder beside it."""
    output = tmp_path_factory.mktemp("made") / "student"
    distill(recipe(home, seed=3, licence="apache-2.0"), output, device="cpu")
    return output


@pytest.fixture
def finished(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    shutil.copytree(made.parent, tmp_path / "copy")
    return tmp_path / "copy" / "student"


def test_the_output_is_an_ordinary_folder(made: Path) -> None:
    student, _, _ = make_student(Student.model_validate({"shape": SHAPE}))
    assert {name: tuple(value.shape) for name, value in loaded(made).state_dict().items()} == {
        name: tuple(value.shape) for name, value in student.state_dict().items()
    }
    assert AutoFeatureExtractor.from_pretrained(made).do_normalize is True
    assert open_upstream(str(made), "cpu").layers == 2
    assert sorted(contents(made)) == [
        "README.md", "config.json", "crossfade.json", "model.safetensors", "preprocessor_config.json"
    ]  # fmt: skip


@pytest.mark.usefixtures("made")
def test_transformers_goes_on_warning() -> None:
    assert transformers_logging.get_verbosity() == transformers_logging.WARNING


def test_translators_stay_in_the_trainings_folder(made: Path) -> None:
    kept = load_file(made.parent / ".student.work" / "checkpoint-4" / "model.safetensors")
    student = {name.removeprefix("student."): value for name, value in kept.items() if name.startswith("student.")}
    assert same(student, weights(made))
    assert {name.split(".")[0] for name in kept} == {"student", "translators", "standards"}
    start, _, _ = make_student(Student.model_validate({"shape": SHAPE}))
    assert furthest(weights(made), dict(start.state_dict())) > 1e-3


def test_the_card_and_the_record_say_how_it_was_made(made: Path, home: Path) -> None:
    record = json.loads((made / "crossfade.json").read_text())
    assert [teacher["layers"] for teacher in record["teachers"]] == [[1, 3], [0]]
    assert record["teachers"][0]["sha256"] == open_upstream(str(home / "teacher"), "cpu").sha256
    start = {"start": "random", "sources": [], "filters": "random", "conv_bias": 0.0, "seed": 0}
    assert record["student"] == start | {"parameters": 6360}
    assert [corpus["clips"] for corpus in record["data"]] == [6, 6]
    assert sum(corpus["share"] for corpus in record["data"]) == pytest.approx(1)
    assert [corpus["licences"] for corpus in record["data"]] == [
        {},
        {"CC0-1.0": pytest.approx(4 * 0.5 / 3600), "MIT": pytest.approx(0.5 / 3600)},
    ]
    assert [point["step"] for point in record["training"]["curve"]] == [1, 2, 3, 4]
    point = record["training"]["curve"][0]
    assert point["loss"] == pytest.approx(point["loss/0-teacher"] + point["loss/1-logmel"], rel=1e-5)
    assert record["recipe"]["training"]["epsilon"] == 1e-6
    card = (made / "README.md").read_text()
    for line in (
        "license: apache-2.0",
        "4 steps",
        "seed 3",
        "| 4 | ",
        f"| {home / 'speech'} | speech |",
        f"| {home / 'music'} | MIT | 0.0001389 |",
    ):
        assert line in card
    assert "epsilon" not in card


def test_the_same_recipe_gives_the_same_student(made: Path, home: Path, tmp_path: Path) -> None:
    again = distill(recipe(home, seed=3), tmp_path / "again", device="cpu")
    other = distill(recipe(home), tmp_path / "other", seed=4, device="cpu")
    assert same(weights(again.path), weights(made))
    assert furthest(weights(other.path), weights(made)) > 1e-4
    assert (again.steps, again.chosen, again.clips > 0, again.skipped) == (4, 4, True, {})
    assert again.loss is not None
    assert json.loads(json.dumps(again.to_dict()))["path"] == str(tmp_path / "again")


def test_no_steps_write_the_student_as_it_starts(home: Path, tmp_path: Path) -> None:
    """A base for others; nobody listens for it, even where signals are stored."""
    wanted = recipe(home, training={"steps": 0}, signals="stored")

    base = distill(wanted, tmp_path / "base", cache=tmp_path / "cache")

    student, _, _ = make_student(wanted.student)
    assert (base.steps, base.clips, base.loss) == (0, 0, None)
    assert furthest(weights(base.path), student.state_dict()) == 0
    assert not (tmp_path / "cache").exists()


def test_readers_do_not_change_what_is_learned(made: Path, home: Path, tmp_path: Path) -> None:
    beside = distill(recipe(home, seed=3, training={"workers": 1}), tmp_path / "out", device="cpu")
    assert same(weights(beside.path), weights(made))


def test_a_finished_training_is_taken_up(finished: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = weights(finished)
    with pytest.raises(InputError, match="already exists; pass --overwrite"):
        distill(recipe(home, seed=3), finished, device="cpu")
    shutil.rmtree(finished)
    monkeypatch.setattr(Distiller, "forward", lambda *_: pytest.fail("nothing is left to learn"))
    found = distill(recipe(home, seed=3, licence="apache-2.0"), finished, device="cpu")
    assert same(weights(finished), before)
    assert (found.steps, found.clips > 0, found.loss is not None) == (4, True, True)


def test_a_damaged_checkpoint_is_passed_over(finished: Path, home: Path) -> None:
    before = weights(finished)
    last = finished.parent / ".student.work" / "checkpoint-4" / "optimizer.pt"
    last.write_bytes(last.read_bytes()[:-1])
    distill(recipe(home, seed=3, licence="apache-2.0"), finished, device="cpu", overwrite=True)
    assert same(weights(finished), before)


def test_another_training_does_not_go_on_from_it(finished: Path, home: Path) -> None:
    changed = recipe(home, seed=3, licence="apache-2.0", training={"rate": 1e-4})
    shutil.rmtree(finished)
    with pytest.raises(InputError, match=r"holds another training: recipe.training.rate was 0.001 and is 0.0001"):
        distill(changed, finished, device="cpu")
    before = contents(finished.parent)
    (home / "speech" / "0.wav").rename(home / "aside.wav")
    try:
        with pytest.raises(InputError, match=r"holds another training: sound\[0\] was"):
            distill(recipe(home, seed=3, licence="apache-2.0"), finished, device="cpu")
    finally:
        (home / "aside.wav").rename(home / "speech" / "0.wav")
    assert contents(finished.parent) == before
    found = distill(changed, finished, device="cpu", overwrite=True)
    assert found.steps == 4


def test_what_may_change_while_it_is_interrupted(finished: Path, home: Path) -> None:
    shutil.rmtree(finished)
    shutil.rmtree(finished.parent / ".student.work" / "checkpoint-4")
    changed = recipe(home, seed=3, licence="apache-2.0", training={"save_steps": 100, "workers": 1})
    distill(changed, finished, device="cpu")
    assert [path.name for path in finished.parent.glob(".student.work/checkpoint-*")] != []


@pytest.mark.parametrize("way", ["stored", "surgery", "masked", "correlation", "noisy", "half", "shared"])
def test_every_way_to_learn(way: str, home: Path, tmp_path: Path) -> None:
    """They run, and what they draw is the same twice."""
    ways = {
        "stored": {"signals": "stored"},
        "surgery": {"objective": {"surgery": True}},
        "masked": {"objective": {"masked": 1.0, "clusters": 4}},
        "correlation": {"objective": {"l1": 0.0, "correlation": 1.0, "frames": 3, "snr_weights": True}},
        "noisy": {"noise": {"heard": "independent", "white": 1.0, "reverb": 0.5, "folders": str(home / "music")}},
        "half": {"training": {"precision": "bfloat16"}},
        "shared": {"teachers": [{"model": str(home / "teacher"), "layers": [n], "shared": "one"} for n in (1, 3)]},
    }
    said = recipe(home, **ways[way])
    made = distill(said, tmp_path / "one", device="cpu", cache=tmp_path / "cache")
    assert 0 < made.loss < 60
    assert json.loads((made.path / "config.json").read_text())["apply_spec_augment"] is False
    if way in ("surgery", "masked", "noisy"):
        again = distill(said, tmp_path / "two", device="cpu", cache=tmp_path / "cache")
        assert same(weights(made.path), weights(again.path))


def test_stored_signals_are_heard_once(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = distill(recipe(home, signals="stored"), tmp_path / "one", device="cpu", cache=tmp_path / "cache")
    features, heard = Upstream.features, list[int]()
    monkeypatch.setattr(Upstream, "features", lambda self, clips: (heard.append(len(clips)), features(self, clips))[1])
    again = distill(recipe(home, signals="stored"), tmp_path / "two", device="cpu", cache=tmp_path / "cache")
    assert same(weights(first.path), weights(again.path))
    assert heard == [1, 1]  # noise, to see that teachers and student can be aligned


def test_stored_signals_serve_other_crops_of_the_same_clips(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stored(crop_seconds: float, clip_seconds: float | None) -> DistilRecipe:
        training = {"crop_seconds": crop_seconds, "clip_seconds": clip_seconds}
        return recipe(home, signals="stored", training={"steps": 2, **training})

    distill(stored(0.4, None), tmp_path / "one", device="cpu", cache=tmp_path / "cache")
    features, heard = Upstream.features, list[int]()
    monkeypatch.setattr(Upstream, "features", lambda self, clips: (heard.append(len(clips)), features(self, clips))[1])
    distill(stored(0.3, 0.8), tmp_path / "two", device="cpu", cache=tmp_path / "cache")
    assert heard == [1, 1]
    distill(stored(0.3, None), tmp_path / "three", device="cpu", cache=tmp_path / "cache")
    assert len(heard) > 4


def test_clips_that_cannot_be_read_are_skipped_and_named(home: Path, tmp_path: Path) -> None:
    speech = shutil.copytree(home / "speech", tmp_path / "speech")
    (speech / "9.wav").write_bytes(b"no sound")
    soundfile.write(speech / "1.flac", read_audio(speech / "1.wav", 16000).numpy(), 16000)
    (speech / "1.wav").unlink()
    sound = (speech / "1.flac").read_bytes()
    (speech / "1.flac").write_bytes(sound[: len(sound) // 3])
    data = [{"source": str(speech)}, {"source": str(home / "music"), "domain": "music"}]
    made = distill(recipe(home, data=data, training={"steps": 16}), tmp_path / "out", device="cpu")
    assert {Path(name).name for name in made.skipped} == {"1.flac", "9.wav"}
    assert "not heard: " in (made.path / "README.md").read_text()


# Refusals -------------------------------------------------------------------------------------------------------------


def test_nan_stops_and_names_the_clip(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listen = Teacher.listen
    heard = []

    def ill(self: Teacher, sounds: torch.Tensor, frames: int) -> torch.Tensor:
        answer = listen(self, sounds, frames)
        heard.append(len(sounds))
        return answer.index_fill(0, torch.tensor([0]), torch.nan) if len(heard) == 40 else answer

    monkeypatch.setattr(Teacher, "listen", ill)
    with pytest.raises(InputError) as refused:
        distill(recipe(home, training={"steps": 100}), tmp_path / "out", device="cpu")
    message = str(refused.value)
    step = int(re.match(r"step (\d+): the loss is NaN or infinite; clips: ", message)[1])
    assert message.count(".wav") == 1
    assert f"checkpoint-{(step - 1) // 2 * 2} is kept; leave these clips out, lower training.rate" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.work"]


def test_a_gradient_that_is_nan_stops_before_the_step(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Distiller.forward

    def steep(self: Distiller, *lesson: object) -> dict[str, torch.Tensor]:
        losses = forward(self, *lesson)
        zero = self.student.masked_spec_embed.sum() * 0
        return losses | {"steep": zero.abs().sqrt()}

    monkeypatch.setattr(Distiller, "forward", steep)
    with pytest.raises(
        InputError, match=r"step 1: the gradient is NaN or infinite; clips: .*there is no checkpoint yet"
    ):
        distill(recipe(home), tmp_path / "out", device="cpu")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_fills_up(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel ends a write for real here; the second checkpoint does not fit."""
    save = trainer.DistilTrainer._save_checkpoint

    def limited(self: trainer.DistilTrainer, *arguments: object) -> None:
        with files_of_at_most(10**9 if self.state.global_step == 2 else 20_000):
            save(self, *arguments)

    monkeypatch.setattr(trainer.DistilTrainer, "_save_checkpoint", limited)
    with pytest.raises(
        InputError, match=r"checkpoint-4 cannot be written \(.*\); checkpoint-2 is kept, and the same com"
    ):
        distill(recipe(home), tmp_path / "out", device="cpu")
    assert sorted(path.name for path in (tmp_path / ".out.work").iterdir()) == ["checkpoint-2", "run.json"]
    monkeypatch.undo()
    whole = distill(recipe(home), tmp_path / "whole", device="cpu")
    assert same(weights(distill(recipe(home), tmp_path / "out", device="cpu").path), weights(whole.path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"precision": "float16"}}, "training.precision float16: needs a GPU"),
        ({"training": {"log": "trackio"}}, "distilling this recipe needs trackio: pip install trackio"),
        (
            {"training": {"crop_seconds": 0.01}},
            r"training.crop_seconds 0.01: student and teachers need at least 0.0\d+",
        ),
        (
            {"training": {"crop_seconds": 0.4, "clip_seconds": 0.3}},
            r"training.clip_seconds 0.3: crops of 0.4 seconds cannot be cut out; expected at least crop_seconds",
        ),
        (
            {"training": {"batch_seconds": 0.5}, "objective": {"correlation": 1.0}},
            r"training.batch_seconds 0.5: the correlation loss compares .* expected at least 2 \* crop_seconds, 0.8",
        ),
        ({"watch": {"tasks": "ks"}}, "ks: "),
        ({"noise": {"folders": "nowhere"}}, "nowhere: no such file or folder"),
        ({"teachers": [{"model": "nowhere/here"}]}, "nowhere/here"),
        ({"data": [{"source": "nowhere"}], "teachers": [{"model": "logmel"}]}, "nowhere: no such file or folder"),
    ],
)
def test_recipes_that_cannot_be_followed(changes: dict, message: str, home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        distill(recipe(home, **changes), tmp_path / "out", device="cpu")
    assert contents(tmp_path) == {}


def test_an_input_is_never_replaced(home: Path) -> None:
    with pytest.raises(InputError, match="teacher: is one of the inputs; choose another output folder"):
        distill(recipe(home), home / "teacher", device="cpu", overwrite=True)


def test_a_missing_extra(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs accelerate: pip install 'crossfade\[distil\]'"):
        distill(recipe(home), tmp_path / "out", device="cpu")


def test_a_recipe_from_a_file(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(told(home)))
    assert load_recipe(file) == recipe(home)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objective": {"l1": 0, "cosine": 0}},
            "objective: every weight is 0, so there is nothing to learn; expected one of l1, cosine, correlation, "
            "masked",
        ),
        (
            {"teachers": [{"model": "logmel", "slice": [0.5, 0.5]}]},
            "teachers[0].slice: expected a beginning and an end after it, as in [0, 0.5], received [0.5, 0.5]",
        ),
        (
            {"teachers": [{"model": "fbank"}, {"model": "logmel", "slice": [1, 0]}]},
            "teachers[1].slice: expected a beginning and an end after it, as in [0, 0.5], received [1, 0]",
        ),
    ],
)
def test_recipes_that_contradict_themselves(changes: dict, message: str, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(told(home, **changes)))
    with pytest.raises(InputError) as refused:
        load_recipe(file)
    assert str(refused.value) == f"{file}: {message}"
