"""Every metric against the package that everyone uses for it, and the sums against the values."""

from typing import Any

import jiwer
import mir_eval
import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq

from crossfade.errors import InputError
from crossfade.probing.metrics import METRICS, SEMITONES, key_score

KEYS = [f"{tonic} {mode}" for tonic in SEMITONES for mode in ("major", "minor")]
SEEDS = st.integers(0, 10_000)
few = settings(max_examples=25)
WORDS = st.lists(st.sampled_from(["a", "bc", "d", "ef"]), min_size=1, max_size=6).map(" ".join)


def names(seed: int, count: int, classes: int = 4) -> tuple[list[str], list[str]]:
    """Labels and predictions, about half of them right."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count)
    found = np.where(random.random(count) < 0.5, labels, random.integers(classes, size=count))
    return [f"c{label}" for label in labels], [f"c{label}" for label in found]


def tagged(seed: int, count: int, tags: int = 3) -> tuple[np.ndarray, np.ndarray, list[Any], list[Any]]:
    """Which tags items have and scores with ties, as matrices and as labels and predictions."""
    random = np.random.default_rng(seed)
    has = random.random((count, tags)) < 0.4
    has[:2] = [[True] * tags, [False] * tags]
    scores = np.round(random.random((count, tags)) + 0.3 * has, 1)
    labels = [tuple(f"t{tag}" for tag in np.flatnonzero(row)) for row in has]
    return has, scores, labels, [{f"t{tag}": score for tag, score in enumerate(row)} for row in scores.tolist()]


def numbers(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.normal(100, 3, (count, 2))
    return labels, labels + random.normal(0.5, 2, (count, 2))


@few
@given(SEEDS, st.integers(4, 40))
def test_classes(seed: int, count: int) -> None:
    labels, found = names(seed, count)
    assert METRICS["accuracy"].value(labels, found) == pytest.approx(100 * np.mean(np.array(labels) == found))
    by_class = sklearn.metrics.recall_score(labels, found, labels=sorted(set(labels)), average="macro")
    assert METRICS["uar"].value(labels, found) == pytest.approx(100 * by_class)


def test_slots_are_right_together() -> None:
    labels = [("on", "light"), ("off", "light"), ("on", "music")]
    found = [["on", "light"], ["off", "music"], ["on", "music"]]
    assert METRICS["slot_accuracy"].value(labels, found) == pytest.approx(200 / 3)


def test_key_scores_are_mir_evals() -> None:
    ours = torch.tensor([[key_score(label, found) for found in KEYS] for label in KEYS])
    theirs = torch.tensor([[mir_eval.key.weighted_score(label, found) for found in KEYS] for label in KEYS])
    torch.testing.assert_close(ours, theirs)
    assert METRICS["key_score"].value(["C major"] * 2, ["C major", "G major"]) == 75


@pytest.mark.parametrize("key", ["H major", "C dorian", "", "Cmajor"])
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(InputError, match=f"key '{key}': expected a tonic"):
        key_score("C major", key)


@few
@given(SEEDS, st.integers(3, 30))
def test_r2(seed: int, count: int) -> None:
    labels, found = numbers(seed, count)
    expected = sklearn.metrics.r2_score(labels, found)
    assert METRICS["r2"].value(labels.tolist(), found.tolist()) == pytest.approx(expected)
    still = np.column_stack([np.full(count, 7.0), labels[:, 0]])
    for guess in (still, np.column_stack([found[:, 0], labels[:, 0]])):
        expected = sklearn.metrics.r2_score(still, guess)
        assert METRICS["r2"].value(still.tolist(), guess.tolist()) == pytest.approx(expected)


@few
@given(SEEDS, st.integers(5, 40))
def test_tags(seed: int, count: int) -> None:
    has, scores, labels, found = tagged(seed, count)
    weights = np.random.default_rng(seed).integers(1, 4, count)
    for metric, theirs in (
        ("roc_auc", sklearn.metrics.roc_auc_score),
        ("average_precision", sklearn.metrics.average_precision_score),
    ):
        assert METRICS[metric].value(labels, found) == pytest.approx(theirs(has, scores))
        expected = theirs(has, scores, sample_weight=weights)
        assert METRICS[metric].value(labels, found, weights) == pytest.approx(expected)


def test_a_tag_that_all_have_or_none_is_left_out() -> None:
    _, _, labels, found = tagged(0, 20)
    more = [{**scores, "none": 0.3, "all": 0.2} for scores in found]
    labels = [(*tags, "all") for tags in labels]
    for metric in ("roc_auc", "average_precision"):
        assert METRICS[metric].value(labels, more) == METRICS[metric].value(labels, found)


@few
@given(SEEDS, st.integers(4, 60))
def test_equal_error_rate_is_where_the_roc_curve_crosses(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    same = random.random(count) < 0.5
    same[:2] = [True, False]
    scores = np.round(random.random(count) + 0.3 * same, 2)
    alarms, hits, _ = sklearn.metrics.roc_curve(same, scores)
    expected = brentq(lambda rate: 1 - rate - interp1d(alarms, hits)(rate), 0, 1)
    found = METRICS["eer"].value(same.tolist(), scores.tolist())
    assert found == pytest.approx(100 * expected, abs=1e-6)
    assert METRICS["eer"].value(same.tolist(), (-scores).tolist()) == pytest.approx(100 - found)


def test_equal_error_rate_by_hand() -> None:
    same, scores = [True, True, False, True, False, False], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert METRICS["eer"].value(same, scores) == pytest.approx(100 / 3)
    assert METRICS["eer"].value([True, False], [1.0, 0.0]) == 0
    assert METRICS["eer"].value([True, False], [0.0, 1.0]) == 100
    assert METRICS["eer"].value([True, False], [0.5, 0.5]) == 50


@few
@given(st.lists(st.tuples(WORDS, st.one_of(WORDS, st.just(""))), min_size=1, max_size=8))
def test_edits_are_jiwers(pairs: list[tuple[str, str]]) -> None:
    labels, found = [label for label, _ in pairs], [guess for _, guess in pairs]
    words = METRICS["wer"].value(labels, found)
    assert words == pytest.approx(100 * jiwer.wer(labels, found))
    assert METRICS["per"].value(labels, found) == words
    assert METRICS["cer"].value(labels, found) == pytest.approx(100 * jiwer.cer(labels, found))
    longest = max(len(text.split()) for pair in pairs for text in pair)
    assert 0 <= words <= 100 * longest
    assert (words == 0) == (labels == found)


def test_frames_count_by_time() -> None:
    labels = [((0.0, 1.0, "a"), (1.0, 1.5, "b")), ((0.5, 1.0, "a"),)]
    found = [((0.0, 0.75, "a"), (0.75, 2.0, "b")), ((0.0, 1.0, "b"),)]
    assert METRICS["frame_accuracy"].value(labels, found) == pytest.approx(100 * 1.25 / 2)
    assert METRICS["frame_accuracy"].value([[[0.0, 1.0, "a"]]], [[[0.0, 1.0, "a"]]]) == 100
    assert METRICS["frame_accuracy"].value(labels[:1], [()]) == 0


@few
@given(SEEDS)
def test_beats_are_mir_evals(seed: int) -> None:
    random = np.random.default_rng(seed)
    label, found = (np.sort(random.random(40) * 20) for _ in range(2))
    expected = mir_eval.beat.f_measure(mir_eval.beat.trim_beats(label), mir_eval.beat.trim_beats(found))
    assert METRICS["beat_f"].value([tuple(label)], [tuple(found)]) == pytest.approx(100 * expected)
    assert METRICS["beat_f_untrimmed"].value([label], [found]) == 100 * mir_eval.beat.f_measure(label, found)


def test_beats_before_five_seconds_are_not_judged() -> None:
    assert METRICS["beat_f"].value([(1.0, 2.0)], [(1.0, 2.0)]) == 0
    assert METRICS["beat_f_untrimmed"].value([(1.0, 2.0), (1.0,)], [(1.0, 2.0), ()]) == 50


def example(metric: str, seed: int, count: int) -> tuple[list[Any], list[Any]]:
    """Labels and predictions of the right form for a metric."""
    labels, found = names(seed, count)
    random = np.random.default_rng(seed)
    times = np.sort(random.random((2, count, 30)) * 20, axis=-1)
    made: dict[str, tuple[list[Any], list[Any]]] = {
        "slot_accuracy": ([*zip(labels, found, strict=True)], [*zip(labels, labels, strict=True)]),
        "key_score": ([*random.choice(KEYS, count)], [*random.choice(KEYS, count)]),
        "r2": tuple(part.tolist() for part in numbers(seed, count)),
        "eer": ([True, False, *(random.random(count - 2) < 0.5)], [*random.random(count)]),
        "frame_accuracy": ([((0.0, 1.0, name),) for name in labels], [((0.5, 1.5, name),) for name in found]),
        "beat_f": (times[0].tolist(), times[1].tolist()),
    }
    made |= dict.fromkeys(("roc_auc", "average_precision"), tagged(seed, count)[2:])
    made |= dict.fromkeys(("wer", "cer", "per"), ([f"{a} x" for a in labels], [f"x {b}" for b in found]))
    made["beat_f_untrimmed"] = made["beat_f"]
    return made.get(metric, (labels, found))


@pytest.mark.parametrize("name", METRICS)
def test_weights_are_repetitions(name: str) -> None:
    metric, count = METRICS[name], 12
    labels, found = example(name, 3, count)
    draws = torch.from_numpy(np.random.default_rng(0).integers(0, 4, (5, count)))
    values = metric.values(labels, found, draws)
    assert values.dtype == torch.float64
    for weights, value in zip(draws, values, strict=True):
        chosen = torch.arange(count).repeat_interleave(weights).tolist()
        repeated = metric.value([labels[item] for item in chosen], [found[item] for item in chosen])
        assert value == pytest.approx(repeated, rel=1e-9)
        assert metric.value(labels, found, weights) == pytest.approx(repeated, rel=1e-9)
    assert metric.value(labels, found, [1.0] * count) == metric.value(labels, found)


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.parts])
def test_parts_add_up(name: str) -> None:
    metric = METRICS[name]
    assert metric.parts is not None
    assert metric.combine is not None
    labels, found = example(name, 5, 12)
    sums = metric.parts(labels, found)
    assert sums.dtype == torch.float64
    both = torch.stack([sums.sum(0), sums.repeat(2, 1).sum(0)])
    whole = metric.value(labels, found)
    torch.testing.assert_close(metric.combine(both), torch.full((2,), whole, dtype=torch.float64))
