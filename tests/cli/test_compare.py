"""crossfade compare and crossfade report: one table, one sentence, one file; bad input is one line and exit 2."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from measured import result

from crossfade.cli.main import main
from crossfade.probing.results import save_results

Done = Callable[[list[Any]], dict[str, Any]]
Refused = Callable[[list[Any]], str]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two models on two tasks; one task differs, and one task has only one of them."""
    home = tmp_path / "results"
    speech = [result("speech", right=0.5), result("speech", "drums", seed=3)]
    merged = [result("merged", right=0.9), result("merged", "drums", seed=4), result("merged", "pitch")]
    save_results(home / "speech.json", speech)
    save_results(home / "merged.json", merged)
    return [home / "speech.json", home / "merged.json"]


def test_one_table_and_one_sentence(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *map(str, files)]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0].startswith("Compared with speech")
    rows = [line.split() for line in lines if line.startswith(("melody", "drums"))]
    assert [row[:3] for row in rows] == [["melody", "merged", "accuracy"], ["drums", "merged", "accuracy"]]
    assert rows[0][-1] == "better"
    assert rows[1][-3:] == ["no", "difference", "shown"]
    assert "Not compared: merged on pitch: not measured for speech." in lines
    assert lines[-1] == (
        "Real differences from speech: merged is better on melody. The other one cannot be told from chance."
    )


def test_one_model_under_two_heads(files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_results(tmp_path / "ridge.json", [result("speech", right=0.9, head="ridge"), result("merged", head="ridge")])
    words = ["compare", *map(str, files), str(tmp_path / "ridge.json")]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.strip()[:20] for line in lines if line.strip().startswith("melody")] == [
        "melody (head linear)",
        "melody (head ridge) ",
    ]
    assert main([*words, "--model", "speech"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Compared with speech (head linear)")
    assert lines[-2].strip() == "Not compared: speech (head linear) on drums: not measured for speech (head ridge)."
    assert lines[-1] == "Real differences from speech (head linear): speech (head ridge) is better on melody."


def test_what_is_not_compared_for_one_reason_is_one_line(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [result(model, task) for model in ("merged", "fbank") for task in ("key", "tempo")]
    save_results(tmp_path / "more.json", [*more, result("fbank"), result("fbank", "drums", seed=3)])
    files = [files[0], tmp_path / "merged.json"]
    save_results(files[1], [result("merged", right=0.9), result("merged", "drums", seed=4)])
    assert main(["compare", *map(str, files), str(tmp_path / "more.json"), str(files[0])]) == 0
    out = capsys.readouterr().out
    assert "Not compared: merged, fbank on key, tempo: not measured for speech." in out
    assert f"Counted once: results that {files[0]} and {files[0]} share (2)." in out


def test_json_and_quiet(files: list[Path], done: Done, capsys: pytest.CaptureFixture[str]) -> None:
    facts = done(["compare", *files, "--reference", "merged"])
    assert [row["verdict"] for row in facts["differences"]] == ["worse", "no difference shown"]
    assert facts["not_comparable"][0]["task"] == "pitch"
    assert main(["compare", *map(str, files), "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_a_score_of_ones_own(files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text(
        "name: mine\ntitle: Mine\nsource: a test\n"
        "tasks:\n  melody: {domain: music, metric: accuracy, reference: 100, baseline: 0}\n"
        "  tempo: {domain: music, metric: accuracy, reference: 100, baseline: 0}\n"
    )
    assert main(["compare", *map(str, files), "--score", str(preset)]) == 2
    assert "mine needs tasks that are missing: tempo" in capsys.readouterr().err
    assert main(["compare", *map(str, files), "--score", str(preset), "--partial"]) == 0
    assert "mine (partial, without tempo): merged " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.json"], "none.json: no such file; expected a results file"),
        (["{speech}"], "compare needs results of two models or more, or of one under two settings"),
        (["{speech}", "{other}"], "speech is measured twice on melody under one protocol with unlike answers, in "),
        (["{speech}", "{merged}", "--model", "merge"], "model: no results of 'merge'; did you mean 'merged'?"),
        (["{speech}", "{tampered}"], "tampered.json: merged on melody: value 99 does not follow from its items"),
        (["{speech}", "{merged}", "--reference", "speach"], "did you mean 'speech'?"),
        (["{speech}", "{merged}", "--unit", "group"], "test items without a group: 200"),
        (["{speech}", "{merged}", "--partial"], "--partial says what a score may lack, and --score is not given"),
        (["{speech}", "{merged}", "--unit", "clip"], "'clip' is not one of"),
        (["{speech}", "{merged}", "--score", "superb"], "score: 'superb' is no preset and no YAML file"),
        (["{speech}", "{merged}", "--score", "superb_chance"], "superb_chance needs tasks that are missing: asr, ks"),
        (["{speech}", "{torn}"], "torn.json: not valid JSON"),
        ([], "missing argument"),
    ],
)
def test_bad_input(words: list[str], message: str, files: list[Path], refused: Refused) -> None:
    torn = files[0].with_name("torn.json")
    torn.write_text('{"schema": 1')
    named = {"speech": files[0], "merged": files[1], "torn": torn}
    for name, made in (("other", result("speech", right=0.4)), ("tampered", result("merged", value=99.0))):
        named[name] = torn.with_name(f"{name}.json")
        save_results(named[name], [made])
    assert message.lower() in refused(["compare", *(word.format(**named) for word in words)]).lower()


def test_a_leaderboard(files: list[Path], tmp_path: Path, done: Done, refused: Refused) -> None:
    output = tmp_path / "leaderboard.html"
    facts = done(["report", files[0].parent, "-o", output])
    assert facts["path"] == str(output)
    assert facts["columns"][0]["best"] == "merged"
    assert output.read_text().startswith("<!doctype html>")
    assert "already exists; pass --overwrite" in refused(["report", files[0].parent, "-o", output])
    done(["report", *files, "-o", output, "--overwrite"])
    done(["report", *files, "-o", tmp_path / "leaderboard.md"])
    assert "ends in .html or .md" in refused(["report", *files, "-o", tmp_path / "leaderboard.pdf"])
    (tmp_path / "empty").mkdir()
    assert "no results file in this folder" in refused(["report", tmp_path / "empty", "-o", tmp_path / "x.md"])
    assert "--score is not given" in refused(["report", *files, "-o", tmp_path / "x.md", "--partial"])
    assert "superb_chance needs tasks" in refused(
        ["report", *files, "-o", tmp_path / "x.md", "--score", "superb_chance"]
    )


@pytest.mark.parametrize("verb", ["compare", "report"])
def test_help_imports_nothing_heavy(verb: str) -> None:
    script = (
        "import sys; from crossfade.cli.main import main\n"
        f"code = main(['{verb}', '--help']); print({{'torch', 'numpy', 'scipy', 'yaml'}} & set(sys.modules), code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "set() 0"
