"""musicnn: what a music tagger hears in every sixtieth of a second, and the tags that it gives to every three seconds.

Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging" (2019), section 2: kernels
that are tall (timbre) or long (tempo), three convolutions over time, and two dense layers over a patch's mean and
maximum. Here as PyTorch modules with the weights of the package musicnn, whose TensorFlow 1 need not be there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from crossfade.features.signal import Signal
from crossfade.features.spectral import mel_filters
from crossfade.features.tensor_bundle import open_bundle
from crossfade.features.weights import installed_file, load_tensorflow, parameters

Corpus = Literal["mtt", "msd"]
"""What a network learned to tag: MagnaTagATune or the Million Song Dataset."""

Part = Literal["front", "middle", "tags"]
"""What of it is heard."""

REQUIREMENT = "musicnn==0.1.0"
RATE, TRANSFORM, HOP, BANDS = 16000, 512, 256, 96
PATCH = 187
"""Frames of three seconds, at the end of which the package starts anew."""

FRONT = ((7, 38, 204), (7, 67, 204), (128, 1, 51), (64, 1, 51), (32, 1, 51))
"""Frames, bands and number of the front's kernels: two kinds hear timbre, three hear tempo."""

FRONT_WIDTH = sum(width for _, _, width in FRONT)
MIDDLE, WIDTH, MIDDLE_FRAMES = 3, 64, 7
DENSE, TAGS = 200, 50

_BATCH_NORM_EPSILON = 1e-3
_KINDS = {
    "conv2d": [
        *(f"front.{number}.1" for number in range(len(FRONT))),
        *(f"middle.{number}.0" for number in range(MIDDLE)),
    ],
    "batch_normalization": [
        "input_norm",
        *(f"front.{number}.3" for number in range(len(FRONT))),
        *(f"middle.{number}.2" for number in range(MIDDLE)),
        "pool_norm",
        "dense_norm",
    ],
    "dense": ["dense", "tags"],
}
LAYERS = {
    name: f"{kind}_{number}/{{}}" if number else f"{kind}/{{}}"
    for kind, names in _KINDS.items()
    for number, name in enumerate(names)
}
"""What TensorFlow calls the network's layers: it numbers those of a kind from the front on, the first without."""


def log_mel(samples: Tensor) -> Tensor:
    """What musicnn hears of a clip (samples,) at 16 kHz: (1 + samples // 256, 96), log10(1 + 10,000 x mel power).

    Frames of 512 samples around every 256th, the clip reflected at its ends, Slaney's mel bands: librosa's defaults.
    The package passes its powers through half precision, which overflows where sound is loud; that is left out.
    """
    # Imported here until spectra have moved out of probing, which opens these signals.
    window = torch.hann_window(TRANSFORM, device=samples.device)
    spectrum = torch.stft(samples, TRANSFORM, HOP, window=window, return_complex=True)
    powers = spectrum.abs().square().T @ mel_filters(TRANSFORM, BANDS, "slaney").to(samples.device)
    return (1 + 10_000 * powers).log10()


