"""What takes the place of tuned prompts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossfade.errors import InputError
from crossfade.prompts import modes

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(2, 12))
SEEDS = st.integers(0, 2**31)


def drawn(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_every_mode_has_a_function() -> None:
    assert all(callable(getattr(modes, mode)) for mode in modes.MODES)
    vectors = drawn((1, 4, 8), 0)
    assert torch.equal(modes.keep(vectors), vectors)
    assert modes.remove(vectors) is None


@given(shape=SHAPES, seed=SEEDS)
def test_random_vectors_are_as_long(shape: tuple[int, ...], seed: int) -> None:
    vectors = drawn(shape, 0)
    found = modes.random(vectors, seed)
    torch.testing.assert_close(found.norm(dim=-1), vectors.norm(dim=-1))
    assert torch.equal(found, modes.random(vectors, seed))
    assert not torch.equal(found, modes.random(vectors, seed + 1))


@given(shape=SHAPES, seed=SEEDS)
def test_shuffled_vectors_are_the_same(shape: tuple[int, ...], seed: int) -> None:
    vectors = drawn(shape, 0)
    found = modes.shuffled(vectors, seed)
    order = [next(i for i in range(shape[1]) if torch.equal(vectors[0, i], one)) for one in found[0]]
    assert sorted(order) == list(range(shape[1]))
    assert torch.equal(found, vectors[:, order])


@given(shape=SHAPES, share=st.floats(0, 1))
def test_between_two_prompts(shape: tuple[int, ...], share: float) -> None:
    one, other = drawn(shape, 0), drawn(shape, 1)
    assert torch.equal(modes.interpolated(one, other, 0.0), one)
    assert torch.equal(modes.interpolated(one, other, 1.0), other)
    assert torch.equal(modes.swapped(one, other), other)
    torch.testing.assert_close(modes.interpolated(one, other, share), (1 - share) * one + share * other)


def test_prompts_that_cannot_take_each_others_place() -> None:
    line = "1x3x8 cannot take the place of 1x4x8"
    with pytest.raises(InputError, match=line):
        modes.swapped(drawn((1, 4, 8), 0), drawn((1, 3, 8), 0))
    with pytest.raises(InputError, match=line):
        modes.interpolated(drawn((1, 4, 8), 0), drawn((1, 3, 8), 0), 0.5)
