"""From a clip to the samples that an upstream hears, and to the key under which its features are kept."""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from weakref import WeakKeyDictionary

from torch import Tensor

from crossfade.audio.batches import check_samples
from crossfade.audio.decode import UnreadableError, audio_seconds, encoded, read_audio
from crossfade.audio.mixing import Mix, mix, read_background, unusable
from crossfade.audio.sources import AudioFile
from crossfade.parallel import ahead

READERS = 4
"""Files hashed, or clips decoded, at a time: these wait for the disk and leave the interpreter to others."""


@dataclass(frozen=True)
class Clip:
    """A stretch of a sound, from `start` for `seconds` (None: to its end), alone or over a background."""

    audio: AudioFile
    start: float = 0.0
    seconds: float | None = None
    mix: Mix | None = None

    @property
    def name(self) -> str:
        """For messages: the file and where in it."""
        return f"{self.audio.name} from {self.start:g} s" if self.start else self.audio.name


_HASHES: WeakKeyDictionary[AudioFile, tuple[object, str]] = WeakKeyDictionary()
"""The stamp and the hash of every file that somebody still has in use."""


def hash_files(files: Iterable[AudioFile]) -> dict[AudioFile, str | UnreadableError]:
    """SHA-256 of every file's encoded bytes, or why it cannot be read; read again only if it has changed since."""
    unique = list(dict.fromkeys(files))
    return dict(zip(unique, ahead(_hash, unique, READERS), strict=True))


def _hash(file: AudioFile) -> str | UnreadableError:
    stamp = _stamp(file)
    known, digest = _HASHES.get(file, ("unknown", ""))
    if known == stamp:
        return digest
    try:
        content = encoded(file)
    except UnreadableError as error:
        return error
    with content if isinstance(content, BytesIO) else content.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    _HASHES[file] = stamp, digest
    return digest


def _stamp(file: AudioFile) -> tuple[int, ...] | None:
    """Changes with what the file holds, which rows of a data set never do; None where there is no file."""
    if not isinstance(file.content, Path):
        return ()
    with suppress(OSError, ValueError):
        about = file.content.stat()
        return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns
    return None


def entry_key(clip: Clip, hashes: dict[AudioFile, str | UnreadableError], rate: int) -> str:
    """What the clip's samples at `rate` depend on, as 32 hex digits.

    Raises UnreadableError where the clip has no hash, InputError where its background has none.
    """
    digest = hashes[clip.audio]
    if isinstance(digest, UnreadableError):
        raise digest
    facts: list[object] = [digest, clip.start, clip.seconds, rate]
    if clip.mix:
        under = hashes[clip.mix.background]
        if isinstance(under, UnreadableError):
            raise unusable(clip.mix.background, under)
        facts += [under, clip.mix.offset, clip.mix.snr]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def promised_samples(clip: Clip, rate: int) -> int:
    """How long the clip is by its file's header, in samples; 0 where that says nothing."""
    try:
        left = audio_seconds(clip.audio) - clip.start
    except UnreadableError:
        return 0
    return max(0, round(min(left, left if clip.seconds is None else clip.seconds) * rate))


def hear(clip: Clip, rate: int, minimum_samples: int) -> Tensor:
    """The clip's samples (samples,), float32, at `rate` Hz, with its background.

    Raises UnreadableError when the clip cannot be decoded, is silent, too short or not finite, and InputError when its
    background cannot be used.
    """
    samples = read_audio(clip.audio, rate, clip.start, clip.seconds)
    check_samples(samples, rate, minimum_samples)
    if clip.mix is None:
        return samples
    return mix(samples, read_background(clip.mix, rate, len(samples)), clip.mix.snr)
