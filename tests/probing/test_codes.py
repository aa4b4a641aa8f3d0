"""Frames in bytes: how far a value may be from its own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from crossfade.probing.codes import HEADER, dequantise, quantise, split_codes


def frames(layers: int, count: int, width: int, seed: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(layers, count, width, generator=generator) * scale + 3 * scale


@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 9), st.integers(0, 99), st.sampled_from([1e-4, 1.0, 1e6]))
def test_no_value_is_further_than_a_510th_of_its_range(layers: int, count: int, width: int, seed: int, scale: float):
    wanted = frames(layers, count, width, seed, scale)
    packed = quantise(wanted)
    assert (packed.dtype, tuple(packed.shape)) == (torch.uint8, (layers, HEADER + count, width))
    codes, ranges = split_codes(packed)
    found = dequantise(codes, ranges)
    bound = (wanted.amax(1) - wanted.amin(1)) / 510 + 1e-5 * wanted.abs().amax(1)
    assert ((found - wanted).abs().amax(1) <= bound).all()


def test_the_largest_and_the_least_value_are_kept() -> None:
    wanted = frames(2, 30, 5, 0)
    found = dequantise(*split_codes(quantise(wanted)))
    torch.testing.assert_close(found.amax(1), wanted.amax(1))
    assert torch.equal(found.amin(1), wanted.amin(1))


def test_what_never_changes_is_kept_exactly() -> None:
    assert torch.equal(dequantise(*split_codes(quantise(torch.full((1, 7, 3), 0.3)))), torch.full((1, 7, 3), 0.3))


@pytest.mark.parametrize("shift", range(4))
def test_bytes_may_start_anywhere(shift: int) -> None:
    packed = quantise(frames(1, 4, 3, 1))
    room = torch.zeros(packed.numel() + shift, dtype=torch.uint8)
    room[shift:] = packed.flatten()
    moved = room[shift:].view(packed.shape)
    assert torch.equal(dequantise(*split_codes(moved)), dequantise(*split_codes(packed)))


def test_a_part_is_a_part_of_the_whole() -> None:
    codes, ranges = split_codes(quantise(frames(2, 20, 3, 2)))
    assert torch.equal(dequantise(codes[:, 5:9], ranges), dequantise(codes, ranges)[:, 5:9])
