"""A recording of a package as the tasks use it."""

from pathlib import Path

from audio_pack.sound import Samples, read, trim


def recording(path: Path) -> Samples:
    """16 kHz mono without the constant offset that some recordings have, and without silence at both ends."""
    samples = read(path)
    return trim(samples - samples.mean())
