"""Trials of verification: clips are drawn, not pairs, against other clips of the same speakers."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from crossfade.probing.metrics import METRICS
from crossfade.probing.results import Scored
from crossfade.probing.significance import counts, estimate, evaluator, panel, resample


def voices(count: int, *noises: float, seed: int = 0) -> tuple[list[int], list[list[list[float]]]]:
    """Speakers of clips, four of each, and for each noise an embedding of every clip."""
    speakers = [clip // 4 for clip in range(count)]
    own = np.random.default_rng(1).normal(size=(count, 8))[speakers]
    random = np.random.default_rng(seed)
    return speakers, [(own + noise * random.normal(size=own.shape)).tolist() for noise in noises]


def trials(speakers: Sequence[int], columns: Sequence[Any], pairs: Sequence[tuple[int, int]]) -> tuple[Scored, ...]:
    """What a verification task's result has of each pair of clips."""
    return tuple(
        Scored(
            id=f"clip {one:03d} | clip {other:03d}",
            label=speakers[one] == speakers[other],
            predictions=tuple(
                float(np.dot(clips[one], clips[other]) / np.linalg.norm(clips[one]) / np.linalg.norm(clips[other]))
                for clips in columns
            ),
        )
        for one, other in pairs
    )


def every_pair(count: int) -> list[tuple[int, int]]:
    return list(combinations(range(count), 2))


def as_items(pairs: Sequence[Scored]) -> list[Scored]:
    """The same without clips' names."""
    return [item.model_copy(update={"id": f"{place:06d}"}) for place, item in enumerate(pairs)]


def width(found: tuple[float, float]) -> float:
    return found[1] - found[0]


def test_pairs_count_as_often_as_their_clips_together() -> None:
    speakers, columns = voices(12, 0.8)
    items = trials(speakers, columns, every_pair(12))
    answered = panel([items])
    assert (answered.count, answered.of) == (12, "clips")
    (drawn,) = counts(12, 5, 3)
    for row, value in zip(drawn.astype(int), evaluator(METRICS["eer"], answered)(drawn)[:, 0], strict=True):
        again = [
            item for item, (one, other) in zip(items, every_pair(12), strict=True) for _ in range(row[one] * row[other])
        ]
        expected = METRICS["eer"].value([item.label for item in again], [item.predictions[0] for item in again])
        assert value == pytest.approx(expected)


def test_few_clips_are_few_however_many_pairs() -> None:
    speakers, columns = voices(24, 0.8)
    items = trials(speakers, columns, every_pair(24))
    found, naive = (estimate(METRICS["eer"], one) for one in (items, as_items(items)))
    assert found.value == naive.value
    assert width(found.interval) > 1.1 * width(naive.interval)
    assert found.method == "bootstrap over 24 clips, 1,000 resamples, seed 1234"
    assert naive.method == "bootstrap over 276 items, 1,000 resamples, seed 1234"


def test_pairs_that_share_no_clip_are_items() -> None:
    speakers, columns = voices(400, 0.8, 1.0)
    apart = [(clip, clip + 1) for clip in range(0, 200, 2)] + [(clip, clip + 100) for clip in range(200, 300)]
    items = trials(speakers, columns, apart)
    (values, draws), (same, naive) = (resample(METRICS["eer"], panel([one])) for one in (items, as_items(items)))
    np.testing.assert_array_equal(values, same)
    assert draws.std(0) == pytest.approx(naive.std(0), rel=0.05)
    assert np.quantile(draws, [0.025, 0.975], axis=0) == pytest.approx(
        np.quantile(naive, [0.025, 0.975], axis=0), abs=1.5
    )
    assert (draws[:, 1] - draws[:, 0]).std() == pytest.approx((naive[:, 1] - naive[:, 0]).std(), rel=0.05)


def test_other_clips_vary_as_much_as_is_told() -> None:
    """New clips of the same speakers: over clips the spread is right, over pairs half of it."""
    values, told, naive = [], [], []
    for experiment in range(40):
        speakers, columns = voices(40, 0.8, seed=experiment)
        items = trials(speakers, columns, every_pair(40))
        (value,), draws = resample(METRICS["eer"], panel([items]), 100)
        values.append(value)
        told.append(np.nanstd(draws))
        naive.append(np.nanstd(resample(METRICS["eer"], panel([as_items(items)]), 100)[1]))
    assert np.mean(told) / np.std(values) == pytest.approx(1, abs=0.25)
    assert np.mean(naive) / np.std(values) < 0.85


def test_draws_without_both_kinds_of_pair_are_skipped() -> None:
    speakers = [0, 0, 1, 2]
    embedded = np.random.default_rng(0).normal(size=(1, 4, 3)).tolist()
    _, draws = resample(METRICS["eer"], panel([trials(speakers, embedded, every_pair(4))]), 1000, seed=3)
    (drawn,) = counts(4, 1000, 3)
    both = (drawn[:, :2] > 0).all(1) & (drawn[:, 2:].sum(1) > 0)
    assert len(draws) == both.sum() < 400
    assert np.isfinite(draws).all()


def test_a_perfect_verification() -> None:
    speakers, columns = voices(16, 0.0)
    found = estimate(METRICS["eer"], trials(speakers, columns, every_pair(16)))
    assert found.interval == pytest.approx((0, 100 - 100 * 0.025 ** (1 / 16)))
    assert found.method == "exact binomial, as no resample of the 16 clips differs"
