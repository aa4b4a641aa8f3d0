"""Rooms: impulse responses, recorded or made, and what a clip sounds like in one.

A room never delays a clip and never makes it louder: the direct path stays where the sound was, and the power is kept.
"""

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor
from torch.nn.functional import pad

from crossfade.audio.decode import UnreadableError, read_audio
from crossfade.audio.sources import AudioFile
from crossfade.errors import InputError

DECAYS = (0.2, 0.8)
"""Seconds in which the reverberation of a made room falls by 60 dB (RT60): our reading, an office to a lecture hall."""
DIRECTS = (0.0, 10.0)
"""Level of a made room's direct path over all of its reverberation, in dB: our reading, a speaker 1 to 3 m away."""


@dataclass(frozen=True)
class MadeRoom:
    """A room without a recording: `decay` in seconds, see `DECAYS`; `direct` in dB, see `DIRECTS`."""

    decay: float
    direct: float
    seed: int


Room = MadeRoom | AudioFile
"""Made, or the recording of an impulse response (several channels are averaged)."""


def impulse_response(room: Room, rate: int) -> tuple[Tensor, int]:
    """The response (samples,) of a room at `rate` Hz, and the sample at which its direct path arrives: the loudest.

    Raises InputError for a recording that cannot be decoded, is silent or not finite.
    """
    if isinstance(room, MadeRoom):
        return _made(room, rate), 0
    try:
        response = read_audio(room, rate)
    except UnreadableError as error:
        raise InputError(f"{room.name}: {error}; leave it out of the rooms") from error
    if not (len(response) and 0 < float(response.abs().max()) < torch.inf):
        raise InputError(f"{room.name}: an impulse response that is silent or not finite; leave it out of the rooms")
    return response, int(response.abs().argmax())


def _made(room: MadeRoom, rate: int) -> Tensor:
    """1, then Gaussian noise that decays by 60 dB in `room.decay` seconds, `room.direct` dB below it in all."""
    time = torch.arange(1, max(2, round(room.decay * rate)) + 1) / rate
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(room.seed))
    tail = noise * 10 ** (-3 * time / room.decay)
    return torch.cat([torch.ones(1), tail / tail.norm() * 10 ** (-room.direct / 20)])


def reverberate(clip: Tensor, response: Tensor, direct: int) -> Tensor:
    """`clip` (samples,) convolved with a response whose direct path arrives at sample `direct`, as long as it was.

    The direct path stays in place and the mean power is the clip's. Raises InputError when the clip is silent.
    """
    heard = convolve(clip, response)[direct : direct + len(clip)]
    powers = clip.double().square().mean(), heard.double().square().mean()
    if not (powers[0] > 0 and powers[1] > 0):
        raise InputError("reverberate: the clip is silent or not finite, so no room can be heard; leave it out")
    return heard * (powers[0] / powers[1]).sqrt().to(heard.dtype)


def convolve(clip: Tensor, response: Tensor) -> Tensor:
    """All of (clip * response), (samples + response samples - 1,): block by block through the Fourier transform.

    Every block overlaps the one before by what the response still remembers of it (overlap-save).
    """
    memory, length = len(response) - 1, len(clip) + len(response) - 1
    size = 1 << (4 * len(response) - 1).bit_length()
    step = size - memory
    blocks = max(1, ceil(length / step))
    overlapping = pad(clip, (memory, blocks * step - len(clip))).unfold(0, size, step)
    heard: Tensor = torch.fft.irfft(torch.fft.rfft(overlapping) * torch.fft.rfft(response, n=size), n=size)
    return heard[:, memory:].flatten()[:length]
