"""Constant-Q spectrum and chroma: how strong every note sounds, 50 times a second.

Brown, "Calculation of a constant Q spectral transform" (1991): bins a quarter tone apart, each heard through a window
that holds the same number of its periods. Here the sums are taken as they are defined, sample by sample, an octave of
bins in one product of matrices: on one core that takes about half a hundredth of their length.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from crossfade.features.signal import Signal, computed

RATE, HOP = 16000, 320
PER_OCTAVE, OCTAVES = 24, 7.75
LOWEST = 440.0 * 2 ** (-45 / 12)
"""Hz: C1, the lowest bin; the highest is a quarter tone below A8 (7040 Hz), where its window still hears no 8 kHz."""

BINS, CLASSES = int(PER_OCTAVE * OCTAVES), 12
QUALITY = 1 / (2 ** (1 / PER_OCTAVE) - 1)
"""A bin's frequency over its distance to the next: so many periods does its window hold."""

FLOOR = 1e-5
"""Magnitude below which nothing is told apart, 100 dB under a full-scale tone."""


def frequencies() -> Tensor:
    """Hz of the bins (186,), float64; even ones are the notes of the equally tempered scale at A4 = 440 Hz."""
    return LOWEST * 2.0 ** (torch.arange(BINS, dtype=torch.float64) / PER_OCTAVE)


def constant_q(samples: Tensor) -> Tensor:
    """Natural log of constant-Q magnitudes (frames, 186) of a clip (samples,) at 16 kHz.

    Frame i is heard around the middle of samples 320 i to 320 (i + 1); there are as many as fit in the clip, which
    counts as silent outside. A tone of amplitude 1 on a bin has magnitude 1 there; magnitudes under 1e-5 count as that.
    Windows are Hann's, `QUALITY` periods long: 1.04 s at the lowest bin, 5 ms at the highest.
    """
    found: Tensor = magnitudes(samples).clamp_min(FLOOR).log()
    return found


def chroma(samples: Tensor) -> Tensor:
    """How the sound of a clip (samples,) is spread over the twelve pitch classes from C to B: (frames, 12).

    Energies of the constant-Q spectrum summed over octaves, a bin between two notes counting half for either; their
    roots, scaled to Euclidean length 1 a frame. Where no note reaches 1e-5 the twelve are zero, or near it.
    """
    energies = magnitudes(samples).square() @ _classes().to(samples.device)
    lengths = energies.sum(1, keepdim=True).sqrt().clamp_min(FLOOR)
    return energies.sqrt() / lengths


def magnitudes(samples: Tensor) -> Tensor:
    """Constant-Q magnitudes (frames, 186) of a clip (samples,), as `constant_q` takes the log of."""
    octaves = []
    for kernels in _kernels(samples.device):
        reach = (len(kernels) - HOP) // 2
        frames = pad(samples, (max(reach, 0), max(reach, 0)))[max(-reach, 0) :].unfold(0, len(kernels), HOP)
        real, imaginary = (frames[: len(samples) // HOP] @ kernels).chunk(2, dim=1)
        octaves.append(torch.hypot(real, imaginary))
    return torch.cat(octaves, dim=1)


def open_constant_q(_: torch.device | None = None) -> Signal:
    """The log constant-Q spectrum as a signal, computed where the clips are."""
    return _signal(constant_q, BINS)


def open_chroma(_: torch.device | None = None) -> Signal:
    """The twelve pitch classes as a signal, computed where the clips are."""
    return _signal(chroma, CLASSES)


def _signal(compute: Callable[[Tensor], Tensor], width: int) -> Signal:
    return computed(compute, rate=RATE, hop=HOP, width=width, offset=HOP / 2 / RATE, minimum_samples=HOP)


@cache
def _kernels(device: torch.device) -> tuple[Tensor, ...]:
    """For each octave (window, 2 x bins): the bins' windowed cosines, then their sines; `window` is even."""
    found = []
    for octave in torch.split(frequencies(), PER_OCTAVE):
        lengths = QUALITY * RATE / octave
        longest = 2 * math.ceil(float(lengths[0]) / 2)
        # Samples lie in the middle of their 1/16000 s, and so none lies in the middle of a window.
        times = (torch.arange(longest) - (longest - 1) / 2).double()[:, None]
        windows = torch.where(times.abs() < lengths / 2, (math.pi * times / lengths).cos().square(), 0.0)
        angles = 2 * math.pi * times * octave / RATE
        scaled = 2 * windows / windows.sum(0)
        found.append(torch.cat([scaled * angles.cos(), scaled * angles.sin()], dim=1).float().to(device))
    return tuple(found)


@cache
def _classes() -> Tensor:
    """What share of a bin's energy counts for a pitch class, (186, 12)."""
    steps = torch.arange(BINS)
    shares = torch.zeros(BINS, CLASSES)
    for neighbour in (steps // 2, (steps + 1) // 2):
        shares[steps, neighbour % CLASSES] += 0.5
    return shares
