"""The leaderboard: models by tasks, a best one only where it is shown, every number with its file."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from measured import answers, result, scored

from crossfade.errors import InputError
from crossfade.probing.results import Result, SweepPoint, save_results
from crossfade.probing.scores import Preset, load_preset
from crossfade.report.leaderboard import leaderboard
from crossfade.report.leaderboard_page import chosen, column_table, main_table, source_table, to_html, write_leaderboard

SMALL = Preset.model_validate(
    {
        "name": "small",
        "title": "Small",
        "source": "a test",
        "tasks": {
            task: {"domain": "music", "metric": "accuracy", "reference": 100, "baseline": 0}
            for task in ("melody", "drums")
        },
    }
)


def measured(model: str, melody: float, drums: float, seed: int) -> list[Result]:
    return [
        result(model, "melody", right=melody, seed=seed),
        result(model, "melody", right=melody / 2, seed=seed, condition="babble at 10 dB"),
        result(model, "drums", right=drums, seed=seed + 10),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models: the second is far better on melodies, and as good as the first on drums."""
    home = tmp_path / "results"
    save_results(home / "speech.json", [*measured("speech", 0.5, 0.8, 1), result("speech", "accents", domain="speech")])
    save_results(home / "deep" / "merged.json", measured("merged", 0.95, 0.8, 2))
    (home / "config.json").write_text("{}")
    return home


def test_the_table(folder: Path) -> None:
    board = leaderboard([folder], score=SMALL)
    header, rows = main_table(board)
    assert header == [
        "model", "parameters", "small", "melody ↑", "melody (babble at 10 dB) ↑", "drums ↑", "accents ↑",
    ]  # fmt: skip
    assert [row[0] for row in rows] == ["merged", "speech"]  # by score, although speech was read last
    assert rows[0][1] == "2,500,000"
    assert [("★" in cell) for cell in rows[0][3:]] == [True, True, False, False]
    assert not any("★" in cell for cell in rows[1])
    assert rows[0][6] == "–"
    value, low, high = (
        board.columns[0].entries["merged"].result.value,
        *board.columns[0].entries["merged"].result.interval,
    )
    assert rows[0][3] == f"{value:.1f} ±{(high - low) / 2:.1f} ★"
    assert float(rows[0][2].split(" ")[0]) == pytest.approx(board.scores["small"]["merged"].value, abs=0.05)
    assert repr(board) == "Leaderboard(2 models, 4 columns, scores: small)"


def test_every_number_names_its_file(folder: Path) -> None:
    board = leaderboard([folder])
    header, rows = source_table(board)
    assert len(rows) == 7  # three by two, and one
    by_name = [dict(zip(header, row, strict=True)) for row in rows]
    assert {row["file"] for row in by_name if row["model"] == "merged"} == {str(folder / "deep" / "merged.json")}
    assert by_name[0]["found by"] == "bootstrap over 200 items, 200 resamples, seed 1234"
    assert by_name[0]["seeds"] == "0"
    header, rows = column_table(board)
    assert [row[0] for row in rows] == ["melody", "melody (babble at 10 dB)", "drums", "accents"]
    assert rows[0][4] == "400 / 100 / 200"
    assert "head linear, layers weighted, steps 500, rates 0.001 0.01, published no" in rows[0][-1]


def test_intervals_over_groups(tmp_path: Path) -> None:
    labels = ["class"] * 60
    grouped = scored(labels, answers(labels, 0.6, 0), groups=[f"speaker {index // 10}" for index in range(60)])
    save_results(tmp_path / "a.json", [result("a", items=grouped), result("a", "drums")])
    board = leaderboard([tmp_path])
    found = board.columns[0].entries["a"].result
    low, high = found.group_interval or (0, 0)
    cells = main_table(board)[1][0]
    assert cells[2].endswith(f" (±{(high - low) / 2:.1f})")
    assert "(" not in cells[3]
    told = "in brackets over groups of test clips (speakers, kits)"
    assert told in to_html(board)
    assert board.to_dict()["columns"][0]["results"]["a"]["group_interval"] == (low, high)
    save_results(tmp_path / "b.json", [result("b", "drums")])
    assert told not in to_html(leaderboard([tmp_path / "b.json"]))


def test_what_was_chosen() -> None:
    def found(*points: dict[str, Any]) -> Result:
        sweep = [SweepPoint(fold=fold, seed=0, valid=80.0, chosen=True, **point) for fold, point in enumerate(points)]
        return result().model_copy(update={"sweep": (*sweep, SweepPoint(fold=0, seed=0, valid=1.0, rate=0.5))})

    assert chosen(found({"rate": 1e-3}, {"rate": 1e-2}, {"rate": 1e-3})) == "rate 0.001; rate 0.01"
    assert chosen(found({"layer": 3, "neighbours": 5})) == "layer 3, neighbours 5"
    assert chosen(found({"damping": 10.0})) == "damping 10"
    assert chosen(result()) == "rate 0.001"  # where the sweep does not say


def test_what_does_not_apply_is_not_listed(tmp_path: Path) -> None:
    save_results(tmp_path / "a.json", [result("a", head="ridge", layers="all", steps=None, rates=())])
    (row,) = column_table(leaderboard([tmp_path]))[1]
    assert row[-1].startswith("head ridge, layers all, published no, draws 1")


