"""The results file: whole or not at all, read back as it was, refused in one line."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from measured import result, scored

from crossfade.errors import InputError
from crossfade.probing.results import (
    SweepPoint,
    append_partial,
    find_results,
    journal,
    load_results,
    read_partial,
    require_free,
    save_results,
    write_file,
)


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    first = result("speech", "melody")
    labels = [("en", "hot"), ("de", "cold")]
    slots = result("music", "slots", scored(labels, [("en", "hot"), ("de", "hot")]), metric="slot_accuracy", mixup=0.7)
    assert slots.items[0].label == ["en", "hot"]  # as JSON will have it
    save_results(tmp_path / "deep" / "results.json", [first, slots])
    assert load_results(tmp_path / "deep" / "results.json") == [first, slots]
    content = json.loads((tmp_path / "deep" / "results.json").read_text())
    assert content["schema"] == 1
    assert content["results"][1]["protocol"]["mixup"] == 0.7
    save_results(tmp_path / "again.json", [first, slots])
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "deep" / "results.json").read_bytes()


def test_a_rate_that_diverged_has_no_value() -> None:
    assert SweepPoint(fold=0, seed=0, rate=10.0, valid=float("nan"), step=5).valid is None


def test_a_file_from_before_a_field_was_there_is_read(tmp_path: Path) -> None:
    path, point = tmp_path / "results.json", SweepPoint(fold=1, seed=2, rate=0.1, valid=3.0, step=4, chosen=True)
    now = result().model_copy(update={"sweep": (point,), "group_interval": (1.0, 2.0)})
    save_results(path, [now])
    assert load_results(path) == [now]
    content = json.loads(path.read_text())
    del content["results"][0]["group_interval"], content["results"][0]["sweep"][0]["chosen"]
    path.write_text(json.dumps(content))
    (before,) = load_results(path)
    assert (before.group_interval, before.sweep[0].chosen) == (None, False)
    assert before.items == now.items


def test_an_existing_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    save_results(path, [result()])
    with pytest.raises(InputError, match=r"results\.json: already exists; pass --overwrite"):
        save_results(path, [])
    save_results(path, [], overwrite=True)
    assert load_results(path) == []
    with pytest.raises(InputError, match="is a folder, expected a file"):
        require_free(tmp_path, overwrite=True)
    with pytest.raises(InputError, match="cannot be created"):
        write_file(path / "below", "", overwrite=False)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.json"
    write_file(path, "old", overwrite=False)

    def fails(_: int) -> None:
        raise OSError(5, "I/O error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="I/O error"):
        write_file(path, "new", overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]
    assert path.read_text() == "old"


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], str]:
    def edit(content: dict[str, Any]) -> str:
        change(content)
        return json.dumps(content)

    return edit


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {
    "torn": (lambda content: json.dumps(content)[:-9], "not valid JSON ("),
    "a list": (lambda content: "[]", "expected a results file of `crossfade probe`"),
    "something else": (lambda content: '{"rows": []}', "expected a results file of `crossfade probe`"),
    "schema": (edited(lambda content: content.update(schema=2)), "schema 2, expected 1; probe again"),
    "no field": (edited(lambda content: content["results"][0]["task"].pop("sha256")), "results[0]: task.sha256: field"),
    "no number": (
        edited(lambda content: content["results"][0].update(value="high")),
        "results[0]: value: input should be a valid number, unable to parse string as a number, received 'high'",
    ),
    "not finite": (
        edited(lambda content: content["results"][0].update(value=float("nan"))),
        "results[0]: value: input should be a finite number, received nan",
    ),
    "a word": (
        edited(lambda content: content["results"][0].update(better="more")),
        "better: input should be 'higher' or 'lower', received 'more'",
    ),
    "unknown field": (
        edited(lambda content: content["results"][0]["model"].update(size=1)),
        "model.size: extra inputs",
    ),
    "twice": (
        edited(lambda content: content["results"][0]["items"].append(content["results"][0]["items"][0])),
        "results[0]: items: an id occurs twice",
    ),
    "no prediction": (
        edited(lambda content: content["results"][0]["items"][3].update(predictions=[])),
        "results[0]: items: 'clip-0003' has 0 predictions, expected one for each of 1 values",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_no_results_file(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    save_results(path, [result(count=8)])
    breaks, message = BROKEN[fault]
    path.write_text(breaks(json.loads(path.read_text())))
    with pytest.raises(InputError) as refused:
        load_results(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300 + len(str(path))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; expected a results file"):
        load_results(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be read"):
        load_results(tmp_path)


def test_results_are_found_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/two.json", "a.json"):
        save_results(tmp_path / name, [result(count=8)])
    (tmp_path / "config.json").write_text('{"model_type": "hubert"}')
    (tmp_path / "old.json").write_text('{"schema": 0, "results": []}')
    found, passed = find_results(tmp_path)
    assert [path.name for path in found] == ["a.json", "two.json", "old.json"]
    assert [path.name for path in passed] == ["config.json"]


# The journal of an unfinished run ------------------------------------------------------------------------------------

ONE, TWO = result("speech", count=4), result("music", count=4)


def test_a_run_goes_on_from_its_journal(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "results.json"
    assert read_partial(output) == {}
    append_partial(output, "one", ONE)
    append_partial(output, "two", TWO)
    assert read_partial(output) == {"one": ONE, "two": TWO}
    save_results(output, [ONE, TWO])
    assert [path.name for path in output.parent.iterdir()] == ["results.json"]


@pytest.mark.parametrize("cut", [1, 2, 500, 10**6])
def test_a_torn_line_costs_only_itself(cut: int, tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    append_partial(output, "one", ONE)
    whole = journal(output).stat().st_size
    append_partial(output, "two", TWO)
    os.truncate(journal(output), max(whole, journal(output).stat().st_size - cut))
    assert read_partial(output) == {"one": ONE}
    append_partial(output, "three", TWO)
    assert read_partial(output) == {"one": ONE, "three": TWO}


def test_threads_share_a_journal(tmp_path: Path) -> None:
    output, keys = tmp_path / "results.json", [str(number) for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: append_partial(output, key, ONE), keys))
    assert {*read_partial(output)} == {*keys}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: damaged; delete this file"),
        ("[]", "line 1: damaged; delete this file"),
        ('{"schema": 0, "key": "one", "result": {}}', "line 1: schema 0, expected 1; delete this file"),
        ('{"schema": 1, "key": "one", "result": {}}', "line 1: model: field required"),
    ],
)
def test_a_damaged_journal(line: str, message: str, tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    journal(output).write_text(line + "\n")
    with pytest.raises(InputError) as refused:
        read_partial(output)
    assert message in str(refused.value)
    assert str(journal(output)) in str(refused.value)


def test_what_was_chosen_has_a_value_on_validation_clips() -> None:
    """Of every fold and seed; what was tried besides does not count, nor what diverged."""
    tried = (
        SweepPoint(fold=0, rate=1e-3, valid=90.0),
        SweepPoint(fold=0, rate=1e-2, valid=80.0, chosen=True),
        SweepPoint(fold=1, rate=1e-3, valid=60.0, chosen=True),
        SweepPoint(fold=2, rate=1e-3, valid=None, chosen=True),
    )
    assert result().model_copy(update={"sweep": tried}).valid == 70
    assert result().model_copy(update={"sweep": tried[3:]}).valid is None
