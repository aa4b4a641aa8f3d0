"""From a recipe to a folder: what trains, what is written, what is refused, and what is the same every time."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from distilling import furthest, same
from folders import loaded
from safetensors.torch import load_file
from started import started, wait_for
from torch import Tensor
from tuning import letters, materials, recipe, told

from crossfade.documents import validated
from crossfade.errors import InputError
from crossfade.probing.upstreams import open_upstream
from crossfade.prompts.recipe import Method, PromptRecipe, load_recipe
from crossfade.prompts.recognizer import Recognizer
from crossfade.prompts.run import Made, prepare, train
from crossfade.prompts.soft import SoftPrompts
from crossfade.prompts.tuned import Tuned, open_tuned
from crossfade.prompts.tuner import Validation
from crossfade.training.checkpoints import Work

METHODS: tuple[Method, ...] = ("head", "prompts", "deep", "lora", "full")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return materials(tmp_path_factory.mktemp("tuning"))


@pytest.fixture(scope="module")
def made(home: Path) -> dict[str, Made]:
    """What every method makes of the same recipe."""
    return {method: train(recipe(home), home / "made" / method, method=method, device="cpu") for method in METHODS}


def tensors(folder: Path) -> dict[str, Tensor]:
    return {
        f"{path.name}/{name}": value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()
    }


def test_what_trains_is_what_the_method_says(made: dict[str, Made], home: Path) -> None:
    head = 4 + 48 * 5 + 5  # three layers and what enters them; a, b, c, a space and the blank
    lora = 3 * 2 * 8 * (48 + 48)
    extra = {method: one.parameters - head for method, one in made.items()}
    own = sum(value.numel() for value in loaded(home / "encoder").parameters())
    assert {key: extra[key] for key in METHODS[:4]} == {"head": 0, "prompts": 3 * 48, "deep": 9 * 48, "lora": lora}
    assert own // 2 < extra["full"] < own
    assert made["head"].bytes < made["prompts"].bytes < made["deep"].bytes < made["lora"].bytes < made["full"].bytes
    assert made["prompts"].bytes < 4000
    assert all(one.steps == 4 and one.metric == "cer" and one.valid > 0 for one in made.values())
    assert all(one.unknown == {"é": 1} and one.clips > 0 for one in made.values())


def test_a_folder_hears_as_the_training_did(made: dict[str, Made], home: Path) -> None:
    """What comes from the disk writes what was looked at; the encoder but for `full` is what it was."""
    lesson = prepare(recipe(home), "cpu")
    clips = [lesson.reader.clean(one) for one in lesson.valid]
    for one in made.values():
        tuned = open_tuned(one.path, "cpu")
        heard = tuned.recognizer(clips, tuned.recognizer.prompts)
        for clip, together in zip(clips, heard, strict=True):
            (alone,) = tuned.recognizer([clip], tuned.recognizer.prompts)
            torch.testing.assert_close(alone, together, atol=1e-4, rtol=1e-4)
        assert tuned.nbytes == one.bytes
    plain = loaded(home / "encoder").state_dict()
    whole = loaded(made["full"].path).state_dict()
    assert furthest(dict(plain), dict(whole)) > 1e-5
    assert all(torch.equal(plain[name], whole[name]) for name in plain if name.startswith("feature_extractor."))


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft's
def test_each_is_in_the_layout_of_its_kind(made: dict[str, Made], home: Path) -> None:
    from peft import PeftModel

    prompts = SoftPrompts.from_pretrained(made["prompts"].path)
    assert prompts.config.base_sha256 == open_upstream(str(home / "encoder"), "cpu").sha256
    adapted = PeftModel.from_pretrained(loaded(home / "encoder"), str(made["lora"].path))
    assert sum("lora_A" in name for name in adapted.state_dict()) == 6
    assert open_upstream(str(made["full"].path), "cpu").layers == 4
    record = json.loads((made["lora"].path / "crossfade.json").read_text())
    assert record["recipe"]["method"] == "lora"
    assert record["tokens"] == {"unit": "characters", "tokens": [" ", "a", "b", "c"]}
    assert [look["step"] for look in record["looks"]] == [2, 4]
    assert "seed 0. Kept is step" in (made["lora"].path / "README.md").read_text()


def test_the_same_recipe_gives_the_same_prompts(made: dict[str, Made], home: Path, tmp_path: Path) -> None:
    noise = {"white": 1.0, "folder": 0.0, "chance": 1.0}
    one, two = (train(recipe(home, noise=noise), tmp_path / name, device="cpu") for name in ("one", "two"))
    assert same(tensors(one.path), tensors(two.path))
    assert furthest(tensors(one.path), tensors(made["prompts"].path)) > 1e-6
    other = train(recipe(home, noise=noise), tmp_path / "other", seed=1, device="cpu")
    assert furthest(tensors(one.path), tensors(other.path)) > 1e-3
    noisy, clean = (SoftPrompts.from_pretrained(each.path).config.noise for each in (one, made["prompts"]))
    assert noisy is not None
    assert (noisy.name, clean) == ("white", None)


@pytest.mark.parametrize("head_first", [0.5, 0.0])
def test_full_tuning_begins_with_the_head_alone(home: Path, tmp_path: Path, head_first: float) -> None:
    """Half of four steps leave the encoder to the bit as it was, and move the head."""
    said = recipe(home, method="full", full={"head_first": head_first}, training={"valid_steps": 1, "save_steps": 1})
    lesson, seen = prepare(said, "cpu"), list[dict[str, Tensor]]()

    class Noted(Validation):
        def look(self, step: int) -> bool:
            seen.append({name: value.detach().clone() for name, value in self.recognizer.trained().items()})
            return super().look(step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crossfade.prompts.tuner.Validation", Noted)
        train(said, tmp_path / "out", device="cpu")
    start = {name: value.detach() for name, value in lesson.recognizer.trained().items()}
    moved = [{name.startswith("head.") for name in start if not torch.equal(start[name], now[name])} for now in seen]
    both = {True, False}
    assert moved == ([{True}, {True}, both, both] if head_first else [both] * 4)


def test_a_training_under_noise_is_judged_under_it(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation clips have one noise each, the same at every look, at a level that the recipe allows."""
    looks = list[Sequence[Tensor]]()

    def heard(_: Recognizer, clips: Sequence[Tensor], *rest: object) -> list[str]:
        looks.append(clips)
        return ["a"] * len(clips)

    monkeypatch.setattr("crossfade.prompts.tuner.transcribe", heard)
    noise = {"white": 1.0, "folder": 0.0, "chance": 1.0, "snr": [10, 10]}
    for name, more in (("clean", {}), ("noisy", {"noise": noise})):
        train(recipe(home, **more), tmp_path / name, device="cpu")
    clean, _, first, second = looks
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    for one, other in zip(clean, first, strict=True):
        assert 10 * torch.log10(one.square().sum() / (other - one).square().sum()) == pytest.approx(10, abs=0.1)