def test_what_is_passed_over_is_told(folder: Path) -> None:
    assert f"{folder / 'config.json'} is no results file and was passed over." in leaderboard([folder]).notes
    text = json.dumps(leaderboard([folder]).to_dict())
    assert str(folder / "deep" / "merged.json") in text


def test_ways_to_ask_are_columns_of_their_own(tmp_path: Path) -> None:
    save_results(tmp_path / "a.json", [result("a"), result("a", head="mlp"), result("a", sha256="other data")])
    save_results(tmp_path / "b.json", [result("b", right=0.4, head="mlp")])
    board = leaderboard([tmp_path / "b.json", tmp_path / "a.json"])
    assert [column.name for column in board.columns] == [
        "melody (head mlp, data data)",
        "melody (head linear, data data)",
        "melody (head linear, data other da)",
    ]
    assert [column.best for column in board.columns] == ["a", None, None]


def test_what_cannot_be_tested_has_no_best(tmp_path: Path) -> None:
    save_results(tmp_path / "a.json", [result("a", count=190), result("a", "drums")])
    save_results(tmp_path / "b.json", [result("b", right=0.2), result("b", "drums", right=0.2)])
    board = leaderboard([tmp_path])
    assert [column.best for column in board.columns] == [None, "a"]
    (note,) = board.notes
    assert note.startswith("melody: b is not tested against a: test items that are in one of them only: 10")


def test_a_value_that_is_not_its_items_has_no_place(tmp_path: Path) -> None:
    save_results(tmp_path / "a.json", [result("a", value=99.0)])
    with pytest.raises(InputError, match=r"a\.json: a on melody: value 99 does not follow from its items"):
        leaderboard([tmp_path])


def test_the_same_answers_twice_are_one(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_results(tmp_path / f"{name}.json", [result("a")])
    (note,) = leaderboard([tmp_path]).notes
    assert note == f"Counted once: results that {tmp_path / 'one.json'} and {tmp_path / 'two.json'} share (1)."


def test_scores_that_fit_come_by_themselves(tmp_path: Path) -> None:
    def all_tasks(model: str, right: float) -> list[Result]:
        return [
            result(model, task, right=right, count=20, metric=anchor.metric)
            for task, anchor in load_preset("superb_chance").tasks.items()
        ]

    for name, right in (("a", 0.5), ("b", 0.9)):
        save_results(tmp_path / f"{name}.json", all_tasks(name, right))
    board = leaderboard([tmp_path / "a.json"])
    assert list(board.scores) == ["paper1_table", "superb_chance"]
    save_results(tmp_path / "c.json", all_tasks("c", 0.5)[1:])
    assert leaderboard([tmp_path / "a.json", tmp_path / "c.json"]).scores == {}
    with pytest.raises(InputError, match="c: superb_chance needs tasks that are missing: asr"):
        leaderboard([tmp_path / "c.json"], score=load_preset("superb_chance"))
    save_results(tmp_path / "d.json", [result("d", "other", head=head) for head in ("linear", "mlp")])
    three = leaderboard([tmp_path / f"{name}.json" for name in "dca"], score=load_preset("superb_chance"), partial=True)
    assert three.models == ("a", "c", "d")  # c lacks a task, so that its score is another
    assert main_table(three)[1][2][2] == "–"
    assert "d has no task of superb_chance." in three.notes
    with pytest.raises(InputError, match="d: none of superb_chance's tasks is there: asr, ks"):
        leaderboard([tmp_path / "d.json"], score=load_preset("superb_chance"), partial=True)
    partial = leaderboard([tmp_path / "c.json"], score=load_preset("superb_chance"), partial=True)
    assert "superb_chance of c is partial, without asr." in partial.notes
    assert main_table(partial)[1][0][2].endswith("(partial)")


def test_the_files(folder: Path, tmp_path: Path) -> None:
    board = leaderboard([folder], score=SMALL)
    write_leaderboard(tmp_path / "board.md", board)
    lines = (tmp_path / "board.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("| ")]
    assert len({line.count(" | ") for line in table[:4]}) == 1
    assert lines[2] == "| " + " | ".join(main_table(board)[0]) + " |"
    write_leaderboard(tmp_path / "board.html", board)
    page = (tmp_path / "board.html").read_text()
    assert page == to_html(board)
    assert not re.search(r"<script|https?://", page)
    for cell in (cell for row in (*main_table(board)[1], *source_table(board)[1]) for cell in row):
        assert f"<td>{cell}</td>" in page
    with pytest.raises(InputError, match=r"board\.html: already exists"):
        write_leaderboard(tmp_path / "board.html", board)
    with pytest.raises(InputError, match=r"board\.txt: expected a name that ends in \.html or \.md"):
        write_leaderboard(tmp_path / "board.txt", board)


def test_names_are_no_markup(tmp_path: Path) -> None:
    save_results(tmp_path / "a.json", [result("<b>|x")])
    board = leaderboard([tmp_path])
    assert "&lt;b&gt;|x" in to_html(board)
    write_leaderboard(tmp_path / "board.md", board)
    assert "| <b>\\|x | 2,500,000 |" in (tmp_path / "board.md").read_text()


def test_folders_without_results(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no results file in this folder"):
        leaderboard([tmp_path])
