"""What the package carries for `crossfade quickstart`: two small encoders and a pack of audio."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

Domain = Literal["speech", "music"]
DOMAINS: tuple[Domain, ...] = get_args(Domain)

DATA = Path(__file__).parent / "data"
PACK = DATA / "audio"
SOURCES = PACK / "SOURCES.md"
ENCODERS: Mapping[Domain, Path] = {domain: DATA / "encoders" / domain for domain in DOMAINS}


def calibration_folders() -> dict[Domain, Path]:
    """Folders of unlabelled clips, none of which is in a task: what alignment and merging may listen to."""
    return {domain: PACK / "calibration" / domain for domain in DOMAINS}
