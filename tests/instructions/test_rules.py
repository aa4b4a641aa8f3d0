"""The published rules: what keeps them, and every way to break one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from prepared_instances import card, prepared, rows, sound

from crossfade.instructions.benchmark import read_benchmark
from crossfade.instructions.items import load_items
from crossfade.instructions.rules import Checked, among, check_benchmark, check_items, is_number


def check(folder: Path, items: Sequence[Mapping[str, object]], **told: object) -> Checked:
    (checked,) = check_benchmark(read_benchmark(prepared(folder, items, **told)))
    return checked


def test_an_instance_that_keeps_every_rule(tmp_path: Path) -> None:
    checked = check(tmp_path / "Dogs_One", rows())
    assert (checked.broken, checked.items) == ((), 36)
    assert checked.seconds == pytest.approx(36 * 0.05)


def test_too_few_items_and_instructions(tmp_path: Path) -> None:
    items = [{**row, "instruction": rows()[0]["instruction"]} for row in rows(8)]
    assert check(tmp_path / "Dogs_One", items).broken == (
        "8 items; expected at least 32",
        "1 different instructions for 8 items; expected at least 10",
    )


def test_items_that_cannot_be_scored(tmp_path: Path) -> None:
    items = rows()
    items[0] = {**items[0], "label": "cow"}
    items[1] = {**items[1], "label": ""}
    items[2] = {**items[2], "instruction": "Which animal is this?"}
    items[3] = {**items[3], "instruction": ""}
    assert check(tmp_path / "Dogs_One", items).broken == (
        "the label is not among the options: 1 item, first clip0",
        "no label: 1 item, first clip1",
        "the instruction lists no options: 2 items, first clip2",
        "no instruction: 1 item, first clip3",
    )


def test_a_regression_whose_label_is_no_number(tmp_path: Path) -> None:
    checked = check(tmp_path / "Rate_One", rows(), kind="regression", metrics=["mse"])
    assert checked.broken == ("the label is no number: 36 items, first clip0",)


def test_missing_sounds_and_their_number(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "Dogs_One", rows(), pairs=2)
    (folder / "Dogs_One_clip3.wav").write_bytes(b"no sound")
    (folder / "Dogs_One_clip7_pair2.wav").unlink()
    (checked,) = check_benchmark(read_benchmark(folder))
    assert checked.broken == (
        "another number of sounds than 2: 1 items, first clip7 with 1",
        "sound that is missing or cannot be read: 1 item, first clip3 (Dogs_One_clip3.wav)",
    )


def test_more_than_an_hour_of_sound(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "Dogs_One", rows())
    sound(folder / "Dogs_One_clip0.wav", seconds=3601, rate=100)
    (one,) = read_benchmark(folder).instances
    problems, seconds = check_items(one, load_items(one))
    assert [problem.what for problem in problems] == ["1.0 hours of sound; expected at most 1"]
    assert seconds == pytest.approx(3601 + 35 * 0.05)


def test_cards(tmp_path: Path) -> None:
    card(tmp_path / "a/Dogs_One", description="", keywords="")
    card(tmp_path / "b/Dogs Two", version="d54ebc4", metrics=["accuracy", "beauty"])
    card(tmp_path / "c/Dogs_Three")
    card(tmp_path / "d/Dogs_Four", version="")
    card(tmp_path / "e/Dogs_Five", version="5" * 40, metrics=None, kind="classification")
    told = {one.instance.name: one.broken for one in check_benchmark(read_benchmark(tmp_path))}
    shared = "version 0123456789 is that of 2 data sets: not its own"
    assert told == {
        "Dogs_One": ("the description is empty", "no keywords; expected a list of words", shared),
        "Dogs Two": (
            "the name has other signs than letters, digits, _ and -",
            "metric 'beauty' is unknown",
            "version 'd54ebc4' is no commit: expected 40 hexadecimal digits",
        ),
        "Dogs_Three": (shared,),
        "Dogs_Five": ("names no metrics; taken, ours: accuracy",),
        "Dogs_Four": ("no version: not pinned to a commit of its data set",),
    }


def test_items_that_cannot_be_loaded_are_one_line(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "Dogs_One", rows(1))
    (folder / "metadata.json").write_text("[]")
    (checked,) = check_benchmark(read_benchmark(folder))
    assert "expected an object with a key for every sound, received list" in checked.broken[0]


def test_labels_and_numbers() -> None:
    assert among("Dog.", ("dog", "cat"))
    assert among("b", ("dog", "cat"))
    assert not among("c", ("dog", "cat"))
    assert is_number("-3.5e1")
    assert not is_number("nan")
