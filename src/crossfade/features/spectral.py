"""Spectra as features: the baselines that need no model, and what Whisper hears."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from crossfade.features.signal import Signal, computed

RATE, BANDS = 16000, 80
WINDOW, HOP, TRANSFORM = 400, 160, 512
"""Samples: windows of 25 ms every 10 ms, transformed with zeros up to 512."""

PREEMPHASIS = 0.97
FLOOR = 1.1920928955078125e-07
SHORTEST = WINDOW + HOP
"""Samples of two frames: a deviation over time needs that many."""


def log_mel(samples: Tensor) -> Tensor:
    """Log-mel energies (frames, 80) of a clip (samples,) at 16 kHz, as Kaldi computes them.

    Frames of 25 ms every 10 ms that lie wholly in the clip, each without its mean, pre-emphasised by 0.97 and weighted
    by Kaldi's window (Hann to the power of 0.85); 80 triangles in mel from 20 Hz to 8 kHz over the powers; natural log.
    """
    frames = samples.unfold(0, WINDOW, HOP)
    frames = frames - frames.mean(1, keepdim=True)
    before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    window = torch.hann_window(WINDOW, periodic=False, device=samples.device).pow(0.85)
    powers = torch.fft.rfft((frames - PREEMPHASIS * before) * window, TRANSFORM).abs().square()
    bands = mel_filters(TRANSFORM, BANDS, "kaldi").to(samples.device)
    energies: Tensor = powers @ bands
    return energies.clamp_min(FLOOR).log()


def fbank(samples: Tensor) -> Tensor:
    """SUPERB's FBANK baseline (frames, 240): log-mel, its deltas and theirs, scaled over the clip.

    As s3prl computes it: deltas over five frames, then mean 0 and variance 1 over time for every channel of every clip.
    The mean over time of this is zero, whatever was said: heads on mean-pooled features have nothing to learn from, and
    that is why SUPERB reports FBANK at chance for speakers, intents and emotions. `logmel` is the fairer baseline.
    """
    static = log_mel(samples)
    delta = _deltas(static)
    channels = torch.cat([static, delta, _deltas(delta)], dim=1)
    return (channels - channels.mean(0)) / (channels.std(0) + 1e-10)


def open_log_mel(_: torch.device | None = None) -> Signal:
    """Log-mel energies as a signal."""
    return _signal(log_mel, BANDS)


def open_fbank(_: torch.device | None = None) -> Signal:
    """SUPERB's FBANK as a signal."""
    return _signal(fbank, 3 * BANDS)


def _signal(compute: Callable[[Tensor], Tensor], width: int) -> Signal:
    return computed(compute, rate=RATE, hop=HOP, width=width, offset=(WINDOW - 1) / 2 / RATE, minimum_samples=SHORTEST)


def whisper_mel(samples: Tensor, bands: int) -> Tensor:
    """What Whisper hears of a clip (samples,) at 16 kHz: (bands, samples // 160), as WhisperFeatureExtractor makes it.

    The clip's loudest band sets the floor, eight decades below.
    """
    window = torch.hann_window(WINDOW, device=samples.device)
    spectrum = torch.stft(samples, WINDOW, HOP, window=window, return_complex=True)
    powers = mel_filters(WINDOW, bands, "slaney").to(samples.device).T @ spectrum[:, :-1].abs().square()
    log = powers.clamp_min(1e-10).log10()
    return (log.clamp_min(float(log.max()) - 8.0) + 4.0) / 4.0


@cache
def mel_filters(transform: int, bands: int, scale: str) -> Tensor:
    """Triangles (transform // 2 + 1, bands) at 16 kHz: `kaldi` (from 20 Hz, in mel) or `slaney` (of equal area)."""
    from transformers.audio_utils import mel_filter_bank

    kaldi = scale == "kaldi"
    filters = mel_filter_bank(
        num_frequency_bins=transform // 2 + 1,
        num_mel_filters=bands,
        min_frequency=20.0 if kaldi else 0.0,
        max_frequency=RATE / 2,
        sampling_rate=RATE,
        norm=None if kaldi else "slaney",
        mel_scale=scale,
        triangularize_in_mel_space=kaldi,
    )
    return torch.from_numpy(filters).float()


def _deltas(channels: Tensor) -> Tensor:
    """Slope over five frames (frames, channels), the edges repeated: sum of n (x[t + n] - x[t - n]) / 10."""
    slope = torch.tensor([-0.2, -0.1, 0.0, 0.1, 0.2], device=channels.device)
    return conv1d(pad(channels.T[:, None], (2, 2), mode="replicate"), slope[None, None])[:, 0].T
