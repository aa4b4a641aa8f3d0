"""What the calibration benchmarks have in common: two models in memory and the batches that they hear."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from crossfade.alignment.correlation import wanted_taps
from crossfade.audio.batches import Audio, Batch
from crossfade.encoders.encoder import Encoder, open_encoder
from crossfade.encoders.families import POINTS, Tap
from crossfade.encoders.layout import Layout
from crossfade.encoders.model import load_model
from crossfade.encoders.sidecars import Preprocessing, normalise


@dataclass(frozen=True)
class Pair:
    """Two models of one layout, and decoded audio, so that no measurement depends on the decoder."""

    encoders: tuple[Encoder, Encoder]
    models: tuple[nn.Module, nn.Module]
    batches: list[Batch]

    @property
    def preprocessing(self) -> tuple[Preprocessing, Preprocessing]:
        return self.encoders[0].preprocessing, self.encoders[1].preprocessing

    @property
    def layout(self) -> Layout:
        return self.encoders[1].layout

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Every tap, the residual stream's too."""
        return wanted_taps(self.layout, POINTS)

    @property
    def audio_seconds(self) -> float:
        return round(sum(batch.samples.numel() for batch in self.batches) / 16000, 1)

    @torch.inference_mode()
    def plain_pass(self) -> None:
        """Both models hear everything, and that is all."""
        for batch in self.batches:
            for model, preprocessing in zip(self.models, self.preprocessing, strict=True):
                model(normalise(batch.samples, preprocessing))


def load_pair(first: Path, second: Path, audio: Path, clips: int, seed: int = 0) -> Pair:
    encoders = open_encoder(first), open_encoder(second)
    sources = sorted(folder for folder in audio.iterdir() if folder.is_dir()) or [audio]
    heard = Audio(sources, rate=16000, clips=clips, seed=seed, minimum_samples=encoders[0].layout.receptive_field)
    return Pair(encoders, (load_model(encoders[0]), load_model(encoders[1])), list(heard.batches()))
