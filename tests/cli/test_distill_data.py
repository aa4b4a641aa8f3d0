"""crossfade distill-data, as a user types it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tones import tones

from crossfade.cli.main import main

Done = Callable[[list[Any]], dict[str, Any]]
Refused = Callable[[list[Any]], str]
SMALL = [
    *("noise=8", "hidden=16", "batch=16", "per_class=5"),
    *("gan_steps=5", "distil_steps=5", "critic_steps=1", "check=5"),
]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFADE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tones(tmp_path_factory.mktemp("labelled") / "tones", "speech", 0, clips=40)


def test_fit_sample_train_evaluate(
    models: dict[str, Path], data: Path, tmp_path: Path, done: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    verb = "distill-data"
    fitted = done([verb, "fit", models["speech"], data, "-o", tmp_path / "generator", "--set", *SMALL])
    assert fitted["classes"] == {"high": 12, "low": 12}
    assert fitted["path"] == str(tmp_path / "generator")
    words = ["--per-class", 10, "--prior", "original", "--seed", 4]
    sampled = done([verb, "sample", tmp_path / "generator", *words, "-o", tmp_path / "points.safetensors"])
    assert sampled["points"] == 20
    assert sampled["points_per_second"] > 1000
    trained = done([verb, "train", tmp_path / "points.safetensors", "-o", tmp_path / "classifier"])
    assert trained["classes"] == ["high", "low"]
    words = ["--per-class", "3,4", "--priors", "balanced", "-o", tmp_path / "results.json"]
    found = done([verb, "evaluate", tmp_path / "generator", data, *words])
    assert len(found["rows"]) == 1 + 8 * 2
    assert main([verb, "evaluate", str(tmp_path / "generator"), str(data), *map(str, words), "--overwrite"]) == 0
    told = capsys.readouterr().out
    assert "gradient matching" in told
    assert "groups: share of training clips whose speaker (group) the points betray" in told


def test_refusals(models: dict[str, Path], data: Path, tmp_path: Path, refused: Refused) -> None:
    out, fit = ["-o", tmp_path / "out"], ["distill-data", "fit", models["speech"]]
    assert "--layer top: expected mean or the number of a layer" in refused([*fit, data, "--layer", "top", *out])
    assert "settings: unknown key 'rates'" in refused([*fit, data, "--set", "rates=1", *out])
    assert "--set expects KEY=VALUE, as in noise=48; received 'rate'" in refused([*fit, data, "--set", "rate", *out])
    assert "no such task or folder" in refused([*fit, "nowhere", *out])
    evaluate = ["distill-data", "evaluate", tmp_path / "generator", data, *out]
    assert "expected a folder of `crossfade distill-data fit`" in refused(evaluate)
    assert "--per-class 10,x: expected whole numbers" in refused([*evaluate, "--per-class", "10,x"])
    assert "--priors even: expected balanced, original or both" in refused([*evaluate, "--priors", "even"])
    assert "expected a file of" in refused(["distill-data", "train", tmp_path / "points", *out])


def test_what_a_summary_tells(
    models: dict[str, Path], data: Path, tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a fit: clips that could not be used, where it was not the last update. Of points: their rate, if many."""
    mute = shutil.copytree(data, tmp_path / "mute")
    (mute / "7.wav").write_bytes(b"no sound")
    steps = ["gan_steps=1", "distil_steps=9", "ahead=0", "rate=1e-12", "check=1", "patience=1", "noise=4"]
    generator, points = tmp_path / "generator", ["-o", tmp_path / "points"]
    words = ["fit", models["speech"], mute, "-o", generator, "--set", *steps]
    assert main(["distill-data", *map(str, words)]) == 0
    told = capsys.readouterr().out
    assert "Kept: update 0 of 2, the start: training made it no better on validation clips." in told
    assert "Training ended at update 2 of at most 10: no look was better for long (patience=1)." in told
    assert "Clips that could not be used: 1 (7.wav: " in told
    for many, rate in ((10, False), (5000, True)):
        words = ["sample", generator, "--per-class", many, *points, "--overwrite"]
        assert main(["distill-data", *map(str, words)]) == 0
        assert ("points per second" in capsys.readouterr().out) == rate
    train, out = ["distill-data", "train", generator, "-o", tmp_path / "out"], ["-o", tmp_path / "out"]
    assert "--damping nan: expected a finite number, 0 or more" in refused([*train, "--damping", "nan"])
    for number, said in ((0, "expected 1 point or more"), (10**12, "are free")):
        line = refused(["distill-data", "sample", generator, "--per-class", number, *out])
        assert f"--per-class {number}: " in line
        assert said in line
