"""Which clips a model hears, in batches of equal length: nothing is ever padded.

Padding would change every feature of an encoder whose first convolution is group-normalised over time.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from math import inf, isfinite, sqrt
from random import Random

import torch

from crossfade.audio.decode import UnreadableError, audio_seconds, read_audio
from crossfade.audio.sources import AudioFile, Source, find_audio
from crossfade.errors import InputError

SILENCE = 1e-4


@dataclass(frozen=True)
class Skipped:
    """A clip that was left out, and why: `kind of fault: detail`."""

    name: str
    reason: str


@dataclass(frozen=True)
class Batch:
    """Clips of one length: `samples` (clips, samples) float32, `source` (clips,) int64 index into the sources."""

    samples: torch.Tensor
    source: torch.Tensor
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Clip:
    """A stretch of a file, in samples at the rate that is asked for, as its header promises it."""

    file: AudioFile
    source: int
    start: int
    samples: int


def windows(samples: int, window: int) -> list[tuple[int, int]]:
    """Cuts `samples` into (start, length): whole windows, then the tail if it is at least half a window.

    Sound that is shorter than one window is taken whole.
    """
    full, tail = divmod(samples, window)
    cuts = [(index * window, window) for index in range(full)]
    return cuts if full and 2 * tail < window else [*cuts, (full * window, tail)]


def check_samples(samples: torch.Tensor, rate: int, minimum_samples: int) -> None:
    """UnreadableError for sound (samples,) that is too short, silent (RMS below `SILENCE`) or not finite."""
    if len(samples) < minimum_samples or not len(samples):
        raise UnreadableError(_too_short(len(samples), rate, minimum_samples))
    loudness = sqrt(power) if isfinite(power := float(samples.double().square().mean())) else power
    if not isfinite(loudness):
        raise UnreadableError("non-finite: NaN or Inf samples")
    if loudness < SILENCE:
        raise UnreadableError(f"silent: RMS {loudness:.1e}")


def _too_short(samples: int, rate: int, minimum_samples: int) -> str:
    return f"too short: {samples} samples at {rate} Hz, at least {max(1, minimum_samples)} needed"


class Audio:
    """Clips drawn from sources, decoded while they are used.

    sources: see `find_audio`. rate: Hz of the samples. clips: how many to draw at random, shared equally over the
    sources (one that runs out leaves its share to the others), from different files before a second window of the same
    one; None takes everything once. seconds: longest clip; longer files are cut by `windows`. seed: the same seed
    gives the same clips in the same order on any machine. minimum_samples: shorter clips are skipped.

    Broken, silent (RMS below 1e-4), too short and non-finite clips are skipped and others drawn in their place while
    there are any; `skipped` lists them for the latest pass. `len` and `total_seconds` are what the headers promise.
    Raises InputError for values out of range and for sources that `find_audio` refuses.
    """

    def __init__(
        self,
        sources: Source | Sequence[Source],
        *,
        rate: int,
        clips: int | None = None,
        seconds: float = 5.0,
        seed: int = 0,
        minimum_samples: int = 400,
    ) -> None:
        if clips is not None and clips < 1:
            raise InputError(f"clips: expected at least 1, got {clips}; leave it out to take everything")
        if not isfinite(seconds) or round(seconds * rate) < max(1, minimum_samples):
            raise InputError(f"seconds: expected at least {max(1, minimum_samples) / rate:g}, got {seconds:g}")
        self.sources = find_audio(sources)
        self.rate, self.clips, self.seconds, self.seed = rate, clips, seconds, seed
        self.minimum_samples = minimum_samples
        self.skipped: list[Skipped] = []
        self._headers: dict[AudioFile, int | str] = {}

    def __repr__(self) -> str:
        return f"Audio({len(self)} clips, {self.total_seconds:.1f} s at {self.rate} Hz, {len(self.sources)} sources)"

    def __len__(self) -> int:
        return len(self._planned)

    @property
    def total_seconds(self) -> float:
        """Seconds of sound in one pass, estimated from headers alone."""
        return sum(self._planned) / self.rate

    @cached_property
    def _planned(self) -> list[int]:
        return [clip.samples for clip in _Draw(self).take(self.clips)]

    def batches(self, seconds_per_batch: float = 20.0) -> Iterator[Batch]:
        """Batches of clips of exactly equal length, each at most `seconds_per_batch` of sound (but at least one clip).

        The next batch is decoded in a thread while the caller uses this one; no more than the two are in memory.
        Every call gives the same batches. Raises InputError at the end if every clip was skipped.
        """
        if not 0 < seconds_per_batch < inf:
            raise InputError(f"seconds_per_batch: expected a positive number, got {seconds_per_batch:g}")
        return _one_ahead(self._pass(round(seconds_per_batch * self.rate)))

    def _pass(self, samples_per_batch: int) -> Iterator[Batch]:
        draw = _Draw(self)
        self.skipped = draw.skipped
        order = Random(f"{self.seed}/order")
        while clips := draw.take(None if self.clips is None else self.clips - sum(draw.given)):
            for group in _groups(clips, samples_per_batch, order):
                for batch in self._decode(group, draw.skipped):
                    for source in batch.source.tolist():
                        draw.given[source] += 1
                    yield batch
        if not any(draw.given):
            raise InputError(_all_skipped(draw.skipped))

    def _decode(self, clips: list[Clip], skipped: list[Skipped]) -> Iterator[Batch]:
        """The clips by their true length, which is the promised one unless a header lies."""
        heard: dict[int, list[tuple[torch.Tensor, Clip]]] = defaultdict(list)
        for clip in clips:
            try:
                samples = read_audio(clip.file, self.rate, clip.start / self.rate, clip.samples / self.rate)
                check_samples(samples, self.rate, self.minimum_samples)
                heard[len(samples)].append((samples, clip))
            except UnreadableError as error:
                skipped.append(Skipped(self._name(clip), str(error)))
        for same in heard.values():
            sounds, kept = zip(*same, strict=True)
            source = torch.tensor([clip.source for clip in kept])
            yield Batch(torch.stack(sounds), source, tuple(self._name(clip) for clip in kept))

    def _name(self, clip: Clip) -> str:
        return f"{clip.file.name} from {clip.start / self.rate:g} s" if clip.start else clip.file.name

    def _promised(self, file: AudioFile) -> int | str:
        """Samples by the header, or the reason why there will be none."""
        if file not in self._headers:
            try:
                samples = round(audio_seconds(file) * self.rate)
                enough = samples >= max(1, self.minimum_samples)
                self._headers[file] = samples if enough else _too_short(samples, self.rate, self.minimum_samples)
            except UnreadableError as error:
                self._headers[file] = str(error)
        return self._headers[file]


class _Draw:
    """One pass over the sources: which clip comes next, how many each source has given, what was skipped."""

    def __init__(self, audio: Audio) -> None:
        self.audio = audio
        self.skipped: list[Skipped] = []
        self.given = [0] * len(audio.sources)
        self.streams = [self._source(source) for source in range(len(audio.sources))]
        # Not in the order given: fewer clips than sources should not always mean the first ones.
        self.running = list(range(len(audio.sources)))
        Random(f"{audio.seed}/sources").shuffle(self.running)

    def take(self, count: int | None) -> list[Clip]:
        """The next `count` clips (None: all that are left), each from the running source that has given least."""
        clips: list[Clip] = []
        given = list(self.given)
        while self.running and (count is None or len(clips) < count):
            source = min(self.running, key=given.__getitem__)
            if clip := next(self.streams[source], None):
                clips.append(clip)
                given[source] += 1
            else:
                self.running.remove(source)
        return clips

    def _source(self, source: int) -> Iterator[Clip]:
        """The source's clips: one of each file in random order, then a second of each, until none is left."""
        order = list(range(len(self.audio.sources[source])))
        Random(f"{self.audio.seed}/{source}").shuffle(order)
        waiting: Iterator[Iterator[Clip]] = (self._file(source, index) for index in order)
        while True:
            left = []
            for clips in waiting:
                if clip := next(clips, None):
                    left.append(clips)
                    yield clip
            if not left:
                return
            waiting = iter(left)

    def _file(self, source: int, index: int) -> Iterator[Clip]:
        file = self.audio.sources[source][index]
        samples = self.audio._promised(file)
        if isinstance(samples, str):
            self.skipped.append(Skipped(file.name, samples))
            return
        cuts = windows(samples, round(self.audio.seconds * self.audio.rate))
        Random(f"{self.audio.seed}/{source}/{index}").shuffle(cuts)
        for start, length in cuts:
            yield Clip(file, source, start, length)


def _groups(clips: list[Clip], samples: int, order: Random) -> list[list[Clip]]:
    """Clips of one length together, up to `samples` in all, with the sources mixed."""
    order.shuffle(clips)
    by_length: dict[int, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_length[clip.samples].append(clip)
    groups = []
    for length, same in by_length.items():
        size = max(1, samples // length)
        groups += [same[at : at + size] for at in range(0, len(same), size)]
    order.shuffle(groups)
    return groups


def _one_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    with ThreadPoolExecutor(1, "crossfade-audio") as thread:
        coming = thread.submit(next, batches, None)
        while batch := coming.result():
            coming = thread.submit(next, batches, None)
            yield batch


def _all_skipped(skipped: list[Skipped]) -> str:
    faults = Counter(skip.reason.partition(":")[0] for skip in skipped)
    counts = ", ".join(f"{count} {fault}" for fault, count in faults.most_common())
    first = "; ".join(f"{skip.name}: {skip.reason}" for skip in skipped[:3])
    return f"no usable audio, all {len(skipped)} clips were skipped ({counts}); first: {first}; give other audio"
