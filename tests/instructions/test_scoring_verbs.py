"""crossfade dynamic-superb score, compare, report: one table, one file; bad input is one line and exit 2."""

import json
from pathlib import Path

import pytest
import typer
from answered import MOODS, answers, moods, run_of, told
from chat_server import Served
from typer.main import get_command

from crossfade.cli.dynamic_superb_score import compare, report, score
from crossfade.errors import InputError

APP = typer.Typer()
for verb in (score, compare, report):
    APP.command()(verb)


def call(*words: object) -> None:
    get_command(APP).main([str(word) for word in words], standalone_mode=False)


def test_score_compare_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, right in (("base", 10), ("mine", 30)):
        moods(tmp_path / name, name, right)
    call("score", tmp_path / "base", "-o", tmp_path / "base.json", "--quiet")
    call("score", tmp_path / "mine", "--baseline", tmp_path / "base", "-o", tmp_path / "mine.json",
         "--submission", tmp_path / "model.json", "--json")  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("mine, normalised reader")
    assert any(line.split()[:2] == ["all", "2"] and line.split()[-1] == "+100.0" for line in lines)
    assert "50 items of 2 instances, 0 of them without an answer." in lines
    facts = json.loads(lines[-1])
    assert facts["relative"]["scores"] == {"EmotionRecognition_Small": 200.0, "SuperbASR_Small": 0.0}
    assert {one["branch"][-1] for one in facts["standings"]["exact"] if one["branch"]} == {
        "speech",
        "paralinguistics",
        "recognition",
    }
    assert len(json.loads((tmp_path / "model.json").read_text())) == 2
    call("compare", tmp_path / "base", tmp_path / "mine")
    assert capsys.readouterr().out.splitlines()[-1].startswith("Real differences from base: mine is better on Emotion")
    call("report", tmp_path / "base.json", tmp_path / "mine.json", "-o", tmp_path / "report.html")
    assert "<h1>Dynamic-SUPERB</h1>" in (tmp_path / "report.html").read_text()


def test_a_baseline_may_be_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moods(tmp_path / "mine", "mine", 30)
    call("score", tmp_path / "mine", "-o", tmp_path / "mine.json", "--quiet")
    call(
        "score",
        tmp_path / "mine",
        "--baseline",
        tmp_path / "mine.json",
        "-o",
        tmp_path / "again.json",
        "--json",
        "--quiet",
    )
    assert json.loads(capsys.readouterr().out)["relative"]["scores"]["EmotionRecognition_Small"] == 0.0


def test_a_baseline_that_was_not_judged_is_refused_before_the_judge_is_asked(tmp_path: Path, server: Served) -> None:
    moods(tmp_path / "base", "base", 10)
    moods(tmp_path / "mine", "mine", 30)
    call("score", tmp_path / "base", "-o", tmp_path / "peace.json", "--quiet")
    endpoint = {"url": server.url, "model": "tiny/judge", "retries": 0, "cache": str(tmp_path / "judged.sqlite")}
    (tmp_path / "judge.yaml").write_text(json.dumps(endpoint))
    words = ["score", tmp_path / "mine", "-o", tmp_path / "x.json", "--judge", tmp_path / "judge.yaml", "--quiet"]
    said = rf"^--baseline {tmp_path}/peace.json: base was not scored by 'judge'; .*--judge.*the run itself.*--reader"
    with pytest.raises(InputError, match=said):
        call(*words, "--baseline", tmp_path / "peace.json")
    with pytest.raises(InputError, match=r"none\.json: no run\.json in it"):
        call(*words, "--baseline", tmp_path / "none.json")
    assert server.stats("tiny/judge").asked.total() == 0
    call(*words, "--baseline", tmp_path / "peace.json", "--reader", "normalised")
    assert server.stats("tiny/judge").asked.total() > 0


def test_what_is_refused(tmp_path: Path) -> None:
    run_of(tmp_path / "one", "one", [(told("Emotion_X", 2), answers("Emotion_X", [(MOODS[0], "happy")] * 2))])
    refusals = [
        (["score", tmp_path / "none", "-o", tmp_path / "x.json"], "no run.json in it"),
        (["score", tmp_path / "one", "-o", tmp_path / "x.json", "--seen", "X"], "--submission is not given"),
        (
            ["score", tmp_path / "one", "-o", tmp_path / "x.json", "--submission", tmp_path / "s.json"],
            "2 tasks or more",
        ),
        (["score", tmp_path / "one", "-o", tmp_path / "x.json", "--reader", "judge"], "was not scored by 'judge'"),
        (
            ["score", tmp_path / "one", "-o", tmp_path / "x.json", "--judge", tmp_path / "j.yaml"],
            "j.yaml: no such file",
        ),
        (["compare", tmp_path / "one"], "two runs or more"),
        (["compare", tmp_path / "one", tmp_path / "one", "--reader", "judge"], "add --judge JUDGE.yaml"),
        (["report", tmp_path / "x.json", "-o", tmp_path / "r.html"], "x.json: cannot be read"),
    ]
    for words, said in refusals:
        with pytest.raises(InputError, match=said) as refused:
            call(*words)
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "x.json").exists()
