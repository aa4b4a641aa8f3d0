"""Claims about saved results whose verdicts are known."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import claims
import pytest
import yaml
from measured import result, scored

from crossfade.documents import read_yaml, validated
from crossfade.errors import InputError
from crossfade.probing.results import Result, SweepPoint, save_results

TASKS = {"digits": "speech", "vowels": "speech", "melody": "music", "kit": "music"}


def of(model: str, speech: float, music: float, *, valid: float = 50.0, **protocol: Any) -> list[Result]:
    """A model's results on all tasks: this share of 200 answers is right, the same ones first for every model."""
    found = []
    for task, domain in TASKS.items():
        right = round(200 * (speech if domain == "speech" else music))
        columns = [["yes"] * right + ["no"] * (200 - right)] * protocol.get("draws", 1)
        one = result(model, task, scored(["yes"] * 200, *columns), domain=domain, **protocol)
        found.append(one.model_copy(update={"sweep": (SweepPoint(rate=1e-3, valid=valid, chosen=True),)}))
    return found


CLEAN = (
    of("speech", 0.80, 0.50)
    + of("music", 0.50, 0.70)
    + of("both", 0.80, 0.70)
    + of("weak", 0.60, 0.60)
    + of("teacher", 0.90, 0.75)
    + of("fbank", 0.20, 0.20)
    + of("good-merge", 0.79, 0.69, valid=70)
    + of("lucky-merge", 0.95, 0.95, valid=60)
)
FEW = of("both", 0.6, 0.6, shots=5, draws=2) + of("speech", 0.5, 0.6, shots=5, draws=2)
NOISY = of("both", 0.6, 0.6, condition="babble at 0 dB") + of("speech", 0.3, 0.3, condition="babble at 0 dB")
ROLES = {"specialists": {"speech": "speech", "music": "music"}, "merge": ["lucky-merge", "good-merge"]}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("claims")
    save_results(home / "clean.json", CLEAN + NOISY)
    save_results(home / "few.json", FEW)
    labels = ["C3", "C4", "C#3", "C#4"] * 50
    octaves = [note[:-1] + ("3" if note.endswith("4") else "4") for note in labels]
    save_results(home / "notes.json", [result("music", "notes", scored(labels, octaves))])
    return home


def judged(home: Path, **claim: Any) -> dict[str, Any]:
    said = {
        "name": "test",
        "results": {"all": "clean.json", "few": "few.json", "notes": "notes.json", "lost": "lost.json"},
        "roles": ROLES,
        "claims": [{"name": "one", "says": "so", "where": "all", **claim}],
    }
    (found,) = claims.judge(validated(claims.Claims, said, "claims.yaml"), home)
    return found


@pytest.mark.parametrize(
    ("claim", "verdict", "values"),
    [
        ({"model": "both", "against": "specialists", "bound": -1}, "holds", [0]),
        ({"model": "both", "against": "specialists"}, "undecided", [0]),
        ({"model": "weak", "against": "specialists", "bound": -1}, "does not hold", [-15]),
        ({"model": "both", "against": ["speech", "music"]}, "holds", [10, 15]),
        ({"model": "speech", "against": ["weak", "music"]}, "holds", [5, 5]),
        ({"model": "speech", "against": ["weak", "music"], "bound": 3}, "undecided", [5, 5]),
        ({"model": "both", "against": ["specialists", "teacher"]}, "does not hold", [0, -7.5]),
        ({"model": "merge", "against": ["speech", "music"]}, "holds", [9, 14]),
        ({"model": "both", "against": "speech", "tasks": ["digits", "kit"]}, "holds", [10]),
        ({"model": "both", "against": "speech", "heard": "noisy"}, "holds", [30]),
        ({"model": "both", "against": "speech", "heard": "few shots", "where": "few"}, "holds", [5]),
        (
            {"model": "speech", "against": "teacher", "kind": "share", "domain": "speech", "bound": 0.7},
            "holds",
            [6 / 7],
        ),
        (
            {"model": "speech", "against": "teacher", "kind": "share", "domain": "speech", "bound": 0.95},
            "does not hold",
            [6 / 7],
        ),
        ({"model": "music", "kind": "pitch classes", "where": "notes", "bound": 80}, "holds", [100]),
    ],
)
def test_verdicts_that_are_known(home: Path, claim: dict[str, Any], verdict: str, values: Sequence[float]) -> None:
    found = judged(home, **claim)
    told = [row["value"] for row in found["rows"]]
    assert told == pytest.approx(values)
    assert found["verdict"] == verdict
    for row in found["rows"]:
        assert row["interval"][0] <= row["value"] <= row["interval"][1]


