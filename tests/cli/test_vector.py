"""crossfade vector, as a user types it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grown import student_of
from tones import tones

from crossfade.cli.main import main

Done = Callable[[list[Any]], dict[str, Any]]
Refused = Callable[[list[Any]], str]
WEIGHTS = "model.safetensors"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFADE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def students(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("students")
    return {name: student_of(models["ancestor"], home / name, seed) for seed, name in ((1, "speech"), (2, "music"))}


def test_extract_then_combine(students: dict[str, Path], models: dict[str, Path], tmp_path: Path, done: Done) -> None:
    for name, student in students.items():
        told = done(["vector", "extract", student, "--base", models["ancestor"], "-o", tmp_path / name])
        assert told["base"]["name"] == str(models["ancestor"])
    speech, music = f"{tmp_path / 'speech'}=1.0", f"{tmp_path / 'music'}=-3e-1"
    back = done(["vector", "combine", models["ancestor"], speech, "-o", tmp_path / "back"])
    assert back["exact"] == str(tmp_path / "speech" / "student")
    both = [
        done(["vector", "combine", *words, "--sum", "0.7", "-o", tmp_path / str(number)])
        for number, words in enumerate(([models["ancestor"], speech, music], [music, speech]))
    ]
    assert both[0]["recipe"]["vectors"][1]["weight"] == -0.3
    assert (tmp_path / "0" / WEIGHTS).read_bytes() == (tmp_path / "1" / WEIGHTS).read_bytes()
    words = ["--method", "ties-secondary", "--set", "density=0.5", "conflicts=flip"]
    tied = done(["vector", "combine", speech, music, *words, "-o", tmp_path / "tied"])
    assert tied["recipe"]["parameters"] == {"density": 0.5, "conflicts": "flip", "scale": 1.0}


def test_refusals(students: dict[str, Path], models: dict[str, Path], tmp_path: Path, refused: Refused) -> None:
    out = ["-o", tmp_path / "out"]
    extract = ["vector", "extract", students["speech"], *out, "--base"]
    assert "was trained from another base" in refused([*extract, models["speech"]])
    assert "expected two encoders of one family" in refused([*extract, models["another family"]])
    assert "hidden_size is 96" in refused([*extract, models["another width"]])
    assert "pass --trust-base" in refused(["vector", "extract", models["speech"], *out, "--base", models["music"]])
    assert "expected VECTOR=WEIGHT" in refused(["vector", "combine", models["ancestor"], "speech", *out])
    assert "expected vectors after the base" in refused(["vector", "combine", models["ancestor"], *out])
    assert "no such folder" in refused(["vector", "combine", "nowhere=1", *out])
    assert "no such command 'extrct'" in refused(["vector", "extrct"]).lower()


def test_sweep_then_search(
    students: dict[str, Path], models: dict[str, Path], tmp_path: Path, done: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    task = tones(tmp_path / "tones", "speech", 1)
    given = [models["ancestor"], *students.values(), "--task", task]
    words = ["--at", "1,0", "0.75,0.25", "--sum", 1, "--methods", "task-arithmetic,ties,linear"]
    words += ["--set", "ties.density=0.5"]
    told = done(["vector", "sweep", *given, *words, "-o", tmp_path / "sweep"])
    names = ["speech", "task-arithmetic 0.75:0.25", "ties 0.75:0.25", "linear 0.75:0.25"]
    assert [point["name"] for point in told["points"]] == names
    assert told["recipe"]["parameters"] == {"ties": {"density": 0.5}}
    compared = done(["compare", tmp_path / "sweep" / "results.json", "--reference", "speech"])
    assert {found["model"] for found in compared["differences"]} == {*names[1:]}
    words = ["--budget", 2, "--low", -0.5, "--start", "0.9,0.1"]
    found = done(["vector", "search", *given, *words, "-o", tmp_path / "found"])
    assert found["trace"][0]["weights"] == {"speech": {"default": 0.9}, "music": {"default": 0.1}}
    assert len(found["trace"]) == 2
    assert main(["probe", str(tmp_path / "found" / "winner"), "--task", str(task), "-o", str(tmp_path / "w.json")]) == 0
    assert "Written to" in capsys.readouterr().out


def test_refusals_of_sweep_and_search(
    students: dict[str, Path], models: dict[str, Path], tmp_path: Path, refused: Refused
) -> None:
    given = [models["ancestor"], *students.values(), "-o", tmp_path / "out"]
    assert "--task: expected what to measure" in refused(["vector", "sweep", *given])
    assert "--task: expected what to measure" in refused(["vector", "search", *given])
    asked = [*given, "--task", "embedded"]
    assert "a sum of 1.1, expected 1" in refused(["vector", "sweep", *asked, "--at", "0.9,0.2", "--sum", 1])
    assert "--set expects METHOD.KEY=VALUE" in refused(["vector", "sweep", *asked, "--set", "density=0.5"])
    assert "did you mean 'aligned'?" in refused(["vector", "sweep", *asked, "--methods", "alined"])
    assert "paper1_table is empty here" in refused(["vector", "sweep", *asked, "--score", "paper1_table", "--partial"])
    assert "paper1_table is empty here" in refused(["vector", "search", *asked, "--score", "paper1_table", "--partial"])
    other = [models["speech"], *students.values(), "--task", "embedded", "-o", tmp_path / "out"]
    assert "was trained from another base" in refused(["vector", "sweep", *other])
    assert "expected two encoders of one family" in refused(["vector", "search", models["another family"], *other[1:]])
