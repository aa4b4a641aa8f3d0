"""Tempogram: which distances in time come again around every frame, 50 times a second.

Grosche, Müller and Kurth, "Cyclic tempogram" (2010), the kind by autocorrelation: how strongly something begins, and
how that goes together with itself a little later, in windows of four seconds.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from crossfade.features.signal import Signal, computed
from crossfade.features.spectral import HOP, RATE, SHORTEST, WINDOW, log_mel

STEP = 2
"""Of the spectra, 100 a second, every second one is a frame."""

SPAN = 400
"""Spectra in a window: 4 s."""

SHORTEST_LAG, LONGEST_LAG, LAGS = 5, 200, 64
"""Spectra: distances from 50 ms to 2 s, evenly spaced on a logarithmic scale."""

RANGE = 7.0
"""Nepers of power (30 dB) under a clip's loudest band; what is softer begins and ends unheard."""

SILENCE = 1e-3
"""Sum of squares of onsets in a window under which nothing is told apart."""


def onsets(samples: Tensor) -> Tensor:
    """How much louder it gets, (spectra,) of a clip (samples,) at 16 kHz: log-mel bands' mean rise, in nepers."""
    bands = log_mel(samples)
    rise = bands.clamp_min(bands.max() - RANGE).diff(dim=0).clamp_min(0).mean(1)
    return pad(rise, (1, 0))


def tempogram(samples: Tensor) -> Tensor:
    """Autocorrelation of a clip's onsets around 64 lags (frames, 64), relative to that at lag 0.

    The clip (samples,) at 16 kHz counts as silent outside. Louder or softer sound says the same.
    """
    found = onsets(samples)
    windows = pad(found, (SPAN // 2, SPAN // 2))[:-1].unfold(0, SPAN, STEP)
    windows = (windows - windows.mean(1, keepdim=True)) * torch.hann_window(SPAN).to(found)
    powers = torch.fft.rfft(windows, 2 * SPAN).abs().square()
    correlation = torch.fft.irfft(powers)[:, : LONGEST_LAG + 1]
    shares: Tensor = correlation @ _lags().to(found) / (correlation[:, :1] + SILENCE)
    return shares


def open_tempogram(_: torch.device | None = None) -> Signal:
    """The tempogram as a signal, computed where the clips are."""
    return computed(
        tempogram,
        rate=RATE,
        hop=STEP * HOP,
        width=LAGS,
        offset=(WINDOW - 1) / 2 / RATE,
        minimum_samples=SHORTEST,
    )


@cache
def _lags() -> Tensor:
    """How much every whole lag counts for each of the 64, (201, 64): triangles from neighbour to neighbour."""
    steps = torch.arange(-1, LAGS + 1, dtype=torch.float64) / (LAGS - 1)
    edges = SHORTEST_LAG * (LONGEST_LAG / SHORTEST_LAG) ** steps
    reach = (edges[2:] - edges[:-2]).div(2).clamp_min(1)
    return (1 - (torch.arange(LONGEST_LAG + 1)[:, None] - edges[1:-1]).abs() / reach).clamp_min(0).float()
