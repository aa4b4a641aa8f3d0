"""Input that cannot be used: one line, exit 2, nothing written."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import tiny
import torch
import yaml
from safetensors.torch import load_file, save_file

from crossfade.cli.main import main

Models = dict[str, Path]
Capture = pytest.CaptureFixture[str]
Refused = Callable[[list[Any]], str]
WEIGHTS = "model.safetensors"
NORM = "encoder.layers.1.layer_norm.weight"


UNLIKE = [
    ("another family", "is a hubert and", "expected two encoders of one family"),
    ("another width", "hidden_size is 48 in", "and 96 in"),
    ("another depth", "num_hidden_layers is 3 in", "and 2 in"),
    ("another norm", "do_stable_layer_norm is False in", "where the transformer normalises"),
    ("another sampling rate", "hears 16000 Hz and", "24000; expected one sampling rate"),
    ("another frame rate", "conv_stride is [5, 4, 2] in", "it decides the frame rate"),
]


@pytest.mark.parametrize(("which", "first", "second"), UNLIKE)
def test_plan_says_no_and_why(which: str, first: str, second: str, models: Models, capsys: Capture) -> None:
    assert main(["plan", str(models["speech"]), str(models[which]), "--json"]) == 2
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["ok"] is False
    assert first in facts["reasons"][0]


@pytest.mark.parametrize(("which", "first", "second"), UNLIKE)
@pytest.mark.parametrize("verb", ["align", "merge"])
def test_unlike_encoders(
    verb: str, which: str, first: str, second: str, models: Models, clips: Path, tmp_path: Path, refused: Refused
) -> None:
    words = [verb, models["speech"], models[which], "--audio", clips, "-o", tmp_path / "out"]
    line = refused(words)
    assert f"cannot merge {models[which]} into {models['speech']}: " in line
    assert first in line
    assert second.split(";")[-1].strip() in line


def cut(size: int) -> Callable[[Path], None]:
    def breaks(folder: Path) -> None:
        (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:size])

    return breaks


def overwritten(start: int, data: bytes) -> Callable[[Path], None]:
    def breaks(folder: Path) -> None:
        content = bytearray((folder / WEIGHTS).read_bytes())
        content[start : start + len(data)] = data
        (folder / WEIGHTS).write_bytes(content)

    return breaks


def retensored(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def breaks(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})

    return breaks


def configured(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: tiny.edit_config(folder, **changes)


def written(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def removed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


DAMAGED = "the file is damaged or incomplete: download it again or save it again"
BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "gone": (shutil.rmtree, "no such folder; pass a model's folder or a hub id, name[@revision]"),
    "no config": (removed("config.json"), "no config.json in this folder; expected a Hugging Face model folder"),
    "config is no JSON": (written("config.json", "{"), "config.json: not valid JSON"),
    "no weights": (removed(WEIGHTS), "no weights; expected one of model.safetensors"),
    "unknown family": (
        configured(model_type="hubrt"),
        "model_type 'hubrt', which is no family of ours; did you mean 'hubert'?",
    ),
    "no family": (configured(model_type=None), "model_type None, which is no family of ours; known: data2vec-audio"),
    "refused variant": (configured(add_adapter=True), "add_adapter = True: it ends in a convolutional adapter"),
    "empty": (cut(0), DAMAGED),
    "cut in the header": (cut(100), DAMAGED),
    "cut in the values": (cut(60_000), "the file has 60000 bytes; " + DAMAGED),
    "header too long": (overwritten(0, b"\xff" * 8), DAMAGED),
    "header is no JSON": (overwritten(8, b"???"), "is not JSON ("),
    "missing tensor": (retensored(lambda t: t.pop(NORM)), f"tensor {NORM} is missing from the weights"),
    "unexpected tensor": (
        retensored(lambda t: t.update({"encoder.extra": torch.zeros(1)})),
        "tensor encoder.extra is not part of the hubert of config.json",
    ),
    "misshapen tensor": (
        retensored(lambda t: t.update({NORM: torch.zeros(47)})),
        f"tensor {NORM} has shape (47,), config.json promises (48,)",
    ),
    "preprocessing": (
        written("preprocessor_config.json", '{"sampling_rate": "16k"}'),
        "preprocessor_config.json: sampling_rate = '16k', expected a rate in Hz",
    ),
}


@pytest.mark.parametrize("verb", ["plan", "align", "merge"])
@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_model(fault: str, verb: str, models: Models, tmp_path: Path, refused: Refused) -> None:
    breaks, message = BROKEN[fault]
    bad = shutil.copytree(models["music"], tmp_path / "bad")
    breaks(bad)
    pair = [models["speech"], bad] if verb != "align" else [bad, models["speech"]]
    how = {"plan": [], "align": ["--method", "weights"], "merge": ["--align", "none"]}[verb]
    line = refused([verb, *pair, *how, *([] if verb == "plan" else ["-o", tmp_path / "out"])])
    assert message in line
    assert str(bad) in line


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "words",
    [
        ["align", "--method", "weights"],
        ["align", "--audio"],
        ["merge", "--align", "none"],
        ["merge", "--audio"],
    ],
    ids=" ".join,
)
def test_weights_that_are_no_numbers(
    words: list[str], value: float, models: Models, clips: Path, tmp_path: Path, refused: Refused
) -> None:
    bad = shutil.copytree(models["music"], tmp_path / "bad")
    retensored(lambda tensors: tensors[NORM].__setitem__(0, value))(bad)
    verb, *how = words
    how += [str(clips)] if how == ["--audio"] else []
    line = refused([verb, models["speech"], bad, *how, "-o", tmp_path / "out"])
    assert f"{bad}: tensor {NORM} holds 1 NaN or Inf of 48 values" in line


def test_no_hub(models: Models, tmp_path: Path, refused: Refused) -> None:
    name = "nobody/no-such-encoder"
    for verb in (["plan"], ["align", "--method", "weights"], ["merge", "--align", "none"]):
        output = [] if verb == ["plan"] else ["-o", tmp_path / "out"]
        line = refused([verb[0], models["speech"], name, *verb[1:], *output])
        assert f"{name}: no folder of that name here, not whole in the cache, and the hub cannot be reached" in line
    assert "a/b/c: no such folder; pass a model's folder" in refused(["plan", "a/b/c", models["music"]])


# Audio that cannot be used ------------------------------------------------------------------------------------------


def nothing(folder: Path) -> None:
    """An empty folder."""


def silence(folder: Path) -> None:
    for name in "ab":
        soundfile.write(folder / f"{name}.wav", torch.zeros(8000).numpy(), 16000)


def noise_in_name_only(folder: Path) -> None:
    (folder / "a.wav").write_bytes(os.urandom(1000))
    (folder / "b.flac").write_bytes(b"")


def a_tick(folder: Path) -> None:
    soundfile.write(folder / "a.wav", torch.ones(20).numpy(), 16000)


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (shutil.rmtree, "no such file or folder; expected an audio file, folder, manifest or data set"),
        (nothing, "no audio in this folder; expected files named .aif"),
        (silence, "no usable audio, all 2 clips were skipped (2 silent)"),
        (noise_in_name_only, "no usable audio, all 2 clips were skipped (1 "),
        (a_tick, "no usable audio, all 1 clips were skipped (1 too short)"),
    ],
)
def test_unusable_audio(
    fill: Callable[[Path], None], message: str, models: Models, clips: Path, tmp_path: Path, refused: Refused
) -> None:
    sound = tmp_path / "sound"
    sound.mkdir()
    fill(sound)
    pair, output = [models["speech"], models["music"]], ["-o", tmp_path / "out"]
    regression = ["--method", "regression", "--align", "none", "--reference-audio", clips]
    for words in (
        ["align", *pair, "--audio", sound, *output],
        ["merge", *pair, "--audio", sound, *output],
        ["merge", *pair, *regression, "--other-audio", sound, *output],
    ):
        line = refused(words)
        assert message in line
        assert str(sound) in line


# Words that cannot be meant -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--align none --weight 1.5", "weight = 1.5, expected a number from 0 (all OTHER) to 1 (all REFERENCE)"),
        ("--align none --weight -0.1", "weight = -0.1, expected a number from 0"),
        ("--align none --weight nan", "weight = nan, expected a number from 0"),
        ("--align none --method linaer", "method: 'linaer' is unknown; did you mean 'linear'?"),
        ("--align none --method ties", "method ties needs the common ancestor of both models: add --base MODEL"),
        ("--align none --method regression", "method regression needs --reference-audio"),
        ("--align none --repair", "repair needs --reference-audio"),
        ("--align none --set scale=1", "method linear has no setting 'scale'; it has no settings"),
        ("--align none --method regression --set ridge=NaN", "ridge = nan, expected a finite number"),
        ("", "correlation alignment needs audio that both models hear: add --audio DIR"),
        (
            "--align weights --points conv,atention",
            "points: 'atention' is no point to align; did you mean 'attention'?",
        ),
        (
            "--align weights --points ,",
            "points: none received, expected some of conv, feed_forward, attention, residual",
        ),
        ("--alignment nowhere", "nowhere: no alignment.json in this folder"),
        ("--align none --base nowhere/at/all", "nowhere/at/all: "),
    ],
)
def test_words_that_cannot_be_meant(words: str, message: str, models: Models, tmp_path: Path, refused: Refused) -> None:
    output = ["-o", tmp_path / "out"]
    line = refused(["merge", models["speech"], models["music"], *words.split(), *output])
    assert message in line


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"wieght": 0.5}, "unknown key 'wieght'; did you mean 'weight'?"),
        ({"weight": 1.5}, "weight = 1.5, expected a number from 0"),
        ({"weight": {"atention": 0.5}}, "weight: 'atention' is no part of an encoder; did you mean 'attention'?"),
        (
            {"weight": {"layers": {"0-3": 0.5}}},
            "weight: layers: '0-3', expected a layer or a span of layers from 0 to 2",
        ),
        ({"other": None}, "other: input should be a valid string, received None"),
        ({"method": "ties", "base": "REFERENCE", "parameters": {"densty": 1}}, "did you mean 'density'?"),
    ],
)
def test_a_recipe_that_cannot_be_meant(
    recipe: dict[str, Any], message: str, models: Models, tmp_path: Path, refused: Refused
) -> None:
    recipe = {"reference": str(models["speech"]), "other": str(models["music"]), "align": "none"} | recipe
    if "base" in recipe:
        recipe["base"] = recipe["reference"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert message in refused(["merge", tmp_path / "recipe.yaml", "-o", tmp_path / "out"])


def test_no_such_recipe(tmp_path: Path, refused: Refused) -> None:
    line = refused(["merge", tmp_path / "absent.yaml", "-o", tmp_path / "out"])
    assert line == f"error: {tmp_path / 'absent.yaml'}: no such file; expected a YAML file\n"