def test_killed_and_taken_up(home: Path, tmp_path: Path) -> None:
    """A real process, a real SIGKILL; then every weight is bit for bit that of a run in peace."""
    prompts = {"count": 3, "dropout": 0.3, "init": "frames"}
    noise = {"pink": 1.0, "folders": str(home / "noise")}
    training = {"steps": 14, "save_steps": 3, "accumulate": 2}
    said = told(home, method="deep", prompts=prompts, noise=noise, training=training)
    (file := tmp_path / "recipe.yaml").write_text(yaml.safe_dump(said))
    words = ["-m", "crossfade", "prompt-tune", "train", str(file), "-o", str(tmp_path / "killed"), "--quiet"]
    process = started([*words, "--device", "cpu"])
    wait_for(lambda: (tmp_path / ".killed.work" / "checkpoint-4").exists(), process, 300.0)
    process.kill()
    process.communicate()
    assert not (tmp_path / "killed").exists()
    resumed, peaceful = (train(file, tmp_path / name, device="cpu") for name in ("killed", "peace"))
    assert same(tensors(resumed.path), tensors(peaceful.path))
    assert (resumed.chosen, resumed.clips) == (peaceful.chosen, peaceful.clips)


def test_training_learns(home: Path, tmp_path: Path) -> None:
    """Tones are told apart, and the best weights are kept, not the last."""
    training = {"steps": 60, "valid_steps": 20, "save_steps": 60, "rate": 0.01, "head_rate": 0.2, "clip": 10.0}
    made = train(recipe(home, training=training), tmp_path / "out", device="cpu")
    looks = json.loads((made.path / "crossfade.json").read_text())["looks"]
    assert made.valid == min(-look["mean"] for look in looks) < 60
    assert made.loss is not None


