"""basic-pitch: which notes sound, which begin, and where pitch goes between them.

Bittner et al., "A lightweight instrument-agnostic model for polyphonic note transcription and multipitch estimation"
(2022): a constant-Q spectrum, seen at eight harmonics at once, and a small convolutional network. Here as PyTorch
modules with the weights of the package basic-pitch, whose TensorFlow and ONNX need not be there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.signal import firwin2
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from crossfade.features.signal import Signal
from crossfade.features.tensor_bundle import open_bundle
from crossfade.features.weights import installed_file, load_tensorflow, parameters

REQUIREMENT = "basic-pitch==0.4.0"
WEIGHTS = "saved_models/icassp_2022/nmp/variables/variables.index"

RATE, HOP = 22050, 256
WINDOW, FRAMES = 2 * RATE - HOP, 172
"""Samples that the network hears at a time, and the frames that it makes of them."""

MARGIN, KEPT = 15, FRAMES - 2 * 15
"""Frames at either end of a window that its neighbours hear better, and those between."""

NOTES, PER_SEMITONE = 88, 3
WIDTH = NOTES + NOTES + NOTES * PER_SEMITONE
PER_OCTAVE, OCTAVES, BINS = 12 * PER_SEMITONE, 9, 309
LOWEST = 27.5
"""Hz: A0, the piano's lowest key; the spectrum's 309 bins reach from there to 10.3 kHz."""

HARMONICS = (0.5, 1, 2, 3, 4, 5, 6, 7)
KERNEL, LOWPASS, BLOCK = 256, 256, 64
"""Samples of the top octave's kernels and of the filter before every halving of the rate; filtered ones at a time."""

_BATCH_NORM_EPSILON = 1e-3
_TOGETHER = {"cpu": 1, "cuda": 64}  # windows heard at a time; a processor has no use for more
_KERAS = "layer_with_weights-{}/{{}}/.ATTRIBUTES/VARIABLE_VALUE"
LAYERS = {
    name: _KERAS.format(number)
    for number, name in enumerate(
        (
            "input_norm",
            "contour_hidden",
            "contour_norm",
            "contour",
            "note_hidden",
            "onset_hidden",
            "onset_norm",
            "note",
            "onset",
        )
    )
}
"""What TensorFlow calls the network's layers: Keras counts them."""


