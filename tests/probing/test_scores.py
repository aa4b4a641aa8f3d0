"""Normalised scores: the published table from its cells, and what happens when a task is missing."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from measured import result

from crossfade.errors import InputError
from crossfade.probing.scores import (
    Preset,
    clean,
    fits,
    load_preset,
    preset_from,
    presets,
    score_results,
    score_values,
)
from crossfade.probing.tasks import load_task

PAPER = load_preset("paper1_table")
TASKS = list(PAPER.tasks)

# Table I of 2506.11403: eleven cells, Speech, Music, Avg; and the average over the usual baselines.
TABLE = """
7.84  96.30 98.34 81.42 64.92 70.25 61.32 62.74 70.04 63.45 70.20 1000   885.63 942.82 938.0
23.61 89.45 59.21 29.49 55.19 79.00 72.54 64.97 91.26 70.69 73.97 665.53 1000   832.77 748.8
37.44 57.06 16.77 5.87  52.20 52.17 47.72 43.58 41.28 35.61 34.35 385.19 567.92 476.55 299.7
9.47  95.23 97.02 77.24 65.12 71.33 61.75 62.04 70.03 69.56 67.05 981.80 894.42 938.11 925.7
8.88  96.17 97.79 80.22 65.61 72.74 63.98 63.79 70.00 69.62 71.69 997.72 917.58 957.65 949.4
9.52  95.43 94.06 77.44 62.95 73.31 59.30 61.47 70.22 68.28 66.07 961.27 886.62 923.95 910.6
9.92  95.59 95.10 77.61 66.64 72.38 60.26 61.16 70.53 68.62 65.45 988.43 886.06 937.24 921.8
9.70  95.62 94.62 77.70 64.91 71.39 59.91 60.91 70.23 68.62 64.80 976.46 880.52 928.49 914.0
9.08  95.42 96.97 75.97 65.91 73.52 62.54 61.23 71.44 70.34 67.05 985.30 903.22 944.26 934.2
"""
ROWS = [[float(cell) for cell in line.split()] for line in TABLE.split("\n") if line]


@pytest.mark.parametrize("row", ROWS, ids=[f"ID {number}" for number in range(1, 10)])
def test_table_one(row: list[float]) -> None:
    cells, (speech, music, average, usual) = dict(zip(TASKS, row, strict=False)), row[11:]
    found = score_values(PAPER, cells)
    assert found.domains == pytest.approx({"speech": speech, "music": music}, abs=0.05)
    assert found.value == pytest.approx(average, abs=0.05)
    assert found.missing == ()
    assert score_values(load_preset("superb_chance"), cells).value == pytest.approx(usual, abs=0.05)


def test_the_packaged_presets() -> None:
    assert presets() == ("paper1_table", "superb_chance")
    usual = load_preset("superb_chance")
    assert usual.tasks.keys() == PAPER.tasks.keys()
    assert {task: anchor.reference for task, anchor in usual.tasks.items()} == {
        task: anchor.reference for task, anchor in PAPER.tasks.items()
    }
    for name in presets():
        preset = load_preset(name)
        assert preset.name == name
        assert {task: anchor.metric for task, anchor in preset.tasks.items()} == {
            task: load_task(task).metric for task in preset.tasks
        }


SMALL = Preset.model_validate(
    {
        "name": "small",
        "title": "Small",
        "source": "a test",
        "tasks": {
            "words": {"domain": "speech", "metric": "wer", "reference": 10, "baseline": 90},
            "voices": {"domain": "speech", "metric": "accuracy", "reference": 80, "baseline": 20},
            "melody": {"domain": "music", "metric": "accuracy", "reference": 60, "baseline": 10},
        },
    }
)
VALUES = {"words": 30.0, "voices": 50.0, "melody": 60.0, "more": 1.0}


def test_a_score_by_hand() -> None:
    found = score_values(SMALL, VALUES)
    assert found.domains == pytest.approx({"speech": (750 + 500) / 2, "music": 1000})
    assert found.value == pytest.approx(812.5)
    assert found.interval is None
    assert found.to_dict()["preset"] == "small"


def test_the_interval_adds_the_tasks_in_squares() -> None:
    intervals = {task: (value - 4, value + 4) for task, value in VALUES.items()}
    low, high = score_values(SMALL, VALUES, intervals).interval or (0, 0)
    halves = [4 * 1000 / 4 / 80, 4 * 1000 / 4 / 60, 4 * 1000 / 2 / 50]
    assert (high - low) / 2 == pytest.approx(sum(half**2 for half in halves) ** 0.5)
    assert (high + low) / 2 == pytest.approx(812.5)


def test_a_missing_task_is_never_dropped_in_silence() -> None:
    values = {"words": 30.0}
    with pytest.raises(InputError, match="mine: small needs tasks that are missing: voices, melody; measure them, or"):
        score_values(SMALL, values, of="mine")
    found = score_values(SMALL, values, partial=True)
    assert found.missing == ("voices", "melody")
    assert found.domains == pytest.approx({"speech": 750})
    assert found.value == pytest.approx(750)
    with pytest.raises(InputError, match=r"missing: words, voices, melody$"):
        score_values(SMALL, {"other": 1.0})
    with pytest.raises(InputError, match=r"^mine: none of small's tasks is there: words, voices, melody; measure"):
        score_values(SMALL, {"other": 1.0}, partial=True, of="mine")


NUMBER = st.floats(-100, 100)


@given(st.fixed_dictionaries(dict.fromkeys(SMALL.tasks, NUMBER)), NUMBER)
def test_the_score_is_linear_in_every_value(values: dict[str, float], step: float) -> None:
    weights = SMALL.weights(list(SMALL.tasks))
    before = score_values(SMALL, values).value
    for task, weight in weights.items():
        after = score_values(SMALL, values | {task: values[task] + step}).value
        assert after - before == pytest.approx(weight * step, abs=1e-6)
    anchors = {
        side: {task: getattr(anchor, side) for task, anchor in SMALL.tasks.items()}
        for side in ("reference", "baseline")
    }
    assert score_values(SMALL, anchors["reference"]).value == pytest.approx(1000)
    assert score_values(SMALL, anchors["baseline"]).value == pytest.approx(0)


# Presets of one's own ------------------------------------------------------------------------------------------------


def test_a_preset_from_what_was_measured(tmp_path: Path) -> None:
    voices = result("speech", "voices", right=0.9, domain="speech")
    melody = result("music", "melody", right=0.8)
    noisy = result("music", "melody", right=0.5, condition="babble at 10 dB")
    low = [result("fbank", "voices", right=0.4, domain="speech"), result("fbank", "melody", right=0.3)]
    made = preset_from("mine", [voices, melody, noisy], low)
    assert made.source == "measured: speech, music = 1000, fbank = 0"
    assert score_results(made, [voices, melody]).value == pytest.approx(1000)
    assert score_results(made, low).value == pytest.approx(0)
    assert fits(made, low)
    assert not fits(made, low[:1])
    assert not fits(made, [*low, low[0]])
    (tmp_path / "mine.yaml").write_text(made.to_yaml())
    assert load_preset(tmp_path / "mine.yaml") == made
    with pytest.raises(InputError, match="speech: voices occurs twice"):
        clean([voices, voices])


@pytest.mark.parametrize(
    ("reference", "baseline", "message"),
    [
        ([result(task="a")], [result(task="b")], "preset mine: a, b: in one of reference and baseline"),
        ([result(task="a")], [result(task="a", metric="uar")], "preset mine: a: metrics accuracy and uar are mixed"),
        ([result(task="a")], [result(task="a")], "preset mine: a: reference and baseline are both"),
    ],
)
def test_no_preset_can_be_made(reference: Any, baseline: Any, message: str) -> None:
    with pytest.raises(InputError) as refused:
        preset_from("mine", reference, baseline)
    assert message in str(refused.value)


def test_another_metric_has_no_score() -> None:
    own = [result(task=task, metric="uar") for task in SMALL.tasks]
    with pytest.raises(InputError, match="speech: words: metric uar, small has wer"):
        score_results(SMALL, own)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "not valid YAML"),
        ("- 1", "expected keys and values, received list"),
        (SMALL.model_dump() | {"tasks": {}}, "tasks: dictionary should have at least 1 item"),
        (SMALL.model_dump() | {"author": "me"}, "unknown key 'author'; known: name"),
        (
            SMALL.model_dump() | {"tasks": {"a": {"domain": "x", "metric": "wer", "reference": "high", "baseline": 1}}},
            "tasks.a.reference: input should be a valid number",
        ),
        (
            SMALL.model_dump() | {"tasks": {"a": {"domain": "x", "metric": "wer", "reference": 1, "baseline": 1}}},
            "a: reference and baseline are both 1; they must differ",
        ),
    ],
)
def test_presets_that_cannot_be_used(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    with pytest.raises(InputError) as refused:
        load_preset(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert message in str(refused.value)


def test_presets_that_are_not_there() -> None:
    with pytest.raises(InputError, match="score: 'paper1' is no preset and no YAML file; did you mean 'paper1_table'"):
        load_preset("paper1")
    with pytest.raises(InputError, match=r"none\.yaml: no such file"):
        load_preset("none.yaml")
