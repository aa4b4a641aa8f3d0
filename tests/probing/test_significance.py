"""Intervals and tests against closed forms, SciPy, known values and repeated experiments."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from measured import answers, scored
from scipy import stats

from crossfade.errors import InputError
from crossfade.probing import significance
from crossfade.probing.metrics import METRICS
from crossfade.probing.results import Scored
from crossfade.probing.significance import (
    benjamini_hochberg,
    counts,
    estimate,
    evaluator,
    interval,
    mcnemar,
    mean_over_draws,
    over_groups,
    panel,
    resample,
    t_interval,
    two_sided,
)

LABELS = [f"class {index % 3}" for index in range(120)]
RIGHT = scored(LABELS, answers(LABELS, 0.7, 1), answers(LABELS, 0.8, 2))


# Resampling ----------------------------------------------------------------------------------------------------------


def test_a_resample_draws_as_many_as_there_are() -> None:
    drawn = np.concatenate(list(counts(7, 500, 1)))
    assert drawn.shape == (500, 7)
    assert (drawn.sum(1) == 7).all()
    assert abs(drawn.mean() - 1) < 1e-12
    assert drawn.var() == pytest.approx(6 / 7, rel=0.05)  # a binomial of 7 with 1/7


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(counts(7, 500, 1)))
    monkeypatch.setattr(significance, "_BLOCK", 7 * 32)
    np.testing.assert_array_equal(np.concatenate(list(counts(7, 500, 1))), whole)
    assert not np.array_equal(np.concatenate(list(counts(7, 500, 2))), whole)


RANDOM = np.random.default_rng(0)
NUMBERS = [[float(x), float(y)] for x, y in RANDOM.normal(size=(60, 2))]
NEAR = [[x + 0.5 * float(noise), y] for (x, y), noise in zip(NUMBERS, RANDOM.normal(size=60), strict=True)]
SAME = [bool(index % 2) for index in range(60)]
TAGS: list[list[str]] = [
    [name for bit, name in enumerate(("drums", "voice")) if index >> bit & 1] for index in range(60)
]
CASES: dict[str, tuple[Sequence[Any], Sequence[Any]]] = {
    "accuracy": (LABELS, answers(LABELS, 0.7, 1)),
    "uar": (LABELS, answers(LABELS, 0.7, 1)),
    "r2": (NUMBERS, NEAR),
    "wer": (["a b c", "d e", "f g h i"] * 20, ["a b", "d e", "f x h i j"] * 20),
    "eer": (SAME, [same + float(noise) for same, noise in zip(SAME, RANDOM.normal(size=60), strict=True)]),
    "roc_auc": (TAGS, [{tag: (tag in tags) + float(RANDOM.normal()) for tag in ("drums", "voice")} for tags in TAGS]),
}


@pytest.mark.parametrize("name", CASES)
def test_resampling_is_the_metric_of_the_items_drawn(name: str) -> None:
    """However a metric is resampled, it is what a list with repetitions gives."""
    labels, predictions = CASES[name]
    items = panel([scored(labels, predictions)])
    values, draws = resample(METRICS[name], items, 5, seed=3)
    assert values[0] == pytest.approx(METRICS[name].value(labels, predictions))
    (drawn,) = counts(len(labels), 5, 3)
    for row, value in zip(drawn.astype(int), draws[:, 0], strict=True):
        picked = np.repeat(np.arange(len(labels)), row)
        again = METRICS[name].value([labels[index] for index in picked], [predictions[index] for index in picked])
        assert value == pytest.approx(again)


def test_the_interval_is_the_normal_one_where_items_are_many() -> None:
    labels = ["yes"] * 1000
    found = estimate(METRICS["accuracy"], scored(labels, ["yes"] * 700 + ["no"] * 300))
    half = 1.96 * 100 * math.sqrt(0.7 * 0.3 / 1000)
    assert found.value == pytest.approx(70)
    assert found.interval == pytest.approx((70 - half, 70 + half), abs=0.15)
    assert found.method == "bootstrap over 1000 items, 10,000 resamples, seed 1234"


def test_metrics_of_ranks_say_that_they_were_resampled_less() -> None:
    found = estimate(METRICS["eer"], scored(*CASES["eer"]))
    assert found.interval[0] < found.value < found.interval[1]
    assert found.method == "bootstrap over 60 items, 1,000 resamples, seed 1234"


def test_seeds_are_averaged() -> None:
    found = estimate(METRICS["accuracy"], RIGHT, resamples=50)
    alone = [
        estimate(
            METRICS["accuracy"], [item.model_copy(update={"predictions": (item.predictions[seed],)}) for item in RIGHT]
        )
        for seed in range(2)
    ]
    assert found.values == pytest.approx([one.value for one in alone])
    assert found.value == pytest.approx(sum(found.values) / 2)


def test_folds_are_pooled_or_averaged() -> None:
    items = scored(["yes"] * 10, ["yes"] * 4 + ["no"] * 4 + ["yes"] * 2, folds=[0] * 8 + [1] * 2)
    assert estimate(METRICS["accuracy"], items).value == pytest.approx(60)
    assert estimate(METRICS["accuracy"], items, averaged=True).value == pytest.approx(75)
    labels, predictions = CASES["eer"]
    by_four = [index // 2 % 2 for index in range(60)]
    own = [
        METRICS["eer"].value(
            [label for label, fold in zip(labels, by_four, strict=True) if fold == number],
            [found for found, fold in zip(predictions, by_four, strict=True) if fold == number],
        )
        for number in range(2)
    ]
    averaged = estimate(METRICS["eer"], scored(labels, predictions, folds=by_four), averaged=True, resamples=20)
    assert averaged.value == pytest.approx(sum(own) / 2)


def test_groups_are_drawn_as_wholes() -> None:
    """Ten groups of forty clips that are all right or all wrong say no more than ten clips."""
    right = [index // 40 < 7 for index in range(400)]
    items = scored(["yes"] * 400, ["yes" if one else "no" for one in right], groups=[f"g{i // 40}" for i in range(400)])
    _, by_group = resample(METRICS["accuracy"], panel([items], unit="group"))
    assert by_group.std() == pytest.approx(100 * math.sqrt(0.7 * 0.3 / 10), rel=0.03)
    _, by_item = resample(METRICS["accuracy"], panel([items]))
    assert by_item.std() == pytest.approx(100 * math.sqrt(0.7 * 0.3 / 400), rel=0.03)


@examples(max_examples=20)
@given(order=st.permutations(range(len(RIGHT))))
def test_the_order_of_items_does_not_matter(order: list[int]) -> None:
    shuffled = [RIGHT[index] for index in order]
    assert estimate(METRICS["uar"], shuffled, resamples=20) == estimate(METRICS["uar"], RIGHT, resamples=20)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_interval_holds_the_truth_as_often_as_it_says(share: float) -> None:
    held = 0
    for experiment in range(200):
        truth = np.random.default_rng(experiment).random(150) < share
        items = scored(["yes"] * 150, ["yes" if right else "no" for right in truth])
        low, high = estimate(METRICS["accuracy"], items, resamples=400).interval
        held += low <= 100 * share <= high
    assert 0.9 <= held / 200 <= 0.99


@pytest.mark.parametrize(
    ("metric", "label", "answer", "value"),
    [
        ("accuracy", "yes", "yes", 100),
        ("accuracy", "yes", "no", 0),
        ("beat_f_untrimmed", [0.5, 1.0, 1.5], [0.5, 1.0, 1.5], 100),
        ("frame_accuracy", [[0.0, 0.3, "a"]], [[0.0, 0.1, "a"], [0.1, 0.2, "a"], [0.2, 0.3, "a"]], 100),
        ("wer", "one two", "one two", 0),
    ],
)
def test_all_alike(metric: str, label: Any, answer: Any, value: float) -> None:
    """Resampling shows no spread where every item is right; the binomial does."""
    found = estimate(METRICS[metric], scored([label] * 50, [answer] * 50), resamples=50)
    unseen = 100 - 100 * 0.025 ** (1 / 50)
    assert found.value == pytest.approx(value)
    assert found.interval == pytest.approx((100 - unseen, 100) if value else (0, unseen))
    assert found.method == "exact binomial, as no resample of the 50 items differs"


def test_alike_but_not_perfect() -> None:
    """No bound of the metric tells what an item unlike these would be."""
    halves = estimate(METRICS["accuracy"], scored(["yes"] * 50, ["yes"] * 50, ["no"] * 50), resamples=50)
    assert halves.interval == (50, 50)
    assert halves.method == "bootstrap over 50 items, 50 resamples, seed 1234, none of which differs"
    exact = estimate(METRICS["r2"], scored(NUMBERS, NUMBERS), resamples=50)
    assert exact.interval == (1, 1)
    assert exact.method.endswith("none of which differs")


@pytest.mark.parametrize(
    ("items", "asked", "message"),
    [
        (RIGHT[:1], {}, "test items: 1, an interval needs at least 2"),
        (RIGHT, {"unit": "group"}, "unit group: test items without a group: 120, 'clip-0000' among them"),
    ],
)
def test_too_little_to_go_by(items: Sequence[Scored], asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        panel([items], **asked)
    assert message in str(refused.value)


def test_a_metric_without_a_value() -> None:
    with pytest.raises(InputError, match="no resample of the test items has a value"):
        estimate(METRICS["eer"], scored([True, True], [0.1, 0.2]))


# Groups --------------------------------------------------------------------------------------------------------------


def test_equal_groups_have_the_t_interval_of_their_means() -> None:
    right = np.array([0.9, 0.5, 0.7, 0.8, 0.6])[:, None] > np.arange(20) / 20
    items = scored(
        ["yes"] * 100, np.where(right.ravel(), "yes", "no").tolist(), groups=[f"g{i // 20}" for i in range(100)]
    )
    found = estimate(METRICS["accuracy"], items)
    assert found.group_interval == pytest.approx(t_interval((100 * right.mean(1)).tolist()))
    both = scored(["yes"] * 100, *[[item.predictions[0] for item in items]] * 2, groups=[item.group for item in items])
    assert estimate(METRICS["accuracy"], both).group_interval == pytest.approx(found.group_interval)


def test_other_groups_are_held_as_often_as_it_says() -> None:
    """Six groups of unlike sizes, each with its own share of right answers: by group 95 %, over items far fewer."""
    held, naively = 0, 0
    sizes = [10, 20, 30, 30, 40, 50]
    groups = [f"g{group}" for group, size in enumerate(sizes) for _ in range(size)]
    for experiment in range(200):
        random = np.random.default_rng(experiment)
        right = random.random(sum(sizes)) < np.repeat(random.uniform(0.4, 1.0, len(sizes)), sizes)
        items = scored(["yes"] * len(groups), np.where(right, "yes", "no").tolist(), groups=groups)
        found = estimate(METRICS["accuracy"], items, resamples=200)
        low, high = found.group_interval or (0, 0)
        held += low <= 70 <= high
        naively += found.interval[0] <= 70 <= found.interval[1]
    assert 0.9 <= held / 200 <= 0.99
    assert naively / 200 < 0.75


def test_blocks_of_groups_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    items = scored(LABELS, answers(LABELS, 0.7, 1), groups=[f"g{index % 7}" for index in range(len(LABELS))])
    whole = over_groups(METRICS["uar"], items)
    monkeypatch.setattr(significance, "_BLOCK", 15)
    assert over_groups(METRICS["uar"], items) == pytest.approx(whole)


@pytest.mark.parametrize(
    ("metric", "labels", "predictions", "groups"),
    [
        ("accuracy", "abab", "abba", None),
        ("accuracy", "abab", "abba", ["g", "g", "h", None]),
        ("accuracy", "abab", "abba", ["g"] * 4),  # one group
        ("accuracy", "abab", "abba", ["g", "h", "i", "j"]),  # every item its own: what `interval` tells
        ("accuracy", "abab", "bbbb", ["g", "g", "h", "h"]),  # groups are alike
        ("eer", [True, False, False], [0.1, 0.2, 0.3], ["g", "h", "h"]),  # no value without g
    ],
)
def test_groups_that_tell_nothing(metric: str, labels: Any, predictions: Any, groups: Any) -> None:
    assert over_groups(METRICS[metric], scored(labels, predictions, groups=groups)) is None


def test_groups_of_folds_that_are_averaged() -> None:
    """Each fold is one speaker: leaving the speaker out leaves the fold out."""
    shares = [4, 7, 9]
    predictions = ["yes" if place < share else "no" for share in shares for place in range(10)]
    number = [index // 10 for index in range(30)]
    items = scored(["yes"] * 30, predictions, groups=[f"s{one}" for one in number], folds=number)
    found = over_groups(METRICS["accuracy"], items, averaged=True)
    assert found == pytest.approx(t_interval([10 * share for share in shares]))


# Draws of few shots --------------------------------------------------------------------------------------------------


def test_t_interval() -> None:
    values = [70.1, 68.2, 73.9, 71.0, 69.4]
    expected = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert t_interval(values) == pytest.approx(expected)
    assert t_interval([1, 2, 3, 4, 5]) == pytest.approx((1.0367, 4.9633), abs=1e-4)
    with pytest.raises(InputError, match="draws: 1, an interval"):
        t_interval([70.0])


def test_few_shot_intervals_are_over_draws() -> None:
    found = estimate(METRICS["accuracy"], RIGHT, drawn=True)
    assert found.interval == pytest.approx(t_interval(found.values))
    assert found.method == "t over 2 draws of the training clips"


def test_resampled_draws_vary_as_their_mean_does() -> None:
    values = np.array([60.0, 64, 70, 72, 79])
    means = mean_over_draws(np.tile(values, (20_000, 1)), drawn=True)
    assert means.mean() == pytest.approx(values.mean(), abs=0.1)
    assert means.std() == pytest.approx(stats.sem(values), rel=0.02)
    assert mean_over_draws(values[None], drawn=False) == pytest.approx(values.mean())
    assert mean_over_draws(values[:1, None], drawn=True) == pytest.approx(60)


# Tests ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "p", "name"),
    [
        (6, 15, 0.0784, "McNemar, exact"),  # twice the binomial's tail
        (0, 5, 0.0625, "McNemar, exact"),
        (15, 35, 0.00721, "McNemar"),  # chi-square (20 - 1)² / 50
        (12, 12, 1.0, "McNemar, exact"),
        (30, 30, 1.0, "McNemar"),
        (0, 0, 1.0, "McNemar, exact"),
    ],
)
def test_mcnemar(first: int, second: int, p: float, name: str) -> None:
    assert mcnemar(first, second) == (pytest.approx(p, abs=5e-5), name)


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_has_no_favourite(first: int, second: int) -> None:
    assert mcnemar(first, second)[0] == pytest.approx(mcnemar(second, first)[0])
    assert 0 <= mcnemar(first, second)[0] <= 1


def test_two_sided() -> None:
    draws = np.random.default_rng(0).normal(1, 1, 9999)
    assert two_sided(draws) == pytest.approx(2 * stats.norm.cdf(-1), rel=0.05)
    assert two_sided(np.ones(999)) == pytest.approx(2 / 1000)
    assert two_sided(np.zeros(999)) == 1
    assert two_sided(np.array([np.nan, 1, 1, 1])) == pytest.approx(0.5)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50))
def test_a_difference_and_its_opposite_are_one_test(gaps: list[float]) -> None:
    draws = np.array(gaps)
    assert two_sided(draws) == two_sided(-draws)
    low, high = interval(draws)
    assert interval(-draws) == pytest.approx((-high, -low))


def test_a_paired_bootstrap_finds_what_a_paired_t_test_finds() -> None:
    random = np.random.default_rng(5)
    labels = [[float(x)] for x in random.normal(size=300)]
    one, other = ([[x[0] + noise * float(random.normal())] for x in labels] for noise in (0.6, 0.75))
    _, draws = resample(METRICS["r2"], panel([scored(labels, one), scored(labels, other)]))
    errors = [np.square(np.subtract(found, labels)).ravel() for found in (one, other)]
    expected = stats.ttest_rel(*errors).pvalue
    assert two_sided(draws[:, 0] - draws[:, 1]) == pytest.approx(expected, abs=0.01)


def test_benjamini_hochberg() -> None:
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert benjamini_hochberg([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_corrected_values_are_larger_and_in_order(p_values: list[float]) -> None:
    found = benjamini_hochberg(p_values)
    assert all(q >= p - 1e-12 for p, q in zip(p_values, found, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(found)[order]) >= -1e-12).all()


def test_the_evaluator_takes_any_weights() -> None:
    """Twice every item is the same metric."""
    evaluate = evaluator(METRICS["uar"], panel([RIGHT]))
    np.testing.assert_allclose(evaluate(np.full((1, 120), 2.0)), evaluate(np.ones((1, 120))))
