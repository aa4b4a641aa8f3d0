"""Recordings become clips: nothing is lost but silence, and nothing is too long, too short or empty."""

import numpy as np
import pytest
from audio_pack.sound import RATE, Samples
from distil_corpora.cutting import LONGEST, SHORTEST, audible, middles, pieces
from hypothesis import given, settings
from hypothesis import strategies as st
from probe_tasks.recordings import tidy


def _noise(seconds: float, seed: int = 0) -> Samples:
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * RATE))
    return np.asarray(samples, dtype=np.float32)


def test_a_long_recording_is_cut_in_its_pauses() -> None:
    samples = _noise(25)
    for pause in (7.0, 14.5):
        samples[round(pause * RATE) : round((pause + 0.2) * RATE)] *= 0.01
    lengths = [len(piece) / RATE for piece in pieces(samples)]
    assert len(lengths) == 4
    assert 7.0 < lengths[0] < 7.2
    assert 14.5 < sum(lengths[:2]) < 14.7
    assert sum(lengths) == pytest.approx(25, abs=0.05)


@settings(max_examples=30)
@given(st.floats(0.0, 32.0), st.integers(0, 3))
def test_pieces_in_a_row_are_the_recording(seconds: float, seed: int) -> None:
    samples = _noise(seconds, seed)
    found = list(pieces(samples))
    assert all(SHORTEST * RATE <= len(piece) <= LONGEST * RATE for piece in found)
    if found:
        whole, joined = tidy(samples), np.concatenate(found)
        np.testing.assert_array_equal(joined, whole[: len(joined)])
        assert len(whole) - len(joined) < SHORTEST * RATE


def test_a_short_recording_stays_whole() -> None:
    (piece,) = pieces(_noise(2.0))
    np.testing.assert_array_equal(piece, tidy(_noise(2.0)))


@pytest.mark.parametrize("level", [0.0, 0.25])
def test_silence_is_no_clip_whatever_its_offset(level: float) -> None:
    silence = np.full(5 * RATE, level, dtype=np.float32)
    assert not audible(silence)
    assert list(pieces(silence)) == []


def test_stretches_without_sound_are_left_out() -> None:
    samples = _noise(30)
    samples[round(5 * RATE) : round(25 * RATE)] = 0
    assert sum(len(piece) for piece in pieces(samples)) < 20 * RATE


@given(st.floats(10.0, 600.0))
def test_stretches_are_even_inside_the_song_and_apart(seconds: float) -> None:
    starts = middles(seconds, 30.0, 10.0)
    assert len(starts) == max(1, round(seconds / 30))
    assert starts[0] >= 0
    assert starts[-1] + 10 <= seconds + 1e-6
    np.testing.assert_allclose(np.diff(starts), seconds / len(starts))
    assert seconds < 45 or min(np.diff(starts)) >= 20