def test_one_goes_on_from_another(made: dict[str, Made], home: Path, tmp_path: Path) -> None:
    """With a head that stays, prompts of a noise fit the head of the clean ones."""
    start = str(made["prompts"].path)
    noise = {"white": 1.0, "folder": 0.0}
    said = recipe(home, start=start, noise=noise, training={"head_rate": 0.0, "valid_steps": 4})
    noisy = train(said, tmp_path / "noisy", device="cpu")
    assert noisy.parameters == 3 * 48
    before, after = tensors(made["prompts"].path), tensors(noisy.path)
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"adapter_model.safetensors/prompt_embeddings"}
    with pytest.raises(InputError, match=r"^start: .* is made otherwise: prompts.count was 3 and is 5"):
        train(recipe(home, start=start, prompts={"count": 5}), tmp_path / "other", device="cpu")


def test_a_whisper_is_tuned_too(home: Path, tmp_path: Path) -> None:
    import whispers

    whispers.folder(tmp_path / "whisper")
    ways: dict[Method, dict[str, object]] = {
        "prompts": {"prompts": {"count": 2, "place": "before"}},
        "deep": {},
        "full": {},
    }
    for method, more in ways.items():
        said = recipe(home, model=str(tmp_path / "whisper"), training={"steps": 1}, **more)
        one = train(said, tmp_path / method, method=method, device="cpu")
        tuned = open_tuned(one.path, "cpu")
        assert tuned.upstream.layers == 3
        assert -tuned.record["looks"][-1]["mean"] == one.valid


def test_clips_that_cannot_be_used_are_named(home: Path, tmp_path: Path) -> None:
    """Too short, not sound, or with more text than frames can carry."""
    folder = shutil.copytree(home / "letters", tmp_path / "letters")
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    rows[0]["text"] = "abc" * 200
    (folder / "1.wav").write_bytes(b"no sound")
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = train(recipe(home, data={"task": str(folder)}), tmp_path / "out", method="head", device="cpu")
    reasons = sorted(made.skipped.values())
    assert reasons[0].startswith("its transcript of 600 tokens needs 600 frames, the clip has")
    assert reasons[1].startswith("too short or unreadable: 0 samples")


@pytest.mark.parametrize("method", ["head", "prompts", "deep"])
def test_silent_clips_are_left_out_and_named(home: Path, tmp_path: Path, method: str) -> None:
    """Under noise too; where all are silent there is nothing to train on."""
    folder = shutil.copytree(home / "letters", tmp_path / "letters")
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    train_clips = [row["path"] for row in rows if row["split"] == "train"]
    soundfile.write(folder / train_clips[0], np.zeros(16000, dtype=np.float32), 16000)
    noise = {"white": 1.0, "folder": 0.0, "chance": 1.0}
    data = {"task": str(folder)}
    made = train(recipe(home, data=data, noise=noise), tmp_path / "out", method=method, device="cpu")
    assert made.skipped == {train_clips[0]: "silent: RMS 0.0e+00"}
    assert not (tmp_path / ".out.work").exists()
    for clip in train_clips:
        soundfile.write(folder / clip, np.zeros(16000, dtype=np.float32), 16000)
    with pytest.raises(InputError, match=rf"silent: RMS 0.0e\+00; none of {len(train_clips)} clips can be heard"):
        train(recipe(home, data=data), tmp_path / "none", method=method, device="cpu")
    assert not (tmp_path / "none").exists()


