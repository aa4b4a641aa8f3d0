"""From encoded sound to samples: any format libsndfile reads, made mono, at the rate that is asked for."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from math import ceil, gcd
from pathlib import Path

import soundfile
import soxr
import torch

from crossfade.audio.sources import AudioFile

# Half-length of soxr's HQ filter, in samples of the lower rate: 128 already leaves float32 rounding alone.
FILTER_REACH = 256
COUNTING_BLOCK = 1 << 16
# libsndfile gives 2^63 - 1 frames when the header does not say (a FLAC written to a pipe).
UNKNOWN_FRAMES = 1 << 62


class UnreadableError(Exception):
    """Sound that cannot be decoded. The message is the reason, without the file's name."""


def audio_seconds(file: AudioFile | str | os.PathLike[str]) -> float:
    """How long the sound lasts according to its header, in seconds; the decoded length may differ.

    Raises UnreadableError when there is no header that libsndfile understands.
    """
    with _opened(file) as sound:
        return _frames(sound) / float(sound.samplerate)


def read_audio(
    file: AudioFile | str | os.PathLike[str], rate: int, start: float = 0.0, seconds: float | None = None
) -> torch.Tensor:
    """The sound from `start` for `seconds` (or to its end): (samples,) float32, mean of the channels, at `rate` Hz.

    A part is found by seeking and equals the same slice of the whole to float32 rounding: it is read with the reach of
    the resampling filter on both sides, from an input sample that falls on an output sample. Shorter, even empty, where
    the sound ends early. Raises UnreadableError when it cannot be decoded.
    """
    first = round(start * rate)
    wanted = None if seconds is None else round(seconds * rate)
    with _opened(file) as sound:
        native = sound.samplerate
        up, down = rate // gcd(native, rate), native // gcd(native, rate)  # `down` samples in, `up` samples out
        reach = 0 if native == rate else ceil(FILTER_REACH * max(1, rate / native))
        block = max(0, first - reach) // up
        frames = _frames(sound)
        stop = frames if wanted is None else min(frames, ceil((first + wanted + reach) * native / rate))
        sound.seek(min(block * down, frames))
        samples = sound.read(max(0, stop - block * down), dtype="float32", always_2d=True).mean(axis=1)
    if native != rate:
        samples = soxr.resample(samples, native, rate, quality="HQ")
    skip = first - block * up
    return torch.from_numpy(samples[skip : None if wanted is None else skip + wanted].copy())


@contextmanager
def _opened(file: AudioFile | str | os.PathLike[str]) -> Iterator[soundfile.SoundFile]:
    content = encoded(file)
    try:
        sound = soundfile.SoundFile(content)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless .raw
        raise UnreadableError("unreadable: not a known audio format") from error
    with sound:
        if sound.frames >= UNKNOWN_FRAMES:
            # soundfile seeks after each read of what is seekable, and to the end of such a sound it cannot
            sound.seekable = lambda: False
        try:
            yield sound
        except soundfile.SoundFileError as error:
            raise UnreadableError(f"broken: {getattr(error, 'error_string', error)}") from error


def encoded(file: AudioFile | str | os.PathLike[str]) -> Path | BytesIO:
    """Where the encoded bytes lie, a path or memory; UnreadableError where there are none."""
    source = file.content if isinstance(file, AudioFile) else Path(file)
    content = source if isinstance(source, Path) else source()
    try:
        with BytesIO(content) if isinstance(content, bytes) else content.open("rb") as stream:
            empty = not stream.read(1)
    except (OSError, ValueError) as error:
        raise UnreadableError(f"cannot be opened: {getattr(error, 'strerror', error)}") from error
    if empty:
        raise UnreadableError("empty: no bytes")
    return BytesIO(content) if isinstance(content, bytes) else content


def _frames(sound: soundfile.SoundFile) -> int:
    """Frames by the header, or counted by decoding once where the header leaves them open."""
    if sound.frames < UNKNOWN_FRAMES:
        return int(sound.frames)
    sound.seek(0)
    return sum(iter(lambda: len(sound.read(COUNTING_BLOCK, dtype="float32", always_2d=True)), 0))
