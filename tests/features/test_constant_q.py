"""Constant-Q against its definition, on tones, and what must not change it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from crossfade.features.constant_q import (
    BINS,
    FLOOR,
    HOP,
    LOWEST,
    QUALITY,
    RATE,
    chroma,
    constant_q,
    frequencies,
    magnitudes,
    open_chroma,
    open_constant_q,
)

NOTES = range(0, BINS, 2)


def tone(frequency: float, seconds: float = 1.2, phase: float = 0.4) -> Tensor:
    times = torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE
    return torch.sin(2 * math.pi * frequency * times + phase).float()


def noise(samples: int, seed: int = 0) -> Tensor:
    return 0.3 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def test_bins_are_quarter_tones_from_c1() -> None:
    found = frequencies()
    assert len(found) == 186
    assert float(found[0]) == pytest.approx(32.7032, abs=1e-4)
    assert float(found[90]) == pytest.approx(440.0)
    assert float(found[24] / found[0]) == pytest.approx(2.0)
    # The main lobe of the highest window, two of its bins wide to either side, ends under half the rate.
    assert float(found[-1]) * (1 + 2 / QUALITY) < RATE / 2


def test_every_semitone_is_strongest_on_its_own_bin_and_has_its_amplitude_there() -> None:
    for bin_ in NOTES:
        middle = magnitudes(tone(float(frequencies()[bin_])))[30]
        assert int(middle.argmax()) == bin_
        assert float(middle[bin_]) == pytest.approx(1.0, abs=2e-3)
        assert int(chroma(tone(float(frequencies()[bin_])))[30].argmax()) == bin_ // 2 % 12


def test_values_are_those_of_the_definition() -> None:
    clip, heard = noise(16000), None
    heard = magnitudes(clip)
    places = (np.arange(len(clip)) + 0.5) / RATE  # the middle of every sample, in seconds
    for bin_ in (0, 1, 50, 95, 139, 140, 185):
        frequency = LOWEST * 2 ** (bin_ / 24)
        length = QUALITY / frequency
        grid = (np.arange(-9000, 9000) + 0.5) / RATE
        total = np.where(np.abs(grid) < length / 2, np.cos(np.pi * grid / length) ** 2, 0).sum()
        for frame in (0, 7, 24, 49):
            times = places - (frame + 0.5) * HOP / RATE
            window = np.where(np.abs(times) < length / 2, np.cos(np.pi * times / length) ** 2, 0)
            value = 2 / total * (window * clip.double().numpy() * np.exp(-2j * np.pi * frequency * times)).sum()
            assert float(heard[frame, bin_]) == pytest.approx(abs(value), abs=1e-6)


@given(gain=st.floats(0.01, 100.0), seed=st.integers(0, 50))
def test_a_gain_adds_a_constant(gain: float, seed: int) -> None:
    clip = noise(4000, seed)
    soft, loud = constant_q(clip), constant_q(gain * clip)
    above = (soft > math.log(FLOOR)) & (loud > math.log(FLOOR))
    assert float(above.float().mean()) > 0.99
    torch.testing.assert_close((loud - soft)[above], torch.full_like(soft[above], math.log(gain)), atol=1e-3, rtol=0)
    torch.testing.assert_close(chroma(gain * clip), chroma(clip), atol=1e-4, rtol=0)


@given(frames=st.integers(0, 20), samples=st.integers(HOP, 6000))
def test_silence_before_moves_frames_and_changes_none(frames: int, samples: int) -> None:
    clip = noise(samples)
    late = constant_q(torch.cat([torch.zeros(frames * HOP), clip]))
    assert late.shape == (frames + samples // HOP, BINS)
    # Sums are taken in another order where there are other frames, and the log of a faint bin shows it.
    torch.testing.assert_close(late[frames:], constant_q(clip), atol=1e-4, rtol=0)


def test_silence_is_finite() -> None:
    assert torch.equal(constant_q(torch.zeros(3200)), torch.full((10, BINS), math.log(FLOOR)))
    assert torch.equal(chroma(torch.zeros(3200)), torch.zeros(10, 12))


def test_chroma_knows_no_octave_and_has_length_one() -> None:
    chord = sum(tone(float(frequencies()[bin_])) for bin_ in (72, 80, 86))  # C4, E4, G4
    above = sum(tone(float(frequencies()[bin_])) for bin_ in (96, 104, 110))
    for sound in (chord, above):
        middle = chroma(sound)[30]
        assert sorted(middle.topk(3).indices.tolist()) == [0, 4, 7]
        assert float(middle.norm()) == pytest.approx(1.0, abs=1e-5)
    between = chroma(tone(float(frequencies()[73])))[30]
    assert float(between[0]) == pytest.approx(float(between[1]), rel=0.05)


@pytest.mark.parametrize(("opened", "width"), [(open_constant_q(), BINS), (open_chroma(), 12)])
def test_clips_together_are_heard_as_if_alone(opened, width: int) -> None:
    clips = [noise(samples, samples) for samples in (HOP, 5000, 639, 16000)]
    for clip, found in zip(clips, opened.listen(clips), strict=True):
        assert found.shape == (1, len(clip) // HOP, width)
        assert torch.equal(found, opened.listen([clip])[0])
    assert (opened.rate, opened.layers, opened.width, opened.minimum_samples) == (RATE, 1, width, HOP)
    assert (opened.frames_per_second, opened.offset, opened.sha256) == (50.0, 0.01, None)