def test_a_loss_that_is_no_number_ends_the_training(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Recognizer.forward

    def broken(self: Recognizer, clips: list[Tensor], heard: object, **more: object) -> list[Tensor]:
        scores = plain(self, clips, heard)  # type: ignore[arg-type]
        return [scores[0] * torch.nan, *scores[1:]] if self.training else scores

    monkeypatch.setattr(Recognizer, "forward", broken)
    with pytest.raises(InputError, match=r"^step 1: the loss is NaN or infinite; clips: \d+.wav; there is no"):
        train(recipe(home), tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_followed_is_refused_in_a_line(made: dict[str, Made], home: Path, tmp_path: Path) -> None:
    words = letters(tmp_path / "empty", rounds=1)
    (words / "manifest.jsonl").write_text((words / "manifest.jsonl").read_text().replace("A b.", "?!"))
    refused: list[tuple[dict[str, object], str]] = [
        ({"data": {"task": str(words)}}, r"0.wav: its transcript '\?!' has no letter or digit"),
        ({"model": "fbank"}, r"^fbank: cannot be tuned; expected one encoder of the families data2vec-audio, hubert"),
        ({"data": {"task": "embedded"}}, r"^data.task embedded: is \d+ tasks, expected one of kind ctc"),
        ({"data": {"task": "month"}}, r"^month: is of kind classification, expected ctc"),
        ({"method": "lora", "lora": {"targets": "query"}}, r"^lora.targets: .* has no linear layer 'query'; known: "),
        ({"method": "head", "training": {"head_rate": 0}}, r"^training.head_rate 0: the head is all that"),
        ({"prompts": {"count": 9000, "init": "frames"}}, r"^init 'frames': \d+ frames for 9000 prompts"),
    ]
    for changes, message in refused:
        with pytest.raises(InputError, match=message):
            train(recipe(home, **changes), tmp_path / "out", device="cpu")
        assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="already exists; pass --overwrite"):
        train(recipe(home), made["head"].path, device="cpu")
    shutil.rmtree(tmp_path / ".out.work", ignore_errors=True)
    with Work(tmp_path / "out").begin(prepare(recipe(home, method="head"), "cpu").identity(), overwrite=False):
        pass
    with pytest.raises(InputError, match=r"holds another training: recipe.method was head and is prompts"):
        train(recipe(home), tmp_path / "out", device="cpu")
    with pytest.raises(InputError, match="is one of the inputs"):
        train(recipe(home), home / "encoder", device="cpu")


def test_another_encoder_is_refused(made: dict[str, Made], home: Path, tmp_path: Path) -> None:
    import tiny

    tiny.folder(tmp_path / "other", "hubert", 2)
    with pytest.raises(InputError, match=r"its weights have SHA-256 .* was tuned on"):
        open_tuned(made["prompts"].path, "cpu", str(tmp_path / "other"))
    with pytest.raises(InputError, match=r"no crossfade.json of a tuning"):
        open_tuned(home / "encoder", "cpu")
    broken = Path(shutil.copytree(made["head"].path, tmp_path / "broken"))
    (broken / "head.safetensors").write_bytes(b"none")
    with pytest.raises(InputError, match=r"head.safetensors: cannot be read"):
        open_tuned(broken, "cpu")
    assert isinstance(open_tuned(made["head"].path, "cpu"), Tuned)


def test_the_recipes_of_the_project_are_recipes() -> None:
    folder = Path(__file__).parents[2] / "recipes" / "prompts"
    assert {load_recipe(path).method for path in folder.glob("*.yaml")} == {"prompts"}
    with pytest.raises(InputError, match=r"method: input should be 'head', 'prompts', 'deep', 'lora' or 'full'"):
        validated(PromptRecipe, {"model": "speech", "data": {"task": "x"}, "method": "prompt"}, "recipe.yaml")
