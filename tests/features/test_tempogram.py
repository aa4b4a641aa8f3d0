"""Tempogram: clicks that come again, and what must not change it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossfade.features.tempogram import LAGS, LONGEST_LAG, RATE, SHORTEST_LAG, open_tempogram, tempogram


def clicks(period: float, seconds: float = 6.0) -> Tensor:
    """Noise bursts of 20 ms over faint noise, one every `period` seconds."""
    generator = torch.Generator().manual_seed(0)
    sound = 1e-3 * torch.randn(round(seconds * RATE), generator=generator)
    for start in torch.arange(0.1, seconds - 0.1, period).tolist():
        place = round(start * RATE)
        sound[place : place + 320] += 0.3 * torch.randn(320, generator=generator)
    return sound


def seconds_of(lag: int) -> float:
    return SHORTEST_LAG * (LONGEST_LAG / SHORTEST_LAG) ** (lag / (LAGS - 1)) / 100


@pytest.mark.parametrize("period", [0.3, 0.5, 0.8])
def test_the_strongest_lag_is_the_period(period: float) -> None:
    found = tempogram(clicks(period))
    middle = found[len(found) // 2]
    assert seconds_of(int(middle.argmax())) == pytest.approx(period, rel=0.04)
    assert float(middle.max()) > 0.25
    assert float(middle[int(middle.argmax()) // 2]) < 0.05


@settings(max_examples=10)
@given(gain=st.floats(0.1, 3.0))
def test_loudness_does_not_matter(gain: float) -> None:
    sound = clicks(0.4, 3.0)
    torch.testing.assert_close(tempogram(gain * sound), tempogram(sound), atol=1e-5, rtol=0)


def test_silence_has_no_tempo() -> None:
    assert float(tempogram(torch.zeros(RATE)).abs().max()) == 0


def test_a_signal_of_50_frames_a_second() -> None:
    signal = open_tempogram()
    sound = clicks(0.5)
    (heard,) = signal.listen([sound])
    assert heard.shape == (1, (len(sound) - 400) // 160 // 2 + 1, LAGS)
    assert (signal.rate, signal.hop, signal.width, signal.frames_per_second) == (16000, 320, 64, 50)
    assert signal.listen([sound[: signal.minimum_samples]])[0].shape == (1, 1, LAGS)
