"""Recordings of any length as clips of 0.3 to 10 seconds."""

from collections.abc import Iterator

import numpy as np
from audio_pack.sound import RATE, Samples
from probe_tasks.recordings import tidy

SHORTEST, LONGEST = 0.3, 10.0
FRAME = RATE // 20
AUDIBLE = 0.01


def audible(samples: Samples) -> bool:
    """Whether there is a sound, and not only an offset or the noise of a silent recording."""
    return len(samples) > FRAME and bool(np.abs(samples - samples.mean()).max() > AUDIBLE)


def pieces(samples: Samples) -> Iterator[Samples]:
    """The whole recording in order, without silence at its ends, cut where it is quietest as late as it must be.

    A cut is in the middle of the quietest 50 ms of a clip's second five seconds; what ends up too short or silent goes.
    """
    rest = tidy(samples) if audible(samples) else samples[:0]
    while len(rest) > LONGEST * RATE:
        at = _quietest(rest)
        yield from _usable(rest[:at])
        rest = rest[at:]
    yield from _usable(rest)


def _usable(samples: Samples) -> Iterator[Samples]:
    if len(samples) >= SHORTEST * RATE and audible(samples):
        yield samples


def _quietest(samples: Samples) -> int:
    first, last = round(LONGEST / 2 * RATE), round(LONGEST * RATE)
    power = (samples[first:last].reshape(-1, FRAME) ** 2).mean(axis=1)
    return first + int(power.argmin()) * FRAME + FRAME // 2


def middles(seconds: float, part: float, length: float) -> list[float]:
    """Where clips of `length` seconds start: one in the middle of each of the equal parts, nearest to `part` long."""
    count = max(1, round(seconds / part))
    return [max(0.0, (index + 0.5) * seconds / count - length / 2) for index in range(count)]
