"""crossfade distill"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from distilling import told, weights

from crossfade.cli.main import main
from crossfade.distillation import run


@pytest.fixture
def file(models: dict[str, Path], clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe of the tiny models and sounds of the command line's tests."""
    monkeypatch.setattr(run, "MEASURED_BATCHES", 3)
    (tmp_path / "recipe.yaml").write_text(
        yaml.safe_dump(
            told(
                clips,
                teachers=[{"model": str(models["speech"])}],
                training={"steps": 2, "batch_seconds": 0.5, "crop_seconds": 0.2},
            )
        )
    )
    return tmp_path / "recipe.yaml"


def test_it_writes_a_student_and_says_so(
    file: Path, tmp_path: Path, done: Callable[[list[Any]], dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    facts = done(["distill", file, "-o", tmp_path / "out", "--device", "cpu"])
    assert facts["path"] == str(tmp_path / "out")
    assert (facts["steps"], facts["skipped"], facts["parameters"]) == (2, {}, 6360)
    other = done(["distill", file, "-o", tmp_path / "other", "--device", "cpu", "--seed", 5, "--quiet"])
    assert json.loads((tmp_path / "other" / "crossfade.json").read_text())["recipe"]["seed"] == 5
    assert other["loss"] != facts["loss"]
    assert main(["distill", str(file), "-o", str(tmp_path / "third"), "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert "clips per second" in printed.out
    assert "error" not in printed.err
    assert weights(tmp_path / "third").keys() == weights(tmp_path / "out").keys()


def test_of_several_processes_the_first_speaks(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = run.Distilled(tmp_path, 1, 2, 2, 1.0, 4, 1.0, 4.0, 0.1, 0.5, (), {})
    monkeypatch.setattr(run, "distill", lambda *_, **__: made)
    for rank, lines in (("0", 1), ("1", 0)):
        monkeypatch.setenv("RANK", rank)
        assert main(["distill", str(file), "-o", str(tmp_path / "out"), "--quiet", "--json"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == lines


def test_recipes_that_say_nothing_sensible(file: Path, tmp_path: Path, refused: Callable[[list[Any]], str]) -> None:
    said = yaml.safe_load(file.read_text())
    said["data"][1]["domain"], said["teachers"][0]["domain"] = "music", "music"
    file.write_text(yaml.safe_dump(said))
    assert "data[0].domain 'speech': no teacher for it" in refused(["distill", file, "-o", tmp_path / "out"])
    said["teachers"][0]["domain"] = "birds"
    file.write_text(yaml.safe_dump(said))
    assert "teachers[0].domain 'birds': no data of this domain" in refused(["distill", file, "-o", tmp_path / "out"])
    assert "no such file" in refused(["distill", tmp_path / "none.yaml", "-o", tmp_path / "out"])


def test_an_output_that_exists(file: Path, models: dict[str, Path], refused: Callable[[list[Any]], str]) -> None:
    line = refused(["distill", file, "-o", models["music"], "--device", "cpu"])
    assert "already exists; pass --overwrite to replace it" in line
