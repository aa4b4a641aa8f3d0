"""Scores of a sweep: by domain, with intervals, and who is on the front."""

import measured
import pytest

from crossfade.errors import InputError
from crossfade.probing.averages import average
from crossfade.probing.results import Result, SweepPoint
from crossfade.probing.scores import Anchor, Preset, score_results, score_values
from crossfade.probing.tasks import load_tasks
from crossfade.vectors.standing import Spread, Standing, by_domain, check_score, front, standing, validated


def results() -> list[Result]:
    return [
        measured.result(task="words", domain="speech", right=0.9),
        measured.result(task="accents", domain="speech", right=0.5, seed=1),
        measured.result(task="melody", domain="music", right=0.7, seed=2),
    ]


PRESET = Preset(
    name="mine",
    title="Mine",
    source="made up",
    tasks={
        "words": Anchor(domain="speech", metric="accuracy", reference=95.0, baseline=25.0),
        "melody": Anchor(domain="music", metric="accuracy", reference=10.0, baseline=90.0),
    },
)


def test_means_of_values() -> None:
    one, two, three = results()
    found = standing(results())
    speech, music = found.domains["speech"], found.domains["music"]
    assert speech.value == pytest.approx((one.value + two.value) / 2)
    assert music.value == three.value
    assert music.interval == pytest.approx(three.interval, abs=1)
    assert found.average.value == pytest.approx((speech.value + music.value) / 2)
    assert found.average.interval == average([results()]).mean(0).interval


def test_an_error_rate_counts_from_100() -> None:
    right = measured.result()
    wrong = right.model_copy(update={"better": "lower"})
    assert standing([wrong]).average.value == pytest.approx(100 - standing([right]).average.value)


def test_a_preset_gives_the_scores_of_compare() -> None:
    found, expected = standing(results(), PRESET), score_results(PRESET, results())
    assert {name: one.value for name, one in found.domains.items()} == pytest.approx(dict(expected.domains))
    assert found.average.value == pytest.approx(expected.value)
    assert found.average.interval == pytest.approx(expected.interval)


def test_validation_clips_alone_give_the_score_of_a_search() -> None:
    told = {"words": 80.0, "accents": 60.0, "melody": 30.0}
    found = [with_valid(result, told[result.task.name]) for result in results()]
    assert validated(found) == pytest.approx((70 + 30) / 2)
    assert validated(by_domain(found)["speech"]) == pytest.approx(70)
    expected = score_values(PRESET, told).value
    assert validated(found, PRESET) == pytest.approx(expected)
    assert [result.task.name for result in by_domain(found, PRESET)["speech"]] == ["words"]
    with pytest.raises(InputError, match="words: no validation clips can be heard"):
        validated([with_valid(found[0], None), *found[1:]], PRESET)


def with_valid(result: Result, value: float | None) -> Result:
    return result.model_copy(update={"sweep": (SweepPoint(rate=0.1, valid=value, chosen=True),)})


def at(speech: float, music: float) -> Standing:
    spreads = [Spread(value, (value - 1, value + 1)) for value in (speech, music)]
    return Standing(dict(zip(("speech", "music"), spreads, strict=True)), spreads[0])


def test_the_front() -> None:
    points = {"a": at(5, 1), "b": at(1, 5), "c": at(3, 3), "d": at(3, 2), "e": at(5, 1)}
    assert front(points) == ["a", "b", "c", "e"]


def test_scores_without_tasks_are_refused_before_anything_is_measured() -> None:
    embedded = load_tasks("embedded")
    check_score(embedded, None, partial=False)
    with pytest.raises(InputError, match=r"mine is empty here: none of its tasks \(words, melody\) is asked for"):
        check_score([task for task in embedded if task.name != "melody"], PRESET, partial=True)
    with pytest.raises(InputError, match="mine needs words too"):
        check_score(embedded, PRESET, partial=False)
    odd = PRESET.model_copy(update={"tasks": {"melody": PRESET.tasks["melody"].model_copy(update={"metric": "uar"})}})
    with pytest.raises(InputError, match="melody is measured in accuracy, mine has uar"):
        check_score(embedded, odd, partial=False)
