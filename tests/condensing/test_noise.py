"""Noise that is even over the points of each class."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossfade.condensing.noise import even_noise


def draw(classes: list[int], channels: int, seed: int = 0) -> torch.Tensor:
    return even_noise(torch.tensor(classes), channels, torch.Generator().manual_seed(seed))


def test_each_class_has_no_mean_and_unit_covariance() -> None:
    found = draw([1, 0, 0, 1, 1] * 8, 4)
    for own in (found[::5], found[1::5]):
        assert own.abs().max() > 0.1
    ones = found[torch.tensor([1, 0, 0, 1, 1] * 8) == 1].double()
    torch.testing.assert_close(ones.mean(0), torch.zeros(4).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(ones.T @ ones / len(ones), torch.eye(4).double(), atol=1e-5, rtol=0)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 6), st.integers(0, 9))
def test_the_total_variance_is_kept_however_few_there_are(classes: list[int], channels: int, seed: int) -> None:
    found = draw(classes, channels, seed)
    assert found.isfinite().all()
    for number in {*classes}:
        own = found[torch.tensor(classes) == number]
        assert own.mean(0).abs().max() < 1e-4
        wanted = channels if len(own) > 1 else 0
        assert float(own.square().sum(1).mean()) == pytest.approx(wanted, rel=1e-3)


def test_the_seed_decides() -> None:
    assert torch.equal(draw([0] * 9, 3, 5), draw([0] * 9, 3, 5))
    assert not torch.equal(draw([0] * 9, 3, 5), draw([0] * 9, 3, 6))
    assert draw([4], 3).tolist() == [[0, 0, 0]]