class Musicnn(nn.Module):
    """The network. Its maps are (1, 1, frames, channels), time before frequency, as TensorFlow lays them out."""

    def __init__(self) -> None:
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=_BATCH_NORM_EPSILON)
        self.input_norm = norm(1)
        self.front = nn.ModuleList()
        for frames, bands, width in FRONT:
            before = (frames - 1) // 2
            padding = nn.ZeroPad2d((0, 0, before, frames - 1 - before))
            kernels = nn.Conv2d(1, width, (frames, bands))
            self.front.append(nn.Sequential(padding, kernels, nn.ReLU(), norm(width)))
        self.middle = nn.ModuleList()
        for read in (FRONT_WIDTH, *[WIDTH] * (MIDDLE - 1)):
            kernels = nn.Conv2d(1, WIDTH, (MIDDLE_FRAMES, read), padding=(MIDDLE_FRAMES // 2, 0))
            self.middle.append(nn.Sequential(kernels, nn.ReLU(), norm(WIDTH)))
        pooled = 2 * (FRONT_WIDTH + MIDDLE * WIDTH)
        self.pool_norm = nn.BatchNorm1d(pooled, eps=_BATCH_NORM_EPSILON)
        self.dense = nn.Linear(pooled, DENSE)
        self.dense_norm = nn.BatchNorm1d(DENSE, eps=_BATCH_NORM_EPSILON)
        self.tags = nn.Linear(DENSE, TAGS)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Of (frames, 96): what the front end makes of it (frames, 561), and the middle's layers (3, frames, 64)."""
        heard = self.input_norm(mel[None, None])
        front = torch.cat([kernels(heard).amax(3)[0].T for kernels in self.front], dim=1)
        stream, layers = front, list[Tensor]()
        for convolution in self.middle:
            found = convolution(stream[None, None])[0, :, :, 0].T
            stream = found + stream if layers else found
            layers.append(stream)
        return front, torch.stack(layers)

    def tag(self, front: Tensor, layers: Tensor) -> Tensor:
        """Probabilities of the fifty tags (50,) of a patch, from what `forward` gives of it."""
        maps = torch.cat([front, *layers], dim=1)
        pooled = torch.stack([maps.amax(0), maps.mean(0)], dim=1).flatten()
        hidden = self.dense_norm(relu(self.dense(self.pool_norm(pooled[None]))))
        found: Tensor = self.tags(hidden).sigmoid()[0]
        return found


@dataclass(frozen=True)
class FrameListener:
    """The middle's layers over a whole clip: what the package gives for a patch as long as the clip."""

    model: Musicnn

    def __call__(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """(3, frames, 64) of every clip (samples,): the features that the package calls cnn1, cnn2 and cnn3."""
        return [self.model(log_mel(clip))[1] for clip in clips]


@dataclass(frozen=True)
class FrontListener:
    """The front end over a whole clip, whose kernels hear timbre and tempo."""

    model: Musicnn

    def __call__(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """(1, frames, 561) of every clip (samples,): what the package calls timbral and temporal, side by side."""
        return [self.model(log_mel(clip))[0][None] for clip in clips]


@dataclass(frozen=True)
class TagListener:
    """Tags of one patch of three seconds after another; a shorter clip is a patch, a remainder is left out."""

    model: Musicnn

    def __call__(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """(1, patches, 50) of every clip (samples,): the package's taggram."""
        return [self._taggram(log_mel(clip))[None] for clip in clips]

    def _taggram(self, mel: Tensor) -> Tensor:
        patches = torch.split(mel, PATCH)
        whole = patches if len(patches) == 1 else [patch for patch in patches if len(patch) == PATCH]
        return torch.stack([self.model.tag(*self.model(patch)) for patch in whole])


LISTENERS: dict[Part, Callable[[Musicnn], Callable[[Sequence[Tensor]], list[Tensor]]]] = {
    "front": FrontListener,
    "middle": FrameListener,
    "tags": TagListener,
}


def open_musicnn(corpus: Corpus, device: torch.device, *, part: Part = "middle", weights: Path | None = None) -> Signal:
    """A part of musicnn as a signal: frames 16 ms apart (front: one layer, middle: three), or tags every three seconds.

    `weights` is an .index of TensorFlow, else that of the installed package. Raises InputError: the package is not
    installed, or its weights are damaged or of another shape.
    """
    path = weights or installed_file("musicnn", f"{corpus.upper()}_musicnn/.index", REQUIREMENT)
    bundle = open_bundle(path)
    model = Musicnn()
    load_tensorflow(model, bundle, LAYERS)
    model.to(device)
    tags = part == "tags"
    return Signal(
        listen=LISTENERS[part](model),
        rate=RATE,
        hop=HOP * PATCH if tags else HOP,
        layers=MIDDLE if part == "middle" else 1,
        width={"front": FRONT_WIDTH, "middle": WIDTH, "tags": TAGS}[part],
        offset=(PATCH - 1) / 2 * HOP / RATE if tags else 0.0,
        minimum_samples=TRANSFORM // 2 + 1,
        parameters=parameters(model),
        sha256=bundle.sha256(),
        facts={"part": part},
    )
