"""Rooms and noise on clips: levels, colours, and what is left out."""

from collections.abc import Callable
from dataclasses import replace
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossfade.audio.corruption import (
    COLOURS,
    LOWEST,
    Colour,
    Corruption,
    MadeNoise,
    RecordedNoise,
    corrupt,
    hear,
    noise_samples,
)
from crossfade.audio.rooms import MadeRoom, Room
from crossfade.audio.sources import AudioFile

Write = Callable[..., Path]

RATE = 16000
SEEDS = st.integers(0, 2**63 - 1)


def noise(samples: int, seed: int = 0, level: float = 0.1) -> torch.Tensor:
    return level * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def power(samples: torch.Tensor) -> float:
    return float(samples.double().square().mean())


def recording(write: Write, samples: torch.Tensor, name: str = "hum.wav") -> AudioFile:
    return AudioFile(name, write(name, samples.numpy(), subtype="FLOAT"))


def level(clip: torch.Tensor, corruption: Corruption) -> float:
    """The level in dB that can be measured: of the clip in its room over what the noise adds to it."""
    alone = corrupt(clip, RATE, replace(corruption, noise=None)).samples
    added = corrupt(clip, RATE, corruption).samples.double() - alone.double()
    return 10 * float(np.log10(power(alone) / power(added)))


# Levels ---------------------------------------------------------------------------------------------------------------

ROOMS = st.none() | st.builds(MadeRoom, st.floats(0.2, 0.8), st.floats(0, 10), SEEDS)
NOISES = st.builds(MadeNoise, st.sampled_from(sorted(COLOURS)), SEEDS)


@given(st.integers(1, 3000), NOISES, st.floats(-20, 40), ROOMS, st.floats(1e-3, 1e3))
def test_the_level_is_exact_to_a_hundredth(
    samples: int, made: MadeNoise, snr: float, room: Room | None, loudness: float
) -> None:
    clip = noise(samples, level=loudness)
    before = clip.clone()
    corruption = Corruption(made, snr, room)
    heard = corrupt(clip, RATE, corruption)
    assert level(clip, corruption) == pytest.approx(snr, abs=0.01)
    assert heard.snr == snr
    assert not heard.skipped
    assert heard.samples.dtype == torch.float32
    assert heard.samples.shape == clip.shape
    assert torch.equal(corrupt(clip, RATE, corruption).samples, heard.samples)
    assert torch.equal(clip, before)


@pytest.mark.parametrize("snr", [-20.0, 0.0, 12.3, 40.0])
def test_the_level_over_a_recording_is_exact(write: Write, snr: float) -> None:
    file = recording(write, noise(30000, 1))
    assert level(noise(20000), Corruption(RecordedNoise(file, 0.3), snr)) == pytest.approx(snr, abs=0.01)


def test_nothing_to_do() -> None:
    clip = noise(1000)
    heard = corrupt(clip, RATE, Corruption())
    assert (heard.snr, heard.skipped) == (inf, ())
    assert torch.equal(heard.samples, clip)


def test_the_room_comes_before_the_noise() -> None:
    clip, made, room = noise(8000), MadeNoise("white", 7), MadeRoom(0.4, 3.0, 9)
    both = corrupt(clip, RATE, Corruption(made, 5.0, room)).samples
    in_room = corrupt(clip, RATE, Corruption(room=room))
    assert in_room.snr == inf
    assert power(in_room.samples) == pytest.approx(power(clip), rel=1e-5)
    torch.testing.assert_close(both, corrupt(in_room.samples, RATE, Corruption(made, 5.0)).samples)


# Colours --------------------------------------------------------------------------------------------------------------


def octave_levels(colour: Colour, rate: int) -> torch.Tensor:
    """dB in the octaves from 31.25 Hz on that `rate` holds, the mean of twenty seeds."""
    samples = 8 * rate
    octaves = [31.25 * 2**number for number in range(20) if 31.25 * 2 ** (number + 1) <= rate / 2]
    hertz = torch.fft.rfftfreq(samples, 1 / rate)
    spectra = torch.stack([
        torch.fft.rfft(noise_samples(MadeNoise(colour, seed), rate, samples).double()).abs().square()
        for seed in range(20)
    ]).mean(0)  # fmt: skip
    return 10 * torch.log10(torch.stack([spectra[(hertz >= low) & (hertz < 2 * low)].sum() for low in octaves]))


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
@pytest.mark.parametrize(("colour", "rise"), [("white", 10 * np.log10(2)), ("pink", 0.0)])
def test_every_octave_has_its_share(colour: Colour, rise: float, rate: int) -> None:
    found = octave_levels(colour, rate)
    assert len(found) in (7, 8)
    steps = found.diff()
    assert float(steps.mean()) == pytest.approx(rise, abs=0.02)
    assert float((steps - rise).abs().max()) < 0.3


