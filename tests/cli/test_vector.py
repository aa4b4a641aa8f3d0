"""crossfade vector, as a user types it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grown import student_of

Done = Callable[[list[Any]], dict[str, Any]]
Refused = Callable[[list[Any]], str]
WEIGHTS = "model.safetensors"


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
