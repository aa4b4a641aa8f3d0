"""Whisper's encoder as an upstream: transformers' folders, and what CTranslate2 converted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from crossfade.encoders.checkpoint import open_checkpoint
from crossfade.encoders.ctranslate2 import WhisperWeights
from crossfade.encoders.sidecars import PREPROCESSOR, read_json
from crossfade.errors import InputError
from crossfade.features.spectral import HOP, RATE, WINDOW, whisper_mel
from crossfade.probing.padded import pad_frames, split_layers

Window = Literal["clip", "30"]
SHORTEST = WINDOW
"""Samples: the spectrum reflects half a window at both ends."""

_PREFIXES = ("model.encoder.", "encoder.", "")
_HEARING = {"sampling_rate": RATE, "hop_length": HOP, "n_fft": WINDOW}


def read_whisper(folder: Path, config: Mapping[str, Any]) -> WhisperWeights:
    """The encoder of a transformers Whisper folder, whole or with its decoder. Raises InputError."""
    checkpoint = open_checkpoint(folder)
    prefix = next((prefix for prefix in _PREFIXES if f"{prefix}conv1.weight" in checkpoint.infos), None)
    if prefix is None:
        raise InputError(f"{folder}: no tensor encoder.conv1.weight; expected the weights of a Whisper encoder")
    heard = read_json(folder / PREPROCESSOR) if (folder / PREPROCESSOR).exists() else {}
    for key, expected in _HEARING.items():
        if heard.get(key, expected) != expected:
            raise InputError(f"{folder / PREPROCESSOR}: {key} = {heard[key]!r}, expected {expected} as in any Whisper")
    names = [name for name in checkpoint.infos if name.startswith(prefix)]
    tensors = {name.removeprefix(prefix): checkpoint.read(name) for name in names}
    return WhisperWeights(config, tensors, checkpoint.sha256())


def build_whisper(weights: WhisperWeights, source: str) -> nn.Module:
    """The encoder as a transformers model, float32. InputError names a tensor that is missing or misshapen."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    with torch.device("meta"):
        model: nn.Module = WhisperEncoder(WhisperConfig.from_dict(dict(weights.config)))
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.tensors.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise InputError(
                f"{source}: tensor {name} has shape {found.get(name, 'none, it is missing')}, expected "
                f"{wanted.get(name, 'no such tensor')}: check that config and weights belong together"
            )
    model = model.to_empty(device="cpu")
    model.load_state_dict({name: value.float() for name, value in weights.tensors.items()})
    return model.eval().requires_grad_(False)


@dataclass(frozen=True)
class WhisperListener:
    """Hidden states of clips of any lengths, each as if it were alone.

    With `window` "clip" a clip is heard at its own length: its spectrum alone, the first positions of the table. With
    "30" it is followed by silence up to 30 s, as in training, and the frames of the silence are left out afterwards.
    Longer sound is heard 30 s at a time either way, or less by `taken` frames: positions that soft prompts take.
    """

    model: Any
    window: Window = "clip"
    taken: int = 0

    def __call__(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """(layers + 1, frames, width) of every clip (samples,), 50 frames a second: what enters the first layer, each
        layer's output, the last one's normalised; these are transformers' `hidden_states`.
        """
        pieces = [_pieces(clip, self._longest) for clip in clips]
        heard = iter(self._listen([piece for cut in pieces for piece in cut]))
        return [torch.cat([next(heard) for _ in cut], dim=1) for cut in pieces]

    @property
    def _longest(self) -> int:
        return 2 * HOP * (int(self.model.config.max_source_positions) - self.taken)

    def _listen(self, pieces: Sequence[Tensor]) -> list[Tensor]:
        fronts = [self._front(piece) for piece in pieces]
        stream, mask = pad_frames(fronts)
        layers = [stream]
        for layer in self.model.layers:
            output = layer(layers[-1], None if mask is None else mask[:, None, None, :])
            layers.append(output[0] if isinstance(output, tuple) else output)
        layers[-1] = self.model.layer_norm(layers[-1])
        frames = [-(-(len(piece) // HOP) // 2) for piece in pieces]
        return [heard[:, :kept] for heard, kept in zip(split_layers(layers, fronts), frames, strict=True)]

    def _front(self, piece: Tensor) -> Tensor:
        """What enters the first layer, (frames, width)."""
        samples = pad(piece, (0, self._longest - len(piece))) if self.window == "30" else piece
        mel = whisper_mel(samples, self.model.num_mel_bins)
        frames = gelu(self.model.conv2(gelu(self.model.conv1(mel[None]))))[0].T
        positions: Tensor = self.model.embed_positions(torch.arange(len(frames), device=frames.device))
        return frames + positions


def _pieces(clip: Tensor, longest: int) -> list[Tensor]:
    """A clip in pieces that fit; a last one that is too short for a spectrum is dropped."""
    pieces = [clip[start : start + longest] for start in range(0, len(clip), longest)]
    return pieces[:-1] if len(pieces) > 1 and len(pieces[-1]) < SHORTEST else pieces
