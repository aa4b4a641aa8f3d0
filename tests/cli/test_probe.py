"""crossfade probe, compare and report, one after the other, as a user types them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from crossfade.cli.main import main

Done = Callable[[list[Any]], dict[str, Any]]
Refused = Callable[[list[Any]], str]
RATE = 16_000


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFADE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty low and twenty high tones by five players, and a manifest."""
    folder, random, rows = tmp_path_factory.mktemp("tones"), np.random.default_rng(0), []
    for number in range(40):
        pitch = (300 if number % 2 else 1500) * random.uniform(0.9, 1.1)
        sound = 0.2 * np.sin(2 * np.pi * pitch * np.arange(4000) / RATE) + 0.01 * random.standard_normal(4000)
        soundfile.write(folder / f"{number}.wav", sound, RATE)
        rows.append({"path": f"{number}.wav", "label": ["high", "low"][number % 2], "player": number % 5})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row | {"group": row["player"]}) + "\n" for row in rows))
    (folder / "task.yaml").write_text("title: Low or high\nprotocol: {head: ridge}\n")
    return folder


def test_from_sounds_to_a_leaderboard(
    done: Done, tones: Path, models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "results.json"
    told = done(["probe", models["speech"], "logmel", "fbank", "--task", tones, "-o", output])
    assert [result["model"] for result in told["results"]] == ["speech", "logmel", "fbank"]
    assert told["results"][1]["value"] == 100.0
    compared = done(["compare", output, "--reference", "logmel"])
    (fbank,) = [found for found in compared["differences"] if found["model"] == "fbank"]
    assert fbank["verdict"] == "worse"
    for page in ("board.md", "board.html"):
        done(["report", output, "-o", tmp_path / page])
    assert "| logmel |" in (tmp_path / "board.md").read_text()
    assert main(["probe", "logmel", "--task", str(tones), "-o", str(tmp_path / "again.json")]) == 0
    printed = capsys.readouterr().out
    assert "100.0 ±" in printed
    assert printed.splitlines()[-2:] == [
        "± is half the width of the 95 % interval.",
        f"Written to {tmp_path / 'again.json'}.",
    ]


def test_a_recipe_says_the_same_and_the_command_line_wins(done: Done, tones: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"models: [logmel, fbank]\ntasks: {tones}\nhead: ridge\nseed: 3\n")
    typed = done(["probe", "logmel", "fbank", "--task", tones, "--seed", "3", "-o", tmp_path / "typed.json"])
    read = done(["probe", recipe, "-o", tmp_path / "read.json"])
    assert read["results"] == typed["results"]
    done(["probe", recipe, "--head", "knn", "-o", tmp_path / "knn.json"])
    results = json.loads((tmp_path / "knn.json").read_text())["results"]
    assert [result["protocol"]["head"] for result in results] == ["knn", "knn"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--task: expected what to measure"),
        (["--task", "tons"], "tons: no such task or folder; "),
        (["--task", "ks"], "ks: needs its data, which is not given; Speech Commands is published by TensorFlow"),
        (["--task", "month", "--layers", "first"], "--layers first: expected weighted, last or the number of a layer"),
        (["--task", "month", "--snr", "10"], "snr says how loud noise is, which is not given; add noise (--noise DIR)"),
        (["--task", "month", "--beam", "2"], "beam = 2: no task asked for is text"),
        (["--task", "month", "--data", "mont=."], "data: 'mont' is no task that is asked for; did you mean 'month'?"),
        (["--task", "month", "--draws", "3"], "--draws says how often --shots are drawn, which is not given"),
        (
            ["--task", "month", "--head", "foo"],
            "Invalid value for '--head': 'foo' is not one of 'linear', 'mlp', 'ridge', 'knn', 'blstm', 'frame'",
        ),
        (["--task", "ks", "er", "--data", "a", "b"], "--data a: expected NAME=DIR where several are given"),
        (["--task", "month", "--cache-size", "much"], "expects a size such as 5GB"),
    ],
)
def test_refusals(refused: Refused, tmp_path: Path, words: list[str], message: str) -> None:
    assert message in refused(["probe", "logmel", *words, "-o", tmp_path / "results.json"])


def test_results_that_are_there_stay(refused: Refused, tones: Path, tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    output.write_text("mine")
    assert "already exists; pass --overwrite" in refused(["probe", "logmel", "--task", tones, "-o", output])


def test_columns_and_classes_that_are_not_there(refused: Refused, tones: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (tones / "manifest.jsonl").read_text().splitlines()]

    def folder(name: str, changed: list[dict[str, Any]], task: str) -> Path:
        made = tmp_path / name
        made.mkdir()
        lines = [json.dumps(row | {"path": str(tones / row["path"])}) + "\n" for row in changed]
        (made / "manifest.jsonl").write_text("".join(lines))
        (made / "task.yaml").write_text(task)
        return made

    cases = {
        "column": (rows, "label: lable\n", "no column 'lable'; did you mean 'label'?"),
        "class": ([row | {"label": "low"} for row in rows], "", "only one class"),
        "groups": ([row | {"split": ["train", "valid", "test"][at % 3]} for at, row in enumerate(rows)], "",
                   "expected every group on one side"),
        "text": ([row | {"label": " "} for row in rows], "kind: ctc\n", "a transcript of one word or more"),
    }  # fmt: skip
    made = {name: folder(name, changed, task) for name, (changed, task, _) in cases.items()}
    for name, (_, _, message) in cases.items():
        assert message in refused(["probe", "logmel", "--task", made[name], "-o", tmp_path / "results.json"])


@pytest.mark.parametrize("verb", ["probe", "compare", "report"])
def test_help_fits_a_terminal(verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([verb, "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
