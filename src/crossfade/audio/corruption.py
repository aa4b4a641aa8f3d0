"""What can happen to a clip on its way to a listener: a room, then noise under it.

A corruption is data: applied twice it gives the same samples. Nothing here ends a training: what cannot be applied
(a silent clip, a broken or silent recording) is left out, and the reason is given back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Literal

import torch
from scipy.fft import next_fast_len
from torch import Generator, Tensor

from crossfade.audio.batches import check_samples
from crossfade.audio.decode import UnreadableError, audio_seconds
from crossfade.audio.mixing import Mix, mix, read_background, unusable
from crossfade.audio.rooms import Room, impulse_response, reverberate
from crossfade.audio.sources import AudioFile
from crossfade.errors import InputError

Colour = Literal["white", "pink"]

LOWEST = 20.0
"""Hz at which pink noise starts: below, where nobody hears it, would lie nearly half of its power."""


@dataclass(frozen=True)
class MadeNoise:
    """Gaussian noise made from a seed; at another rate the same seed gives other noise."""

    colour: Colour
    seed: int


@dataclass(frozen=True)
class RecordedNoise:
    """A recording, heard from `position` on: 0 is its start, 1 the last start from which it lasts as long as the clip.

    A recording that is shorter than the clip is repeated; there, 1 is its end.
    """

    file: AudioFile
    position: float


@dataclass(frozen=True)
class Corruption:
    """What happens to one clip. `snr`: dB, power of the clip in its room over the power of the noise."""

    noise: MadeNoise | RecordedNoise | None = None
    snr: float = inf
    room: Room | None = None


@dataclass(frozen=True)
class Corrupted:
    """What is heard of a clip: `snr` in dB, infinite without noise; `skipped` says why a room or noise is missing."""

    samples: Tensor
    snr: float
    skipped: tuple[str, ...] = ()


def corrupt(samples: Tensor, rate: int, corruption: Corruption) -> Corrupted:
    """A clip (samples,) float32 at `rate` Hz after its corruption: as long as before, aligned in time.

    The level of the noise is exact over the clip. The sum is not scaled, so it may leave [-1, 1].
    """
    heard, snr, skipped = samples, inf, []
    if corruption.room is not None:
        try:
            heard = reverberate(heard, *impulse_response(corruption.room, rate))
        except InputError as error:
            skipped.append(str(error))
    if corruption.noise is not None:
        try:
            heard = mix(heard, noise_samples(corruption.noise, rate, len(heard)), corruption.snr)
            snr = corruption.snr
        except InputError as error:
            skipped.append(str(error))
    return Corrupted(heard, snr, tuple(skipped))


def hear(samples: Tensor, rate: int, corruptions: tuple[Corruption, Corruption]) -> tuple[Corrupted, Corrupted]:
    """What the student and what the teacher hear of a clip; made once where both hear the same."""
    student = corrupt(samples, rate, corruptions[0])
    return student, student if corruptions[0] == corruptions[1] else corrupt(samples, rate, corruptions[1])


def noise_samples(noise: MadeNoise | RecordedNoise, rate: int, samples: int) -> Tensor:
    """`samples` samples of noise at `rate` Hz, at any level. Raises InputError for a recording that cannot be used."""
    if isinstance(noise, MadeNoise):
        return COLOURS[noise.colour](samples, rate, Generator().manual_seed(noise.seed))
    try:
        seconds = audio_seconds(noise.file)
        spare = seconds - samples / rate
        offset = noise.position * (spare if spare > 0 else seconds)
        heard = read_background(Mix(noise.file, offset, 0.0), rate, samples)
        check_samples(heard, rate, samples)
    except UnreadableError as error:
        raise unusable(noise.file, error) from error
    return heard


def white(samples: int, rate: int, generator: Generator) -> Tensor:
    """Gaussian noise (samples,) of equal power at every frequency."""
    return torch.randn(samples, generator=generator)


def pink(samples: int, rate: int, generator: Generator) -> Tensor:
    """Gaussian noise (samples,) of power 1/f from `LOWEST` Hz on, so of equal power in every octave, and none below.

    The spectrum is drawn and shaped; its length is the next one with a fast Fourier transform.
    """
    length = next_fast_len(max(2, samples), real=True)
    hertz = torch.arange(length // 2 + 1) * (rate / length)
    height = torch.where(hertz >= LOWEST, hertz, torch.inf).rsqrt()
    spectrum = torch.randn(len(hertz), generator=generator, dtype=torch.complex64) * height
    noise: Tensor = torch.fft.irfft(spectrum, n=length)
    return noise[:samples]


COLOURS: dict[Colour, Callable[[int, int, Generator], Tensor]] = {"white": white, "pink": pink}
