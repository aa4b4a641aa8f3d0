"""What can be probed: models and spectra behind one small interface."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from crossfade.encoders.ctranslate2 import WhisperWeights, ctranslate2_files, read_ctranslate2
from crossfade.encoders.encoder import open_encoder
from crossfade.encoders.families import FAMILIES
from crossfade.encoders.hub import ModelFiles, locate
from crossfade.encoders.model import load_model, resolve_device
from crossfade.encoders.sidecars import CONFIG, read_json
from crossfade.errors import InputError
from crossfade.features.catalogue import SIGNALS
from crossfade.features.spectral import HOP, RATE
from crossfade.probing.anymodel import EqualLengths, load_any
from crossfade.probing.padded import PaddedEncoder
from crossfade.probing.whisper import SHORTEST, WhisperListener, Window, build_whisper, read_whisper

__all__ = ["Precision", "Upstream", "Window", "open_upstream", "short_name", "split_name", "upstream_key"]

Precision = Literal["float32", "bfloat16", "float16"]
CPU = torch.device("cpu")
Listen = Callable[[Sequence[Tensor]], list[Tensor]]

FORMAT = 1
"""Counted up when the features of the same weights change."""

BESIDE = "+"
"""Between the names of models that are to be one upstream."""


@dataclass(frozen=True)
class Upstream:
    """Something that turns sound into layers of frames.

    `key` stands for everything that its features depend on besides the sound: weights, config, preprocessing, precision
    and window; features under one key are interchangeable. `sha256` is that of the weight files, None for spectra.
    `rate` is in Hz, `minimum_samples` the shortest clip that gives a frame, `layers` x `width` what a frame holds. The
    first frame stands for the moment `offset` seconds after the clip's start. `parts` are the upstreams that it is made
    of, none for a single one.
    """

    name: str
    key: str
    revision: str | None
    sha256: str | None
    rate: int
    layers: int
    width: int
    parameters: int
    frames_per_second: float
    minimum_samples: int
    listen: Listen
    offset: float = 0.0
    device: torch.device = CPU
    precision: Precision = "float32"
    window: Window = "clip"
    parts: tuple["Upstream", ...] = ()

    @torch.inference_mode()
    def features(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """(layers, frames, width), float32, for each clip (samples,) float32 at `rate`; on `device`.

        Clips may differ in length: each gets what it gets alone, to 1e-5 in float32. Threads may share an upstream.
        """
        with self.computing():
            return [found.float() for found in self.listen([clip.to(self.device) for clip in clips])]

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Half precision where it was asked for; else full, which cuDNN's convolutions do not have by default."""
        with ExitStack() as stack:
            if self.precision != "float32":
                stack.enter_context(torch.autocast(self.device.type, getattr(torch, self.precision)))
            elif self.device.type == "cuda":
                stack.enter_context(torch.backends.cudnn.flags(allow_tf32=False))
            yield

    def __repr__(self) -> str:
        return f"Upstream({self.name!r}, {self.layers} x {self.width} at {self.frames_per_second:g} Hz, {self.device})"


