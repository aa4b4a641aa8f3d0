"""The verbs for real: from words on the command line to folders on disk."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file

from crossfade.cli.main import main

Models = dict[str, Path]
Capture = pytest.CaptureFixture[str]
Done = Callable[[list[Any]], dict[str, Any]]
WEIGHTS = "model.safetensors"
NORM = "encoder.layers.1.layer_norm.weight"


def test_plan(models: Models, done: Done) -> None:
    facts = done(["plan", models["speech"], models["music"]])
    tensors = load_file(models["speech"] / WEIGHTS)
    assert facts["ok"] is True
    assert facts["reasons"] == []
    assert facts["output_bytes"] == sum(tensor.nbytes for tensor in tensors.values())
    assert [model["family"] for model in facts["models"]] == ["hubert", "hubert"]
    assert [model["frames_per_second"] for model in facts["models"]] == [400.0, 400.0]
    assert {"width": 48, "layers": 3, "sampling_rate": 16000, "dtype": "float32"}.items() <= facts["models"][0].items()
    assert facts["merge_memory_bytes"] > 0
    assert facts["merge_seconds"] > 0


def test_plan_in_words(models: Models, capsys: Capture) -> None:
    assert main(["plan", str(models["speech"]), str(models["music"])]) == 0
    words = capsys.readouterr().out.split()
    assert words[:2] == ["ok", "yes"]
    assert "16,000" in words


def test_align_then_merge(models: Models, clips: Path, tmp_path: Path, done: Done) -> None:
    pair = [models["speech"], models["music"]]
    aligned = done(["align", *pair, "--audio", clips, "-o", tmp_path / "aligned", "--clips", 6, "--seed", 2])
    assert aligned["method"] == "correlation"
    assert aligned["points"] == ["conv", "feed_forward", "attention"]
    assert aligned["settings"] == {"clips": 6, "seconds": 5.0, "sample": 0.2, "seed": 2, "frames": 120}
    assert aligned["before"] < 0.2 < aligned["after"] < 1
    reused = done(["merge", *pair, "--alignment", tmp_path / "aligned", "-o", tmp_path / "reused"])
    fresh = done(["merge", *pair, "--audio", clips, "--clips", 6, "--seed", 2, "-o", tmp_path / "fresh"])
    assert reused["recipe"]["weight"] == fresh["recipe"]["weight"] == 0.9
    assert reused["alignment"]["matches"] == fresh["alignment"]["matches"] == aligned["matches"]
    assert (tmp_path / "reused" / WEIGHTS).read_bytes() == (tmp_path / "fresh" / WEIGHTS).read_bytes()
    assert fresh["path"] == str(tmp_path / "fresh")
    assert fresh["parameters"] == sum(tensor.numel() for tensor in load_file(pair[0] / WEIGHTS).values()) - 8


def test_align_by_weights(models: Models, tmp_path: Path, done: Done) -> None:
    words = ["align", models["speech"], models["music"], "--method", "weights", "--points", "conv,residual"]
    facts = done([*words, "-o", tmp_path / "aligned"])
    assert facts["method"] == "weights"
    assert facts["points"] == ["conv", "residual"]
    assert facts["after"] > facts["before"]


def test_merge_with_every_word(models: Models, clips: Path, tmp_path: Path, done: Done) -> None:
    words = f"""merge {models["speech"]} {models["music"]} --weight 0.4 --method ties --base {models["ancestor"]}
        --set density=0.5 scale=0.9 --align correlation --points conv --audio {clips / "speech"} {clips / "music"}
        --dtype float16 --clips 4 --seconds 0.2 --seed 5 --device cpu --max-shard-size 60KB -o {tmp_path / "out"}"""
    facts = done([*words.split(), "--quiet"])
    assert facts["recipe"] == {
        "reference": str(models["speech"]),
        "other": str(models["music"]),
        "weight": 0.4,
        "method": "ties",
        "parameters": {"density": 0.5, "scale": 0.9},
        "align": "correlation",
        "alignment": None,
        "points": ["conv"],
        "base": str(models["ancestor"]),
        "audio": [str(clips / "speech"), str(clips / "music")],
        "reference_audio": [],
        "other_audio": [],
        "dtype": "float16",
        "repair": False,
        "clips": 4,
        "seconds": 0.2,
        "seed": 5,
    }
    assert len(list((tmp_path / "out").glob("model-*-of-*.safetensors"))) > 1
    assert json.loads((tmp_path / "out" / "crossfade.json").read_text())["recipe"] == facts["recipe"]


def test_regression_and_repair(models: Models, clips: Path, tmp_path: Path, done: Done) -> None:
    words = ["merge", models["speech"], models["music"], "--clips", 2, "--reference-audio", clips / "speech"]
    words += ["--other-audio", clips / "music", "--method", "regression", "--repair", "--set", "ridge=0.1"]
    facts = done([*words, "-o", tmp_path / "out"])
    assert facts["recipe"]["parameters"] == {"ridge": 0.1, "sequential": False, "convolutions": False}
    assert facts["recipe"]["repair"] is True
    assert facts["alignment"]["method"] == "correlation"
    assert all(tensor.isfinite().all() for tensor in load_file(tmp_path / "out" / WEIGHTS).values())


def test_a_recipe_and_the_words_that_overrule_it(models: Models, tmp_path: Path, done: Done) -> None:
    recipe = {"reference": str(models["speech"]), "other": str(models["music"]), "align": "none"}
    recipe |= {"weight": {"default": 0.25, "conv": 0.75}, "method": "slerp"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    facts = done(["merge", tmp_path / "recipe.yaml", "-o", tmp_path / "out"])
    assert facts["recipe"].items() >= recipe.items()
    facts = done(["merge", tmp_path / "recipe.yaml", "-o", tmp_path / "out", "--method", "linear", "--overwrite"])
    assert facts["recipe"].items() >= (recipe | {"method": "linear"}).items()
    a, b, merged = (load_file(folder / WEIGHTS)[NORM] for folder in (*list(models.values())[:2], tmp_path / "out"))
    torch.testing.assert_close(merged, 0.25 * a + 0.75 * b)


def test_broken_and_silent_files_are_passed_over_and_told(
    models: Models, clips: Path, tmp_path: Path, done: Done
) -> None:
    heard = shutil.copytree(clips / "speech", tmp_path / "heard")
    (heard / "broken.wav").write_bytes(b"RIFF and no more")
    soundfile.write(heard / "silent.wav", torch.zeros(8000).numpy(), 16000)
    facts = done(["align", models["speech"], models["music"], "--audio", heard, "-o", tmp_path / "out"])
    told = {Path(name).name: reason.partition(":")[0] for name, reason in facts["skipped"]}
    assert told == {"broken.wav": "unreadable", "silent.wav": "silent"}
