"""What the package carries: small encoders, and a pack of audio for `crossfade quickstart`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from crossfade.errors import InputError, nearest

Domain = Literal["speech", "music"]
DOMAINS: tuple[Domain, ...] = get_args(Domain)

DATA = Path(__file__).parent / "data"
PACK = DATA / "audio"
SOURCES = PACK / "SOURCES.md"
ENCODERS: Mapping[str, Path] = {path.parent.name: path.parent for path in sorted(DATA.glob("encoders/*/config.json"))}
"""Every encoder by its name; its card says what it hears and how it was made."""


def encoder(name: str) -> Path:
    """The folder of an encoder in the package, which every command and AutoModel take. InputError: it has none so."""
    if name not in ENCODERS:
        raise InputError(f"encoder: '{name}' is not in the package; {nearest(name, ENCODERS)}")
    return ENCODERS[name]


def calibration_folders() -> dict[Domain, Path]:
    """Folders of unlabelled clips, none of which is in a task: what alignment and merging may listen to."""
    return {domain: PACK / "calibration" / domain for domain in DOMAINS}
