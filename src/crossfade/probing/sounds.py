"""Decoded clips that several models hear: decoded once, kept in memory while there is room."""

from collections.abc import Mapping
from functools import partial
from threading import Lock

from torch import Tensor

from crossfade.parallel import ahead
from crossfade.probing.clips import READERS, Clip, hear, promised_samples

MOST_BYTES = 256 << 20
"""Over an hour of sound at 16 kHz."""


class Sounds:
    """Samples of clips under what they depend on (`clips.entry_key`); threads may share them.

    What comes first is kept, up to `most_bytes`, and nothing is dropped for what comes later: every model asks for the
    same clips in the same order, so of whatever was dropped nothing would be left when its turn comes again.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._kept: dict[str, Tensor] = {}
        self._lengths: dict[str, int] = {}
        self._bytes = 0
        self._lock = Lock()

    def lengths(self, clips: Mapping[str, Clip], rate: int) -> dict[str, int]:
        """How many samples at `rate` Hz each clip's header promises, by its entry; headers are read once."""
        unread = {entry: clip for entry, clip in clips.items() if entry not in self._lengths}
        promised = ahead(partial(promised_samples, rate=rate), unread.values(), READERS)
        self._lengths.update(zip(unread, promised, strict=True))
        return {entry: self._lengths[entry] for entry in clips}

    def hear(self, entry: str, clip: Clip, rate: int, minimum_samples: int) -> Tensor:
        """As `clips.hear`, decoded only if it is not kept; not to be changed."""
        kept = self._kept.get(entry)
        if kept is not None and len(kept) >= minimum_samples:
            return kept
        samples = hear(clip, rate, minimum_samples)
        with self._lock:
            if entry not in self._kept and self._bytes + samples.nbytes <= self.most_bytes:
                self._kept[entry] = samples
                self._bytes += samples.nbytes
        return samples
