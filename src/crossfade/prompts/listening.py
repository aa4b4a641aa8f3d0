"""Encoders that can be trained through: opened by name, and how many frames they make of a clip."""

from pathlib import Path
from typing import Any

from crossfade.encoders.families import FAMILIES
from crossfade.errors import InputError
from crossfade.features.spectral import HOP
from crossfade.probing.padded import PaddedEncoder
from crossfade.probing.upstreams import Precision, Upstream, open_upstream
from crossfade.probing.whisper import WhisperListener
from crossfade.quickstart.pack import ENCODERS


def open_listener(name: str, device: str, precision: Precision = "float32") -> Upstream:
    """An encoder by what `crossfade probe` takes, or by its name in the package; its weights do not train yet.

    Raises InputError for one that cannot be opened, and for what is no single encoder of a family of ours.
    """
    name = name if Path(name).expanduser().is_dir() else str(ENCODERS.get(name, name))
    upstream = open_upstream(name, device, precision)
    if not isinstance(upstream.listen, PaddedEncoder | WhisperListener):
        known = ", ".join(sorted({family.name for family in FAMILIES.values()}))
        raise InputError(f"{name}: cannot be tuned; expected one encoder of the families {known} or whisper")
    return upstream


def model_of(upstream: Upstream) -> Any:
    """The transformers model inside."""
    assert isinstance(upstream.listen, PaddedEncoder | WhisperListener)
    return upstream.listen.model


def family_of(upstream: Upstream) -> str:
    """The family's name, or "whisper"."""
    kind = model_of(upstream).config.model_type
    return FAMILIES[kind].name if kind in FAMILIES else str(kind)


def frames_of(upstream: Upstream, samples: int) -> int:
    """Frames that so many samples give."""
    if isinstance(upstream.listen, WhisperListener):
        return -(-(samples // HOP) // 2)
    hop = round(upstream.rate / upstream.frames_per_second)
    return max(0, (samples - upstream.minimum_samples) // hop + 1)