def open_upstream(
    name: str, device: str = "auto", precision: Precision = "float32", window: Window = "clip"
) -> Upstream:
    """A model by its folder or hub id `name[@revision]`, a signal by its name (see `features.catalogue`), or several.

    `A+B` is the models side by side: each layer holds A's channels, then B's. A folder with a + in its name is itself.

    Layers are transformers' `hidden_states`: what enters the transformer, then every layer's output. Taken are the
    families of `encoders.families` (batches of any lengths), every other transformers model that hears waveforms
    (batches of equal lengths), and Whisper's encoder, from a transformers folder or one with CTranslate2's model.bin.
    Code that comes with a model is never run.

    `precision` bfloat16 or float16 computes convolutions and products of matrices in half precision. `window` says how
    Whisper hears: "clip" at each clip's own length, about ten times cheaper for clips of three seconds; "30" with
    silence up to 30 s, as it was trained. Other models ignore it.

    Raises InputError: unknown or unusable model, the reason named; models that do not fit side by side; no such device,
    precision or window.
    """
    for key, value, known in (("precision", precision, get_args(Precision)), ("window", window, get_args(Window))):
        if value not in known:
            raise InputError(f"{key} {value!r}: expected one of {', '.join(known)}")
    if len(names := split_name(name)) > 1:
        return beside(name, [open_upstream(part, device, precision, window) for part in names])
    where = resolve_device(device)
    folder = Path(name).expanduser()
    if name in SIGNALS and not folder.is_dir():
        return _open_signal(name, where)
    if folder.is_dir() and ctranslate2_files(folder):
        return _open_whisper(name, None, read_ctranslate2(folder), where, precision, window)
    files = locate(name)
    config = read_json(files.folder / CONFIG)
    kind = config.get("model_type")
    if kind in FAMILIES:
        return _open_family(name, where, precision)
    if kind == "whisper":
        return _open_whisper(name, files.revision, read_whisper(files.folder, config), where, precision, window)
    return _open_any(files, config, where, precision)