class BasicPitch(nn.Module):
    """The network, from windows of sound to probabilities."""

    kernels: Tensor
    lowpass: Tensor
    scales: Tensor

    def __init__(self) -> None:
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=_BATCH_NORM_EPSILON)
        every_third = (1, PER_SEMITONE)
        self.input_norm = norm(1)
        self.contour_hidden = nn.Conv2d(len(HARMONICS), 8, (3, 39), padding="same")
        self.contour_norm = norm(8)
        self.contour = nn.Conv2d(8, 1, 5, padding="same")
        self.note_hidden = nn.Conv2d(1, 32, 7, every_third, padding=(3, 2))
        self.note = nn.Conv2d(32, 1, (7, 3), padding="same")
        self.onset_hidden = nn.Conv2d(len(HARMONICS), 32, 5, every_third, padding=(2, 1))
        self.onset_norm = norm(32)
        self.onset = nn.Conv2d(33, 1, 3, padding="same")
        kernels, lowpass, scales = _kernels()
        self.register_buffer("kernels", kernels, persistent=False)
        self.register_buffer("lowpass", lowpass, persistent=False)
        self.register_buffer("scales", scales, persistent=False)

    def forward(self, windows: Tensor) -> Tensor:
        """Probabilities (windows, 172, 440) for windows of sound (windows, 43844)."""
        bins = self.input_norm(normalised_log(self.constant_q(windows)).float()[:, None])
        stacked = harmonics(bins).contiguous(memory_format=torch.channels_last)  # three times as fast on processors
        contour = self.contour(relu(self.contour_norm(self.contour_hidden(stacked)))).sigmoid()
        note = self.note(relu(self.note_hidden(contour))).sigmoid()
        begins = relu(self.onset_norm(self.onset_hidden(stacked)))
        onset = self.onset(torch.cat([note, begins], dim=1)).sigmoid()
        return torch.cat([note, onset, contour], dim=3)[:, 0]

    def constant_q(self, windows: Tensor) -> Tensor:
        """Constant-Q magnitudes (windows, 172, 309), float64: one octave's kernels, over sound at ever half the rate.

        In float64, because the weakest bins, which rounding would fill, set the scale of the whole window afterwards.
        """
        stream, hop, octaves = windows.double(), HOP, list[Tensor]()
        for _ in range(OCTAVES):
            padded = pad(stream, (KERNEL // 2, KERNEL // 2), mode="reflect")
            real, imaginary = (padded.unfold(1, KERNEL, hop) @ self.kernels).chunk(2, dim=2)
            octaves.insert(0, torch.hypot(real, imaginary))
            stream, hop = self.halve(stream), hop // 2
        return torch.cat(octaves, dim=2)[..., -BINS:] * self.scales

    def halve(self, stream: Tensor) -> Tensor:
        """Sound (windows, samples) at half its rate, filtered before; silent outside.

        A product of matrices that gives `BLOCK` samples a row: PyTorch's convolution takes twenty times as long.
        """
        reach = LOWPASS // 2 - 1
        padded = pad(stream, (reach, reach + 2 * BLOCK))
        rows = padded.unfold(1, len(self.lowpass), 2 * BLOCK) @ self.lowpass
        return rows.flatten(1)[:, : stream.shape[1] // 2]


def normalised_log(magnitudes: Tensor) -> Tensor:
    """Decibels, scaled so that each window's (frames, bins) reach from 0 to 1; all 0 where all are equal."""
    decibels = 10 * (magnitudes.square() + 1e-10).log10()
    above = decibels - decibels.amin((1, 2), keepdim=True)
    return above / above.amax((1, 2), keepdim=True).clamp_min(torch.finfo(above.dtype).tiny)


def harmonics(bins: Tensor) -> Tensor:
    """From (windows, 1, frames, 309) to (windows, 8, frames, 264): a channel for every harmonic, zero past the top."""
    shifts = [round(PER_OCTAVE * math.log2(harmonic)) for harmonic in HARMONICS]
    width = NOTES * PER_SEMITONE
    padded = pad(bins, (-shifts[0], width + shifts[-1] - BINS))
    return torch.cat([padded[..., shift - shifts[0] :][..., :width] for shift in shifts], dim=1)


@dataclass(frozen=True)
class BasicPitchListener:
    """Frames of clips of any length, from windows of two seconds that overlap.

    As the package does it, but for one thing: there windows follow one another by 36,164 samples and give 36,352
    samples' worth of frames, so that the frames of every further window come 8.5 ms too early. Here they follow by
    what they give, and frame i is always that of sample 256 i.
    """

    model: BasicPitch

    def __call__(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """(1, frames, 440) of every clip (samples,) at 22,050 Hz: notes, their beginnings, and contours."""
        windows = [_windows(clip) for clip in clips]
        pieces = torch.split(torch.cat(windows), _TOGETHER[clips[0].device.type])
        heard = torch.cat([self.model(piece)[:, MARGIN : MARGIN + KEPT] for piece in pieces])
        parts = torch.split(heard, [len(cut) for cut in windows])
        frames = [math.ceil(len(clip) / HOP) for clip in clips]
        return [part.flatten(0, 1)[None, :count] for part, count in zip(parts, frames, strict=True)]


def open_basic_pitch(device: torch.device, weights: Path | None = None) -> Signal:
    """basic-pitch as a signal; `weights` is a variables.index of TensorFlow, else that of the installed package.

    Raises InputError: the package is not installed, or its weights are damaged or of another shape.
    """
    bundle = open_bundle(weights or installed_file("basic_pitch", WEIGHTS, REQUIREMENT))
    model = BasicPitch()
    load_tensorflow(model, bundle, LAYERS)
    return Signal(
        listen=BasicPitchListener(model.to(device)),
        rate=RATE,
        hop=HOP,
        layers=1,
        width=WIDTH,
        parameters=parameters(model),
        sha256=bundle.sha256(),
    )


def _windows(clip: Tensor) -> Tensor:
    """A clip (samples,) as (windows, 43844), silence before and after it."""
    count = math.ceil(len(clip) / (KEPT * HOP))
    before, samples = MARGIN * HOP, (count - 1) * KEPT * HOP + WINDOW
    return pad(clip, (before, samples - before - len(clip))).unfold(0, WINDOW, KEPT * HOP)


def _kernels() -> tuple[Tensor, Tensor, Tensor]:
    """The top octave's cosines and sines (256, 72), the filter (382, 64), and what the bins are scaled by (309,).

    As nnAudio's CQT2010v2 makes them; librosa's scale of a bin is the root of its window's length.
    """
    quality = 1 / (2 ** (1 / PER_OCTAVE) - 1)
    lengths = np.ceil(quality * RATE / (LOWEST * 2.0 ** (np.arange(BINS) / PER_OCTAVE)))
    found = np.zeros((2, PER_OCTAVE, KERNEL))
    for row, number in enumerate(range(BINS - PER_OCTAVE, BINS)):
        length = int(lengths[number])
        frequency = LOWEST * 2.0 ** (number / PER_OCTAVE)
        times = np.arange(length) - math.ceil(length / 2)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
        angles = 2 * np.pi * frequency / RATE * times
        start = math.ceil((KERNEL - length) / 2) - length % 2
        found[:, row, start : start + length] = np.stack([np.cos(angles), np.sin(angles)]) * window / window.sum()
    taps = firwin2(LOWPASS, [0.0, 0.5 / 1.001, 0.5 * 1.001, 1.0], [1.0, 1.0, 0.0, 0.0])
    lowpass = np.stack([np.pad(taps, (2 * place, 2 * (BLOCK - 1 - place))) for place in range(BLOCK)], axis=1)
    return torch.from_numpy(found).flatten(0, 1).T, torch.from_numpy(lowpass), torch.from_numpy(lengths).sqrt()
