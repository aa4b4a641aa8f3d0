"""Coefficient search: within its budget, on validation data alone, and again where it was."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tones import tones

from crossfade.encoders.encoder import open_encoder
from crossfade.errors import InputError
from crossfade.probing import run as run_module
from crossfade.probing.tasks import load_dataset, load_task
from crossfade.vectors import search
from crossfade.vectors.operands import open_operands
from crossfade.vectors.search import Search, Space, first_fold, validation_only

Family = dict[str, Path]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tones(tmp_path_factory.mktemp("tasks") / "speech", "speech", 1)


def test_test_items_are_gone_from_what_a_search_sees(task: Path) -> None:
    dataset = load_dataset(load_task(task), None)
    seen, tested = validation_only(dataset), first_fold(dataset)
    names = {item.id for item in seen.items}
    assert not names & {dataset.items[index].id for index in tested.folds[0].test.tolist()}
    judged = {seen.items[index].id for index in seen.folds[0].test.tolist()}
    assert judged == {dataset.items[index].id for index in dataset.folds[0].valid.tolist()}
    assert len(seen.folds[0].valid)
    assert len({dataset.sha256, seen.sha256, tested.sha256}) == 3


def test_pairs_of_voices_are_of_validation_items(task: Path) -> None:
    dataset = load_dataset(load_task(task), None)
    seen = validation_only(replace(dataset, trials=((0, 1, True),)))
    valid = seen.folds[0].valid.tolist()
    assert {item for first, second, _ in seen.trials for item in (first, second)} == {*valid}
    assert all(same == (seen.items[a].label == seen.items[b].label) for a, b, same in seen.trials)


def test_without_validation_items_there_is_nothing_to_choose_by(task: Path) -> None:
    dataset = load_dataset(load_task(task), None)
    fold = dataset.folds[0]
    bare = replace(dataset, folds=(replace(fold, valid=fold.valid[:0]),))
    with pytest.raises(InputError, match="no validation items, which alone may drive a search"):
        validation_only(bare)


def test_tables_of_weights(family: Family, tmp_path: Path) -> None:
    operands = open_operands(family["base"], [family["speech-vector"], family["music-vector"]], tmp_path)
    by_part = Space(operands, "part", (0.0, 1.0), 1.0)
    tables = by_part.tables(np.array([0.5, 0.2, 0.0, 2.0, 0.5, 0.6, 0.0, 1.0]))
    assert tables["speech-vector"] == {"conv": 0.5, "attention": 0.25, "feed_forward": 0.5, "default": 0.5}
    assert tables["music-vector"] == {"conv": 0.5, "attention": 0.75, "feed_forward": 0.5, "default": 0.5}
    by_layer = Space(operands, "layer", (-1.0, 1.0), None)
    first = by_layer.start([0.9, -0.1])
    assert by_layer.tables(first)["music-vector"] == {"default": -0.1, "layers": {0: -0.1, 1: -0.1, 2: -0.1}}


def look(family: Family, task: Path, output: Path, **options: Any) -> Search:
    given = [family["speech-vector"], family["music-vector"]]
    return search(family["base"], given, output, **({"tasks": task, "budget": 5} | options))


def test_a_search_keeps_the_winner_and_the_trace(
    family: Family, task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    measure = run_module.measure

    def noting(upstream: Any, dataset: Any, *rest: Any, **named: Any) -> Any:
        heard.append(f"{upstream.name} {len(dataset.items)}")
        return measure(upstream, dataset, *rest, **named)

    monkeypatch.setattr(run_module, "measure", noting)
    made = look(family, task, tmp_path / "out", per="part")
    assert len(made.trace) == 5
    assert made.trace[0].weights["speech-vector"] == dict.fromkeys(
        ("conv", "attention", "feed_forward", "default"), 0.5
    )
    assert made.winner.score == max(trial.score for trial in made.trace)
    assert heard == ["trial 32"] * 5 + ["winner 40", "start 40"]
    assert [result.model.name for result in made.results] == ["winner", "start"]
    assert made.results[0].model.sha256 == open_encoder(tmp_path / "out" / "winner").sha256
    told = json.loads((tmp_path / "out" / "search.json").read_text())
    assert [trial["score"] for trial in told["trace"]] == [trial.score for trial in made.trace]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_search_goes_on_where_it_was(
    family: Family, task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = look(family, task, tmp_path / "whole")
    measure, left = run_module.measure, 2

    def failing(*given: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return measure(*given, **named)

    monkeypatch.setattr(run_module, "measure", failing)
    with pytest.raises(KeyboardInterrupt):
        look(family, task, tmp_path / "out")
    left = len(whole.trace) + 2 - 2
    again = look(family, task, tmp_path / "out")
    assert left == 0
    assert again.trace == whole.trace


def test_what_is_refused(family: Family, task: Path, tmp_path: Path) -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"budget": 0}, "budget = 0, expected at least 1"),
        ({"bounds": (1.0, 0.0)}, "bounds 1 and 0"),
        ({"start": [0.5]}, "start 0.5: expected a weight from 0 to 1 for each of 2 vectors"),
        ({"start": [0.5, 2.0]}, "start 0.5, 2"),
        ({"total": 5}, "a sum of 5 cannot be had of 2 vectors with weights from 0 to 1"),
        ({"of": "music"}, "no task asked for gives a score of 'music'; known: average, speech"),
        ({"method": "slerp"}, "adds no task vectors"),
    ]
    for options, message in refused:
        with pytest.raises(InputError) as caught:
            look(family, task, tmp_path / "out", **options)
        assert message in str(caught.value)
    assert not (tmp_path / "out").exists()