def upstream_key(**facts: Any) -> str:
    """32 hex digits that stand for `facts` (JSON values)."""
    text = json.dumps({"format": FORMAT, **facts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def split_name(name: str) -> list[str]:
    """The names that `A+B` joins. A stretch that is a folder is one name, whatever + it has, the longest one first.

    Raises InputError where nothing stands on one side of a +.
    """
    pieces, names = name.split(BESIDE), []
    while pieces:
        spans = (count for count in range(len(pieces), 1, -1) if _is_folder(BESIDE.join(pieces[:count])))
        count = next(spans, 1)
        names.append(BESIDE.join(pieces[:count]))
        pieces = pieces[count:]
    if len(names) > 1 and "" in names:
        raise InputError(f"{name}: expected a model on both sides of each '{BESIDE}', as in speech+music")
    return names


def short_name(name: str) -> str:
    """A model's name without the folders that it lies in."""
    return BESIDE.join(Path(part).name for part in split_name(name))


def _is_folder(name: str) -> bool:
    return Path(name).expanduser().is_dir()


def beside(name: str, parts: Sequence[Upstream]) -> Upstream:
    """Several upstreams as one, whose layers are theirs concatenated. Raises InputError for those that do not fit.

    Where their first frames stand for moments half a frame or more apart, frames that only one of them has are left out
    at the start; at the end all are cut to the shortest.
    """
    _require_alike(name, parts)
    first, last = parts[0], max(part.offset for part in parts)
    early = [round((last - part.offset) * first.frames_per_second) for part in parts]

    def listen(clips: Sequence[Tensor]) -> list[Tensor]:
        with torch.autocast(first.device.type, enabled=False):  # each part computes as it does alone
            heard = [
                [found[:, skip:] for found in part.features(clips)] for part, skip in zip(parts, early, strict=True)
            ]
        return [_concatenated(of_clip) for of_clip in zip(*heard, strict=True)]

    hop = first.rate / first.frames_per_second
    hashes = [part.sha256 for part in parts if part.sha256]
    return replace(
        first,
        name=name,
        key=upstream_key(kind="side by side", parts=[part.key for part in parts]),
        revision=BESIDE.join(part.revision or "" for part in parts) if any(part.revision for part in parts) else None,
        sha256=hashlib.sha256(" ".join(hashes).encode()).hexdigest() if hashes else None,
        width=sum(part.width for part in parts),
        parameters=sum(part.parameters for part in parts),
        minimum_samples=max(part.minimum_samples + round(skip * hop) for part, skip in zip(parts, early, strict=True)),
        listen=listen,
        offset=max(part.offset + skip / first.frames_per_second for part, skip in zip(parts, early, strict=True)),
        precision=next((part.precision for part in parts if part.precision != "float32"), "float32"),
        window=next((part.window for part in parts if part.window != "clip"), "clip"),
        parts=tuple(parts),
    )


def _require_alike(name: str, parts: Sequence[Upstream]) -> None:
    units = {"rate": "Hz", "layers": "layers", "frames_per_second": "frames a second"}
    told = {unit: [f"{getattr(part, fact):g}" for part in parts] for fact, unit in units.items()}
    if unlike := [f"{' and '.join(values)} {unit}" for unit, values in told.items() if len({*values}) > 1]:
        raise InputError(f"{name}: cannot stand side by side: {', '.join(unlike)}; expected the same of all")


def _concatenated(heard: Sequence[Tensor]) -> Tensor:
    frames = min(one.shape[1] for one in heard)
    return torch.cat([one[:, :frames] for one in heard], dim=-1)


def _open_signal(name: str, device: torch.device) -> Upstream:
    signal = SIGNALS[name](device)
    weights = {} if signal.sha256 is None else {"weights": signal.sha256}
    return Upstream(
        name=name,
        key=upstream_key(kind=name, **weights, **signal.facts),
        revision=None,
        sha256=signal.sha256,
        rate=signal.rate,
        layers=signal.layers,
        width=signal.width,
        parameters=signal.parameters,
        frames_per_second=signal.frames_per_second,
        minimum_samples=signal.minimum_samples,
        listen=signal.listen,
        offset=signal.offset,
        device=device,
    )


def _open_family(name: str, device: torch.device, precision: Precision) -> Upstream:
    encoder = open_encoder(name)
    settings, rate = encoder.layout.settings, encoder.preprocessing.sampling_rate
    return Upstream(
        name=name,
        key=upstream_key(
            kind=encoder.family.name,
            weights=encoder.sha256,
            settings=dict(settings),
            rate=rate,
            normalised=encoder.preprocessing.do_normalize,
            precision=precision,
        ),
        revision=encoder.revision,
        sha256=encoder.sha256,
        rate=rate,
        layers=settings["num_hidden_layers"] + 1,
        width=settings["hidden_size"],
        parameters=encoder.layout.parameters,
        frames_per_second=rate / encoder.layout.stride,
        minimum_samples=encoder.layout.receptive_field,
        listen=PaddedEncoder(load_model(encoder, device), encoder.layout, encoder.preprocessing),
        offset=(encoder.layout.receptive_field - 1) / 2 / rate,
        device=device,
        precision=precision,
    )


def _open_whisper(
    name: str,
    revision: str | None,
    weights: WhisperWeights,
    device: torch.device,
    precision: Precision,
    window: Window,
) -> Upstream:
    model: Any = build_whisper(weights, name).to(device)
    config = model.config
    return Upstream(
        name=name,
        key=upstream_key(
            kind="whisper",
            weights=weights.sha256,
            heads=config.encoder_attention_heads,
            activation=config.activation_function,
            precision=precision,
            window=window,
        ),
        revision=revision,
        sha256=weights.sha256,
        rate=RATE,
        layers=config.encoder_layers + 1,
        width=config.d_model,
        parameters=_parameters(model),
        frames_per_second=RATE / HOP / 2,
        minimum_samples=SHORTEST,
        listen=WhisperListener(model, window),
        device=device,
        precision=precision,
        window=window,
    )


def _open_any(files: ModelFiles, config: dict[str, Any], device: torch.device, precision: Precision) -> Upstream:
    found = load_any(files, config, device)
    return Upstream(
        name=files.name,
        key=upstream_key(
            kind=config["model_type"],
            weights=found.sha256,
            config=config,
            rate=found.preprocessing.sampling_rate,
            normalised=found.preprocessing.do_normalize,
            precision=precision,
        ),
        revision=files.revision,
        sha256=found.sha256,
        rate=found.preprocessing.sampling_rate,
        layers=found.layers,
        width=found.width,
        parameters=_parameters(found.model),
        frames_per_second=found.preprocessing.sampling_rate / found.stride,
        minimum_samples=found.minimum_samples,
        listen=EqualLengths(found.model, found.preprocessing),
        offset=(found.minimum_samples - 1) / 2 / found.preprocessing.sampling_rate,
        device=device,
        precision=precision,
    )


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
