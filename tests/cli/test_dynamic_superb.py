"""crossfade dynamic-superb list and check."""

import json
from pathlib import Path

import pytest
from prepared_instances import card, prepared, rows
from typer.main import get_command

from crossfade.cli.dynamic_superb import dynamic_superb


def run(*words: str) -> None:
    get_command(dynamic_superb).main(list(words), standalone_mode=False)


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    card(tmp_path / "NoiseDetection/NoiseDetection_VCTK")
    prepared(tmp_path / "Dogs/Dogs_One", rows(), domains=["audio"])
    prepared(tmp_path / "Dogs/Dogs_Two", rows(5), domains=["audio"])
    return tmp_path


def test_list(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("list", str(bench), "--json")
    *told, last = capsys.readouterr().out.splitlines()
    assert "3 instances of 2 tasks: 3 classification; 1 pinned to a commit, 2 local." in told
    assert any("NoiseDetection_VCTK" in line and "0123456789" in line for line in told)
    facts = json.loads(last)
    assert [one["items"] for one in facts["instances"]] == [36, 5, None]
    assert len(facts["sha256"]) == 64


def test_list_what_was_asked_for(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("list", str(bench), "--domain", "audio", "--size", "10", "--json", "--quiet")
    facts = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in facts["instances"]] == ["Dogs_Two"]


def test_check_where_nothing_is_wrong(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("check", str(bench / "Dogs/Dogs_One"))
    assert any(line.split()[:3] == ["nothing", "is", "wrong"] for line in capsys.readouterr().out.splitlines())


def test_check(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bench / "Dogs/Dogs_Three").mkdir()
    (bench / "Dogs/Dogs_Three/instance.json").write_text("{")
    run("check", str(bench), "--json")
    *told, last = capsys.readouterr().out.splitlines()
    assert "2 of 3 instances break no rule that was checked; 41 items with 0.00 hours of sound were looked at." in told
    assert any("5 items; expected at least 32" in line and "Dogs_Two" in line for line in told)
    facts = json.loads(last)
    assert facts["good"] == 2
    assert facts["problems"][0]["source"] == "Dogs_Three"
