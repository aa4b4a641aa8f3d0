"""Arithmetic of any number of task vectors against a few lines by hand, and against merges of two."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from crossfade.errors import InputError
from crossfade.merging import methods
from crossfade.merging.arithmetic import add, dare, ties, ties_secondary
from crossfade.merging.methods import VECTOR_METHODS, find_vector_method

seeds = st.integers(0, 2**32 - 1)
BASE = torch.zeros(6)
BIG = torch.tensor([4.0, -4.0, 4.0, -4.0, 0.1, 0.1])
SMALL = torch.tensor([-9.0, -8.0, 7.0, 1.0, -1.0, 0.5])


def drawn(seed: int, count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(11, generator=generator) for _ in range(count)]


@given(seeds, st.lists(st.floats(-2, 2), min_size=1, max_size=4))
def test_adding_is_a_weighted_sum(seed: int, weights: list[float]) -> None:
    base, *vectors = drawn(seed, len(weights) + 1)
    expected = base + 0.5 * sum((w * v for w, v in zip(weights, vectors, strict=True)), torch.zeros(11))
    torch.testing.assert_close(add(base, vectors, weights, scale=0.5), expected)


@given(seeds, st.floats(0, 1))
def test_two_vectors_are_what_a_merge_of_two_students_is(seed: int, weight: float) -> None:
    base, one, other = drawn(seed, 3)
    vectors, weights = [one - base, other - base], [weight, 1 - weight]
    merged = methods.task_arithmetic(one, other, base, weight, scale=0.7)
    torch.testing.assert_close(add(base, vectors, weights, scale=0.7), merged)
    torch.testing.assert_close(ties(base, vectors, weights), methods.ties(one, other, base, weight))
    generators = [torch.Generator().manual_seed(seed) for _ in range(2)]
    dropped = dare(base, vectors, weights, generators[0])
    torch.testing.assert_close(dropped, methods.dare(one, other, base, weight, generators[1]))


def test_a_vector_that_is_taken_away_votes_for_the_other_sign() -> None:
    found = ties(BASE, [BIG, BIG], [1.0, -0.5], density=1.0)
    torch.testing.assert_close(found, BIG)
    torch.testing.assert_close(ties(BASE, [BIG], [-2.0], density=1.0), -BIG)


@pytest.mark.parametrize(
    ("conflicts", "expected"),
    [
        # 9 and 8 are the largest third of SMALL; of them 9 * 0.2 disagrees with 4 * 0.8.
        ("zero", [3.2, -4.8, 3.2, -3.2, 0.08, 0.08]),
        ("flip", [5.0, -4.8, 3.2, -3.2, 0.08, 0.08]),
    ],
)
def test_only_the_secondary_vector_is_trimmed_and_gives_way(conflicts: str, expected: list[float]) -> None:
    weights = [0.8, 0.2]
    found = ties_secondary(BASE, [BIG, SMALL], weights, density=1 / 3, conflicts=conflicts)
    torch.testing.assert_close(found, torch.tensor(expected))
    swapped = ties_secondary(BASE, [SMALL, BIG], weights[::-1], density=1 / 3, conflicts=conflicts)
    torch.testing.assert_close(swapped, torch.tensor(expected))


def test_equal_weights_have_no_secondary() -> None:
    torch.testing.assert_close(ties_secondary(BASE, [BIG, SMALL], [0.5, 0.5]), (BIG + SMALL) / 2)
    torch.testing.assert_close(ties_secondary(BASE, [SMALL], [-1.0]), -SMALL)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ties_secondary(BASE, [BIG], [1.0], conflicts="flop"), "did you mean 'flip'?"),
        (lambda: ties(BASE, [BIG], [1.0], density=0.0), "density = 0.0, expected a share"),
        (lambda: dare(BASE, [BIG], [1.0], torch.Generator(), drop=1.0), "drop = 1.0, expected a probability"),
        (lambda: find_vector_method("slerp"), "adds no task vectors"),
    ],
)
def test_what_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        call()


def test_methods_are_registered_with_their_settings() -> None:
    assert {name: dict(found.settings) for name, found in VECTOR_METHODS.items()} == {
        "task-arithmetic": {"scale": 1.0},
        "ties": {"density": 0.2, "scale": 1.0},
        "ties-secondary": {"density": 0.3, "conflicts": "zero", "scale": 1.0},
        "dare": {"drop": 0.9},
    }
