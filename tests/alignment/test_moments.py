"""Streaming moments against numpy, whatever the chunks and their order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossfade.alignment.moments import CrossMoments

FIELDS = ("mean_a", "mean_b", "squares_a", "squares_b", "products")


def frames(seed: int, count: int, size: int = 5) -> tuple[Tensor, Tensor]:
    """Correlated frames of two models, with means far from zero."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(count, size, generator=generator) * torch.linspace(0.1, 3.0, size) + torch.linspace(-20, 20, size)
    b = a @ torch.randn(size, size, generator=generator) + torch.randn(count, size, generator=generator)
    return a, b


def added(chunks: list[CrossMoments]) -> CrossMoments:
    sums = chunks[0]
    for chunk in chunks[1:]:
        sums.add(chunk)
    return sums


def assert_same(ours: CrossMoments, theirs: CrossMoments) -> None:
    assert ours.frames == theirs.frames
    for field in FIELDS:
        torch.testing.assert_close(getattr(ours, field), getattr(theirs, field), rtol=1e-5, atol=1e-3)


@settings(max_examples=50)
@given(seed=st.integers(0, 9999), lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6), data=st.data())
def test_chunks_add_up_in_any_order(seed: int, lengths: list[int], data: st.DataObject) -> None:
    a, b = frames(seed, sum(lengths))
    chunks = list(zip(a.split(lengths), b.split(lengths), strict=True))
    whole = CrossMoments.of(a, b)
    assert_same(added([CrossMoments.of(*chunk) for chunk in chunks]), whole)
    assert_same(added([CrossMoments.of(*chunk) for chunk in data.draw(st.permutations(chunks))]), whole)


@settings(max_examples=50)
@given(seed=st.integers(0, 9999), count=st.integers(3, 200), cut=st.integers(1, 199))
def test_the_correlation_is_numpy_s(seed: int, count: int, cut: int) -> None:
    a, b = frames(seed, count)
    cut = min(cut, count - 1)
    moments = added([CrossMoments.of(a[:cut], b[:cut]), CrossMoments.of(a[cut:], b[cut:])])
    expected = np.corrcoef(a.double().T, b.double().T)[:5, 5:]
    np.testing.assert_allclose(moments.correlation(), expected, atol=2e-5)


def test_central_sums() -> None:
    a, b = frames(0, 300)
    moments = CrossMoments.of(a, b)
    assert moments.frames == 300
    assert all(getattr(moments, field).dtype == torch.float64 for field in FIELDS if field != "products")
    np.testing.assert_allclose(moments.mean_a, a.double().mean(0), rtol=1e-9)
    np.testing.assert_allclose(moments.squares_b, 300 * b.double().numpy().var(0), rtol=1e-5)
    np.testing.assert_allclose(moments.products, 299 * np.cov(a.double().T, b.double().T)[:5, 5:], atol=1e-2)


def test_a_large_mean_hides_no_small_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(4000, 1, generator=generator)
    a = 1000 + 0.1 * torch.cat((signal, -signal, torch.randn(4000, 1, generator=generator)), 1)
    moments = added([CrossMoments.of(chunk, chunk) for chunk in a.split(100)])
    expected = np.corrcoef(a.double().T)
    np.testing.assert_allclose(moments.correlation(), expected, atol=1e-4)
    assert expected[0, 1] < -0.999


def test_a_channel_that_never_moves_correlates_with_nothing() -> None:
    a, b = frames(1, 64)
    a[:, 2], b[:, 4] = 0.1, -7.3
    moments = added([CrossMoments.of(x, y) for x, y in zip(a.split(16), b.split(16), strict=True)])
    correlation = moments.correlation()
    assert correlation[2].abs().max() == 0
    assert correlation[:, 4].abs().max() == 0
    assert correlation.isfinite().all()
    assert correlation[0, 0] == pytest.approx(np.corrcoef(a[:, 0], b[:, 0])[0, 1], abs=1e-5)


def test_equal_channels_correlate_fully_and_never_more() -> None:
    a, _ = frames(2, 100)
    correlation = CrossMoments.of(a, -2 * a).correlation()
    torch.testing.assert_close(correlation.diagonal(), -torch.ones(5, dtype=torch.float64), atol=1e-6, rtol=0)
    assert correlation.abs().max() <= 1.0


def test_no_frames_change_nothing() -> None:
    a, b = frames(0, 30)
    moments = added([CrossMoments.of(a, b), CrossMoments.of(a[:0], b[:0])])
    assert_same(moments, CrossMoments.of(a, b))