def test_every_task(home: Path) -> None:
    found = judged(home, model="both", against=["fbank", "weak"], kind="every task")
    gains = {"speech": {"fbank": 60, "weak": 20}, "music": {"fbank": 50, "weak": 10}}
    assert {row["compared"]: round(row["value"]) for row in found["rows"]} == {
        f"both - {other} on {task}": gains[domain][other]
        for task, domain in TASKS.items()
        for other in ("fbank", "weak")
    }
    assert found["verdict"] == "holds"


def test_one_task_on_which_it_is_worse_is_enough(home: Path) -> None:
    found = judged(home, model="speech", against="weak", kind="every task")
    assert {(row["compared"], row["verdict"]) for row in found["rows"]} == {
        ("speech - weak on digits", "holds"),
        ("speech - weak on vowels", "holds"),
        ("speech - weak on melody", "does not hold"),
        ("speech - weak on kit", "does not hold"),
    }
    assert found["verdict"] == "does not hold"


def test_test_clips_choose_no_merge(home: Path) -> None:
    """The one with the best validation clips is taken, though another is better on the test."""
    (row,) = judged(home, model="merge", against="music")["rows"]
    assert row["compared"] == "good-merge - music"
    assert row["values"]["average"] == pytest.approx({"good-merge": 74, "music": 60})
    assert row["values"]["tasks"]["kit"] == pytest.approx((69, 70))


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        ({"model": "absent", "against": "music"}, "all: no results of 'absent' for this claim"),
        ({"model": "both", "against": "music", "heard": "noisy"}, "all: no results of 'music' for this claim"),
        ({"model": "both", "against": "music", "where": "lost"}, "lost.json: no such file; expected a results file"),
        ({"model": "both", "against": "music", "where": "nowhere"}, "no results in what was given"),
        ({"model": "both", "against": "fbank", "kind": "share"}, "share: the margin of 0.0 points may be none"),
    ],
)
def test_what_was_not_measured_is_undecided(home: Path, claim: dict[str, Any], why: str) -> None:
    found = judged(home, **claim)
    assert found["verdict"] == "undecided"
    assert [row["value"] for row in found["rows"]] == [None]
    assert why in found["rows"][0]["why"]


def test_the_file_that_is_written(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {
        "name": "tiny",
        "seed": 5,
        "results": {"all": "clean.json"},
        "claims": [
            {"name": "better", "says": "both is better", "model": "both", "against": "weak", "where": "all"},
            {"name": "lost", "says": "nobody knows", "model": "both", "against": "lost", "where": "all"},
        ],
    }
    (home / "tiny.yaml").write_text(yaml.safe_dump(said))
    monkeypatch.setattr(sys, "argv", ["claims.py", str(home / "tiny.yaml")])
    claims.main()
    found = json.loads((home / "results" / "claims-tiny.json").read_text())
    assert {"commit", "processor", "cores"} <= found["about"].keys()
    assert (found["seed"], [claim["verdict"] for claim in found["claims"]]) == (5, ["holds", "undecided"])
    printed = capsys.readouterr().out
    assert "holds          better: both is better\n" in printed
    assert "all: both - weak: 15.00 [" in printed


def test_the_claims_of_the_repository_can_be_read() -> None:
    path = Path(claims.__file__).with_name("claims.yaml")
    said = validated(claims.Claims, read_yaml(path), path)
    assert {on for claim in said.claims for on in claim.where} == {*said.results}
    names = [claim.name for claim in said.claims]
    assert len(names) == len({*names}) == 15
    with pytest.raises(InputError, match=r"^x.yaml: unknown key 'claims\[0\]\.wher'; did you mean 'where'"):
        validated(claims.Claims, {"name": "x", "results": {}, "claims": [{"wher": 1}]}, "x.yaml")
