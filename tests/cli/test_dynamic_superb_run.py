"""crossfade dynamic-superb run and join, as they are typed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import instructed
import pytest
import yaml

from crossfade.cli.main import main

ANSWERER = """
class Always:
    def answer(self, questions):
        return ["high"] * len(questions)
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("bench")
    instructed.high_or_low(home, "Pitch_A", 6)
    instructed.high_or_low(home, "Pitch_B", 4)
    return home


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("model")
    (home / "always.py").write_text(ANSWERER)
    (home / "model.yaml").write_text(yaml.safe_dump({"kind": "python", "model": f"{home}/always.py:Always"}))
    return home / "model.yaml"


Done = Callable[[list[Any]], dict[str, Any]]
Refused = Callable[[list[Any]], str]


def test_shards_are_run_and_joined(done: Done, bench: Path, model: Path, tmp_path: Path) -> None:
    words = ["dynamic-superb", "run", bench, "--model", model, "--limit", 3]
    for part in ("1/2", "2/2"):
        told = done([*words, "-o", tmp_path / part[0], "--shard", part])
        assert (told["model"], told["instances"], told["failed"]) == ("always", 2, 0)
    joined = done(["dynamic-superb", "join", tmp_path / "1", tmp_path / "2", "-o", tmp_path / "joined"])
    assert (joined["items"], joined["not_asked_here"]) == (6, 0)
    found = json.loads((tmp_path / "joined/results.json").read_text())
    assert [one["answer"] for one in found["answers"]] == ["high"] * 6
    assert done([*words, "-o", tmp_path / "joined"])["last_sitting"] is None


def test_one_instance(done: Done, bench: Path, model: Path, tmp_path: Path) -> None:
    words = ["dynamic-superb", "run", bench, "--model", model, "-o", tmp_path / "run", "--task", "Pitch_B"]
    told = done([*words, "--concurrency", 2, "--batch", 3])
    assert (told["instances"], told["items"], told["last_sitting"]["items"]) == (1, 4, 4)


def test_what_is_left_out_is_said(done: Done, model: Path, tmp_path: Path) -> None:
    for name, said in (("Good_A", {}), ("Odd_B", {"metrics": ["acuracy"]}), ("Say_C", {"kind": "speech generation"})):
        instructed.high_or_low(tmp_path / "bench", name, 2, **said)
    told = done(["dynamic-superb", "run", tmp_path / "bench", "--model", model, "-o", tmp_path / "run"])
    assert told["instances"] == 1
    assert set(told["left_out"]) == {"Odd_B", "Say_C"}
    assert told["left_out"]["Odd_B"].startswith("metrics: 'acuracy' is unknown; did you mean 'accuracy'?")
    assert told["left_out"]["Say_C"] == "unsupported: answers are sounds"


@pytest.mark.parametrize("kind", ["python", "encoder"])
def test_instances_that_cannot_be_read_or_scored_stop_no_other(
    done: Done, refused: Refused, model: Path, tmp_path: Path, kind: str
) -> None:
    home = tmp_path / "bench"
    instructed.high_or_low(home, "Good_A", 6)
    faults: dict[str, tuple[Any, str]] = {
        "BadJson_x": ("{", "metadata.json: not JSON"),
        "NoAsk_x": ('{"a.wav": {"label": "high"}}', "a.wav: no 'instruction'"),
        "NoLabel_x": ('{"a.wav": {"instruction": "High?"}}', "a.wav: no 'label'"),
        "Null_x": ('{"a.wav": null}', "a.wav: expected an object, received None"),
    }
    for name, (content, _) in faults.items():
        (instructed.high_or_low(home, name, 1) / "metadata.json").write_text(content)
    instructed.high_or_low(home, "Typo_x", 2, metrics=["acuracy"], kind="classification")
    faults["Typo_x"] = (None, "metric 'acuracy': unknown; did you mean 'accuracy'?")
    (tmp_path / "encoder.yaml").write_text("{kind: encoder, model: logmel, device: cpu}")
    words = ["dynamic-superb", "run", home, "--model", tmp_path / "encoder.yaml" if kind == "encoder" else model]
    told = done([*words, "-o", tmp_path / "run", "--cache", tmp_path / "cache"])
    assert (told["instances"], told["items"], told["not_asked_here"]) == (1, 6, 0)
    assert set(told["left_out"]) == set(faults)
    assert all(said in told["left_out"][name] for name, (_, said) in faults.items())
    said = refused([*words, "-o", tmp_path / "none", "--task", "BadJson_x"])
    assert "none of the 1 instances can be run; first: BadJson_x: " in said


def test_metrics_of_ours_are_named(done: Done, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    instructed.high_or_low(tmp_path / "bench", "None_A", 2, metrics=[], kind="classification")
    instructed.high_or_low(tmp_path / "bench", "Own_B", 2)
    told = done(["dynamic-superb", "run", tmp_path / "bench", "--model", model, "-o", tmp_path / "run"])
    assert told["metrics_of_ours"] == {"None_A": ["accuracy"]}
    capsys.readouterr()
    scored = ["dynamic-superb", "score", str(tmp_path / "run"), "-o", str(tmp_path / "scores.json")]
    assert main(scored) == 0
    assert "None_A: names no metrics; taken, ours: accuracy." in capsys.readouterr().out.splitlines()


def test_names_keep_their_underscores(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    instructed.high_or_low(tmp_path / "bench", "Good_A", 2)
    (instructed.high_or_low(tmp_path / "bench", "BadJson_x", 1) / "metadata.json").write_text("{")
    words = ["dynamic-superb", "run", tmp_path / "bench", "--model", model, "-o", tmp_path / "run"]
    assert main([str(word) for word in words]) == 0
    assert "BadJson_x: " in capsys.readouterr().out


def test_probe_mode(done: Done, bench: Path, tmp_path: Path) -> None:
    file = tmp_path / "logmel.yaml"
    file.write_text("{kind: encoder, model: logmel, device: cpu}")
    told = done(["dynamic-superb", "run", bench, "--model", file, "-o", tmp_path / "run", "--cache", tmp_path / "c"])
    assert told["note"].endswith("Not comparable with the leaderboard.")
    assert told["items"] == 10


def test_refusals(refused: Refused, bench: Path, model: Path, tmp_path: Path) -> None:
    out = ["-o", tmp_path / "run"]
    (tmp_path / "encoder.yaml").write_text("{kind: encoder, model: logmel}")
    endpoint = {"url": "http://127.0.0.1:9", "model": "m", "api_key_env": "NO_KEY"}
    (tmp_path / "chat.yaml").write_text(yaml.safe_dump({"kind": "chat", "endpoint": endpoint}))
    run = ["dynamic-superb", "run", bench, *out]
    cases: dict[str, list[Any]] = {
        "--shard 9/8: expected which of how many, as 2/8": [*run, "--model", model, "--shard", "9/8"],
        "probe mode learns from all items": [*run, "--model", tmp_path / "encoder.yaml", "--shard", "1/2"],
        "the variable NO_KEY is not set": [*run, "--model", tmp_path / "chat.yaml"],
        "no such file; expected a YAML file": [*run, "--model", tmp_path / "none.yaml"],
        "no run.json in it": ["dynamic-superb", "join", bench, bench, *out],
    }
    for said, words in cases.items():
        assert said in refused(words)