def test_pink_noise_is_one_over_f_in_every_bin_and_nothing_below_hearing() -> None:
    made = torch.stack([COLOURS["pink"](1600, RATE, torch.Generator().manual_seed(seed)) for seed in range(4000)])
    hertz = torch.fft.rfftfreq(1600, 1 / RATE).double()
    flat = torch.fft.rfft(made.double()).abs().square().mean(0) * hertz
    assert float(flat[hertz < LOWEST].max()) < 1e-8 * float(flat.mean())
    assert float(flat[hertz >= LOWEST][:-1].std() / flat[2:-1].mean()) < 0.02  # 4,000 draws: 1/sqrt(4000) is 0.016


def test_noise_is_gaussian_and_its_seed() -> None:
    for colour in COLOURS:
        made = noise_samples(MadeNoise(colour, 1), RATE, 100_000).double()
        assert float((made**4).mean() / (made**2).mean() ** 2) == pytest.approx(3, abs=0.2)
        assert torch.equal(noise_samples(MadeNoise(colour, 1), RATE, 100_000).double(), made)
        assert not torch.equal(noise_samples(MadeNoise(colour, 2), RATE, 100_000).double(), made)


@given(st.integers(1, 5000), st.sampled_from(sorted(COLOURS)))
def test_any_length_can_be_made(samples: int, colour: Colour) -> None:
    made = noise_samples(MadeNoise(colour, 0), RATE, samples)
    assert made.shape == (samples,)
    assert made.isfinite().all()
    assert made.any()


# Recordings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("position", "start"), [(0.0, 0), (0.5, 2000), (1.0, 4000)])
def test_a_long_recording_is_heard_without_a_seam(write: Write, position: float, start: int) -> None:
    sound = noise(5000)
    heard = noise_samples(RecordedNoise(recording(write, sound), position), RATE, 1000)
    torch.testing.assert_close(heard, sound[start : start + 1000])


def test_a_short_recording_is_repeated(write: Write) -> None:
    sound = noise(400)
    heard = noise_samples(RecordedNoise(recording(write, sound), 0.25), RATE, 1000)
    torch.testing.assert_close(heard, sound.repeat(4)[100:1100])


# What is left out -----------------------------------------------------------------------------------------------------

BOTH = Corruption(MadeNoise("pink", 0), 5.0, MadeRoom(0.3, 5.0, 0))


def test_a_silent_clip_is_left_as_it_is() -> None:
    heard = corrupt(torch.zeros(1000), RATE, BOTH)
    assert not heard.samples.any()
    assert heard.snr == inf
    room, under = heard.skipped
    assert room.startswith("reverberate: the clip is silent")
    assert under.startswith("mix: the clip is silent")


@pytest.mark.parametrize(
    ("sound", "says"),
    [
        (torch.zeros(9000), "silent for 0.0625 s from 0.25 s on"),
        (noise(9000, level=1e-6), "silent: RMS 9.8e-07"),
        (torch.cat([noise(5000), torch.full((4000,), nan)]), None),
        (torch.full((9000,), nan), "non-finite: NaN or Inf samples"),
        (torch.full((9000,), inf), "non-finite: NaN or Inf samples"),
        (torch.zeros(0), "silent"),
    ],
)
def test_a_recording_without_a_level_is_left_out(write: Write, sound: torch.Tensor, says: str | None) -> None:
    file = recording(write, sound)
    heard = corrupt(noise(1000), RATE, replace(BOTH, noise=RecordedNoise(file, 0.5)))
    assert heard.samples.isfinite().all()
    if says is None:
        assert (heard.snr, heard.skipped) == (5.0, ())
        return
    (reason,) = heard.skipped
    assert reason.startswith(f"hum.wav: {says}")
    assert reason.endswith("leave it out of the backgrounds")
    assert heard.snr == inf
    assert torch.equal(heard.samples, corrupt(noise(1000), RATE, replace(BOTH, noise=None)).samples)


def test_files_that_cannot_be_read_are_left_out_each_alone(tmp_path: Path) -> None:
    clip, missing = noise(1000), AudioFile("gone.wav", tmp_path / "gone.wav")
    heard = corrupt(clip, RATE, replace(BOTH, noise=RecordedNoise(missing, 0.0)))
    assert heard.skipped == ("gone.wav: cannot be opened: No such file or directory; leave it out of the backgrounds",)
    assert torch.equal(heard.samples, corrupt(clip, RATE, replace(BOTH, noise=None)).samples)
    heard = corrupt(clip, RATE, replace(BOTH, room=missing))
    assert heard.skipped == ("gone.wav: cannot be opened: No such file or directory; leave it out of the rooms",)
    assert heard.snr == 5.0
    assert torch.equal(heard.samples, corrupt(clip, RATE, replace(BOTH, room=None)).samples)


# Two listeners --------------------------------------------------------------------------------------------------------


def test_what_both_hear_is_made_once() -> None:
    clip, other = noise(1000), Corruption(MadeNoise("white", 3), 5.0)
    student, teacher = hear(clip, RATE, (BOTH, replace(BOTH)))
    assert student is teacher
    student, teacher = hear(clip, RATE, (BOTH, Corruption()))
    assert torch.equal(student.samples, corrupt(clip, RATE, BOTH).samples)
    assert torch.equal(teacher.samples, clip)
    student, teacher = hear(clip, RATE, (BOTH, other))
    assert torch.equal(teacher.samples, corrupt(clip, RATE, other).samples)
