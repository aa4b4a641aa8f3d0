"""Averages over tasks: their values, their spread against closed forms, and what cannot be averaged."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import answers, result, scored

from crossfade.errors import InputError
from crossfade.probing.averages import average, validated_average
from crossfade.probing.results import Result, Scored, SweepPoint

LABELS = [f"class {index % 4}" for index in range(400)]


def said(*shares: float, count: int = 400) -> tuple[Scored, ...]:
    """Items of which the given shares are right, one for each seed; the first ones are."""
    columns = [["yes" if index < round(share * count) else "no" for index in range(count)] for share in shares]
    return scored(["yes"] * count, *columns)


def of(model: str, **tasks: float) -> list[Result]:
    """A model's results: tasks named s... are speech, all others music."""
    domains = {task: "speech" if task.startswith("s") else "music" for task in tasks}
    return [result(model, task, said(right), domain=domains[task]) for task, right in tasks.items()]


@settings(max_examples=10)
@given(st.lists(st.integers(1, 19), min_size=4, max_size=4))
def test_domains_count_alike_and_tasks_within_them(twentieths: list[int]) -> None:
    a, b, c, d = (one / 20 for one in twentieths)
    found = average([of("x", s1=a, s2=b, s3=c, m=d), of("y", s1=d, s2=d, s3=d, m=d)])
    assert found.values == pytest.approx([100 * ((a + b + c) / 3 + d) / 2, 100 * d])
    assert found.tasks["s2"] == pytest.approx((100 * b, 100 * d))
    assert found.mean(0).value == pytest.approx(found.values[0])
    assert found.difference(0, 1).value == pytest.approx(found.values[0] - found.values[1])


def test_more_is_better_and_all_is_percent() -> None:
    text = ["a b c d"] * 50
    wrong = result("x", "s-text", scored(text, ["a b c x"] * 50), metric="wer", domain="speech")
    numbers = [[float(x)] for x in np.random.default_rng(0).normal(size=50)]
    exact = result("x", "m-numbers", scored(numbers, numbers), metric="r2")
    assert average([[wrong, exact]]).values == pytest.approx([(75 + 100) / 2])


def test_the_spread_is_that_of_independent_tasks() -> None:
    labels = [str(number) for number in range(300)]
    unlike = [f"other-{number}" for number in range(300)]

    def own(task: str, ids: Sequence[str], right: float) -> Result:
        items = [
            item.model_copy(update={"id": name})
            for item, name in zip(scored(labels, answers(labels, right, 5)), ids, strict=True)
        ]
        return result("x", task, items)

    apart = average([[own("one", labels, 0.7), own("two", unlike, 0.7)]])
    same = average([[own("one", labels, 0.7), own("two", labels, 0.7)]])
    alone = 100 * math.sqrt(0.7 * 0.3 / 300)
    assert apart.draws.std() == pytest.approx(alone / math.sqrt(2), rel=0.1)
    assert same.draws.std() == pytest.approx(alone, rel=0.1)  # the same clips again tell nothing new
    low, high = apart.mean(0).interval
    assert high - low == pytest.approx(2 * 1.96 * alone / math.sqrt(2), rel=0.1)


def test_differences_are_paired() -> None:
    """Two models that err on the same clips differ for certain, however wide each one's own interval is."""
    found = average([of("x", m=0.72), of("y", m=0.70), of("z", m=0.70)])
    gap = found.difference(0, 1)
    assert gap.value == pytest.approx(2)
    assert 0 < gap.interval[0] < 2 < gap.interval[1] < 4
    assert gap.p is not None
    assert gap.p < 0.05
    assert found.difference(1, 2).interval == (0, 0)
    assert found.difference(1, 2).p == 1
    assert found.mean(0).p is None


def test_draws_of_training_clips_are_resampled_too() -> None:
    apart = result("x", "m", said(0.5, 0.9, 0.7), shots=5, draws=3)
    alike = result("y", "m", said(0.7, 0.7, 0.7), shots=5, draws=3)
    found = average([[apart], [alike]])
    assert found.values == pytest.approx([70, 70])
    assert found.draws[:, 0].std() > 3 * found.draws[:, 1].std()


def test_a_share_of_a_margin() -> None:
    found = average([of("student", m=0.68), of("teacher", m=0.80), of("fbank", m=0.20)])
    share = found.share(0, 1, 2)
    assert share.value == pytest.approx(0.8)
    assert 0.7 < share.interval[0] < 0.8 < share.interval[1] < 0.9
    with pytest.raises(InputError, match=r"share: the margin of 0\.0 points may be none; expected models that are"):
        found.share(0, 1, 1)


def test_conditions_and_shots_are_settings_of_their_own() -> None:
    clean, noisy = result("x", "m", said(0.9)), result("x", "m", said(0.5), condition="babble at 0 dB")
    found = average([[clean, noisy]])
    assert found.tasks == {"m": pytest.approx((90,)), "m (babble at 0 dB)": pytest.approx((50,))}
    assert found.values == pytest.approx([70])


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ([[]], "average: a model without results; expected those of one task or more"),
        ([of("x", m=0.5), of("y", m=0.5, s=0.5)], "s: not measured for x; an average needs every task of every model"),
        ([of("x", m=0.5, s=0.5), of("y", m=0.5)], "s: not measured for y; an average"),
        ([of("x", m=0.5) * 2], "x: a task occurs twice; an average takes each task once"),
        (
            [of("x", m=0.5), [result("y", "m", said(0.5), head="ridge")]],
            "m: x and y cannot be compared: other settings: head linear and ridge",
        ),
    ],
)
def test_what_cannot_be_averaged(models: Any, says: str) -> None:
    with pytest.raises(InputError) as refused:
        average(models)
    assert str(refused.value).startswith(says)


def test_the_seed_decides() -> None:
    models = [of("x", m=0.5)]
    assert (average(models, seed=1).draws == average(models, seed=1).draws).all()
    assert (average(models, seed=1).draws != average(models, seed=2).draws).any()


def test_a_model_is_chosen_by_its_validation_clips() -> None:
    def validated(task: str, domain: str, valid: float | None, metric: str = "accuracy") -> Result:
        one = result("x", task, said(0.1), domain=domain, metric=metric)
        return one.model_copy(update={"sweep": (SweepPoint(valid=valid, chosen=True),)})

    results = [validated("s1", "speech", 90), validated("s2", "speech", 30, "wer"), validated("m", "music", 50)]
    assert validated_average(results) == pytest.approx(((90 + 70) / 2 + 50) / 2)
    with pytest.raises(InputError, match=r"^m: x has no validation clips to be chosen by; probe with some"):
        validated_average([*results[:2], validated("m", "music", None)])
