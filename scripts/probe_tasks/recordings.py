"""A recording of a package as the tasks use it."""

from pathlib import Path

from audio_pack.sound import Samples, read, trim


def recording(path: Path) -> Samples:
    """16 kHz mono without the constant offset that some recordings have, and without silence at both ends."""
    return tidy(read(path))


def tidy(samples: Samples) -> Samples:
    """The same of samples that are 16 kHz mono already."""
    return trim(samples - samples.mean())
