"""Impulse responses, recorded and made, and clips in them."""

from collections.abc import Callable
from math import nan
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crossfade.audio.rooms import DECAYS, DIRECTS, MadeRoom, impulse_response, reverberate
from crossfade.audio.sources import AudioFile
from crossfade.errors import InputError

Write = Callable[..., Path]


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def power(samples: torch.Tensor) -> float:
    return float(samples.double().square().mean())


@given(st.integers(1, 3000), st.integers(1, 900), st.data())
def test_a_clip_is_convolved_in_place_and_keeps_its_power(samples: int, length: int, data: st.DataObject) -> None:
    clip, response = noise(samples), noise(length, 1)
    direct = data.draw(st.integers(0, length - 1))
    heard = reverberate(clip, response, direct)
    wanted = np.convolve(clip.double().numpy(), response.double().numpy())[direct : direct + samples]
    wanted *= np.sqrt(power(clip) / np.mean(wanted**2))
    assert heard.dtype == torch.float32
    torch.testing.assert_close(heard.double(), torch.from_numpy(wanted), atol=1e-4, rtol=1e-4)
    assert power(heard) == pytest.approx(power(clip), rel=1e-5)


def test_a_direct_path_alone_changes_nothing(write: Write) -> None:
    clip = noise(2000)
    for height in (0.01, 0.9):
        recorded = np.zeros(500)
        recorded[137] = height
        room = AudioFile("room", write(f"{height}.wav", recorded, subtype="FLOAT"))
        torch.testing.assert_close(reverberate(clip, *impulse_response(room, 16000)), clip, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
def test_a_recorded_room_is_heard_at_the_rate_of_the_clip(write: Write, rate: int) -> None:
    room = np.zeros(4800)
    room[[960, 2880]] = 0.8, -0.4  # the direct path at 20 ms, one reflection 40 ms later
    response, direct = impulse_response(AudioFile("room", write("room.wav", room, 48000, "FLOAT")), rate)
    assert direct == round(0.02 * rate)
    assert int(response.argmin()) == round(0.06 * rate)
    assert float(response.min() / response.max()) == pytest.approx(-0.5, abs=0.01)


def decay_seconds(response: torch.Tensor, rate: int) -> float:
    """RT60 from the fall of what is yet to come (Schroeder) between -5 and -25 dB."""
    left = response.double().square().flip(0).cumsum(0).flip(0)
    level = (10 * torch.log10(left / left[0])).numpy()
    fit = (level < -5) & (level > -25)
    return -60 / float(np.polyfit(np.arange(len(level))[fit] / rate, level[fit], 1)[0])


@given(st.floats(*DECAYS), st.floats(*DIRECTS), st.integers(0, 2**63 - 1), st.sampled_from([16000, 24000]))
def test_a_made_room_decays_as_told(decay: float, direct: float, seed: int, rate: int) -> None:
    response, arrival = impulse_response(MadeRoom(decay, direct, seed), rate)
    assert arrival == 0 == int(response.abs().argmax())
    assert len(response) == 1 + round(decay * rate)
    tail = response[1:]
    assert 10 * float(torch.log10(response[0] ** 2 / tail.double().square().sum())) == pytest.approx(direct, abs=1e-4)
    assert decay_seconds(tail, rate) == pytest.approx(decay, rel=0.15)


def test_made_rooms_decay_as_told_on_average() -> None:
    found = [decay_seconds(impulse_response(MadeRoom(0.5, 0.0, seed), 16000)[0][1:], 16000) for seed in range(100)]
    assert np.mean(found) == pytest.approx(0.5, rel=0.01)


def test_a_made_room_is_its_seed() -> None:
    first, again, other = (impulse_response(MadeRoom(0.3, 5.0, seed), 16000)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("samples", [np.zeros(100), np.full(100, nan), np.array([0.1, np.inf]), np.zeros(0)])
def test_a_room_that_cannot_be_used(write: Write, samples: NDArray[np.float64]) -> None:
    room = AudioFile("cave.wav", write("cave.wav", samples, subtype="FLOAT"))
    with pytest.raises(InputError, match=r"cave\.wav: an impulse response that is silent or not finite; leave it out"):
        impulse_response(room, 16000)


def test_a_room_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cave\.wav: cannot be opened: .*; leave it out of the rooms"):
        impulse_response(AudioFile("cave.wav", tmp_path / "cave.wav"), 16000)


@pytest.mark.parametrize("clip", [torch.zeros(10), torch.zeros(0), torch.full((10,), nan)])
def test_a_clip_that_no_room_can_be_heard_in(clip: torch.Tensor) -> None:
    for response in (torch.ones(1), torch.ones(3)):
        with pytest.raises(InputError, match="reverberate: the clip is silent or not finite"):
            reverberate(clip, response, 0)
