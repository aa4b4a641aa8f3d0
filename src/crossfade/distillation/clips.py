"""Which stretch of which sound is heard when: every batch of a training, from its seed alone, before any is decoded."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from random import Random

from crossfade.audio.batches import Skipped
from crossfade.audio.decode import UnreadableError, audio_seconds
from crossfade.audio.sources import AudioFile, find_audio
from crossfade.distillation.recipe import Corpus
from crossfade.errors import InputError
from crossfade.parallel import ahead
from crossfade.probing.tables import read_table

READERS = 4
"""Headers read at a time."""

SORTED_BATCHES = 32
"""Batches among whose clips those of like length are looked for: more waste less sound, and mix passes more."""


@dataclass(frozen=True)
class Grid:
    """The student's frames: one every `stride` samples at `rate` Hz, each made of `field` samples."""

    rate: int
    stride: int
    field: int

    def frames(self, samples: int) -> int:
        """How many frames so many samples give."""
        return max(0, (samples - self.field) // self.stride + 1)

    def samples(self, frames: int) -> int:
        """How many samples so many frames are made of, with none left over."""
        return self.field + (frames - 1) * self.stride


@dataclass(frozen=True, slots=True)
class Clip:
    """`samples` of a file from sample `start` on, at the student's rate, by the file's header; of corpus `corpus`.

    `number` counts the clips of all corpora.
    """

    number: int
    file: AudioFile
    corpus: int
    start: int
    samples: int

    def name(self, rate: int) -> str:
        """For messages, and for what is drawn for this clip alone."""
        return f"{self.file.name} from {self.start / rate:g} s" if self.start else self.file.name


@dataclass(frozen=True, slots=True)
class Crop:
    """A clip from its sample `offset` on, a multiple of the grid's stride, as it is heard in pass `visit`."""

    clip: Clip
    offset: int
    visit: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Batch `number` of the training: crops that give `frames` frames each."""

    number: int
    crops: tuple[Crop, ...]
    frames: int


def list_clips(
    corpora: Sequence[Corpus], grid: Grid, *, shortest: Sequence[int], longest: int
) -> tuple[list[list[Clip]], list[Skipped]]:
    """The clips of every corpus, and the files that are left out because they are unreadable or too short.

    Files of more than `longest` samples are cut into the fewest equal parts that are not; what is left of fewer than
    `shortest` samples (one number for each corpus) is left out. Raises InputError for a corpus without clips.
    """
    clips: list[list[Clip]] = []
    skipped: list[Skipped] = []
    count = itertools.count()
    for number, (corpus, least) in enumerate(zip(corpora, shortest, strict=True)):
        (files,) = find_audio(corpus.source)
        usable: list[tuple[AudioFile, int]] = []
        lengths = ahead(partial(_promised, rate=grid.rate), files, READERS)
        for file, samples in zip(files, lengths, strict=True):
            if isinstance(samples, str) or samples < least:
                reason = samples if isinstance(samples, str) else f"too short: {samples} samples of {least} needed"
                skipped.append(Skipped(file.name, reason))
            else:
                usable.append((file, samples))
        if corpus.hours is not None:
            usable = drawn(usable, corpus.hours * 3600 * grid.rate)
        found = [
            Clip(next(count), file, number, start, length)
            for file, samples in usable
            for start, length in cut(samples, longest)
        ]
        if not found:
            first = "; ".join(f"{skip.name}: {skip.reason}" for skip in skipped[-len(files) :][:3])
            raise InputError(f"data[{number}] {corpus.source}: no usable sound; first: {first}")
        clips.append(found)
    return clips, skipped


def _promised(file: AudioFile, rate: int) -> int | str:
    """Samples at `rate` by the header, or why there are none."""
    try:
        return round(audio_seconds(file) * rate)
    except UnreadableError as error:
        return str(error)


def drawn(files: Sequence[tuple[AudioFile, int]], most_samples: float) -> list[tuple[AudioFile, int]]:
    """Of files with their samples as many as hold `most_samples`, at least one, in their order; always the same."""
    order = list(range(len(files)))
    Random("hours").shuffle(order)
    totals = itertools.accumulate(files[place][1] for place in order)
    kept = {
        place
        for rank, (place, total) in enumerate(zip(order, totals, strict=True))
        if total <= most_samples or not rank
    }
    return [file for place, file in enumerate(files) if place in kept]


def cut(samples: int, longest: int) -> list[tuple[int, int]]:
    """(start, length) of the fewest parts of at most `longest` samples; lengths differ by one sample at most."""
    parts = ceil(samples / longest)
    ends = [samples * part // parts for part in range(parts + 1)]
    return [(start, stop - start) for start, stop in itertools.pairwise(ends)]


def licence_hours(source: str, clips: Sequence[Clip], rate: int) -> dict[str, float]:
    """Hours of a corpus's clips by the column `licence` of the `manifest.jsonl` in its folder; empty without one.

    Raises InputError for a manifest that is not one.
    """
    manifest = Path(source) / "manifest.jsonl"
    if not manifest.is_file():
        return {}
    said = {str(manifest.parent / str(row.get("path"))): row.get("licence") for row in read_table(manifest)}
    hours: dict[str, float] = {}
    for clip in clips:
        if licence := said.get(clip.file.name):
            hours[str(licence)] = hours.get(str(licence), 0.0) + clip.samples / rate / 3600
    return dict(sorted(hours.items(), key=lambda pair: -pair[1]))


def corpus_shares(corpora: Sequence[Corpus], seconds: Sequence[float]) -> list[float]:
    """Which share of what is heard comes from each corpus; they sum to 1.

    Where every corpus says its `share`, they are relative to each other. Else those that say none divide what is left
    of 1 by their `seconds`. Raises InputError where nothing is left.
    """
    said = [corpus.share for corpus in corpora]
    given = sum(share or 0.0 for share in said)
    if None not in said:
        return [(share or 0.0) / given for share in said]
    if given >= 1:
        raise InputError(
            f"data: shares sum to {given:g} and leave nothing for data[{said.index(None)}], which has none; expected "
            "less than 1, or a share for each"
        )
    unsaid = sum(length for length, share in zip(seconds, said, strict=True) if share is None)
    return [
        (1 - given) * length / unsaid if share is None else share for length, share in zip(seconds, said, strict=True)
    ]


@dataclass(frozen=True)
class Planner:
    """Plans of batches without end; they depend on what is here alone, and any of them can be the first to be heard.

    Every corpus is heard in passes, each in another order, and gives its share of the sound. Of the clips of some
    `SORTED_BATCHES` batches those of like length form a batch of up to `batch_samples`: longer ones, and those of more
    than `crop_samples`, are cropped at random to the same frames, so nothing is ever padded.
    """

    clips: Sequence[Sequence[Clip]]
    shares: Sequence[float]
    grid: Grid
    batch_samples: int
    crop_samples: int
    seed: int

    def plans(self, start: int = 0, every: int = 1) -> Iterator[Plan]:
        """Plan number `start` and every `every`-th one after it."""
        for number, group in enumerate(self._groups()):
            if number >= start and (number - start) % every == 0:
                yield self._plan(number, group)

    def _plan(self, number: int, group: Sequence[tuple[Clip, int]]) -> Plan:
        random, stride = Random(f"{self.seed}/crops/{number}"), self.grid.stride
        samples = self._samples(group)
        offsets = [stride * random.randint(0, (clip.samples - samples) // stride) for clip, _ in group]
        crops = (Crop(clip, offset, visit) for (clip, visit), offset in zip(group, offsets, strict=True))
        return Plan(number, tuple(crops), self.grid.frames(samples))

    def _samples(self, group: Sequence[tuple[Clip, int]]) -> int:
        """What is heard of every clip of a batch: whole frames of the shortest."""
        return self.grid.samples(self.grid.frames(min(self._heard(clip) for clip, _ in group)))

    def _heard(self, clip: Clip) -> int:
        """What may be heard of a clip at most."""
        return min(clip.samples, self.crop_samples)

    def _groups(self) -> Iterator[list[tuple[Clip, int]]]:
        """The clips of each batch, with the number of the pass in which each is heard."""
        given = [0] * len(self.clips)
        stream = self._stream(given)
        random = Random(f"{self.seed}/order")
        waiting: list[tuple[Clip, int]] = []
        for turn in itertools.count():
            wanted = SORTED_BATCHES * self.batch_samples
            while wanted > 0:
                waiting.append(next(stream))
                wanted -= self._heard(waiting[-1][0])
            random.shuffle(waiting)
            # What does not fill a batch waits at the end where the next turn begins, so nothing waits for long.
            *full, waiting = self._batches(waiting, longest_first=turn % 2 == 0)
            for batch in full:
                samples = self._samples(batch)
                for clip, _ in batch:
                    given[clip.corpus] -= self._heard(clip) - samples
            random.shuffle(full)
            yield from full

    def _batches(self, clips: list[tuple[Clip, int]], *, longest_first: bool) -> list[list[tuple[Clip, int]]]:
        """Clips of like length together; the last batch may not be full yet."""
        batches: list[list[tuple[Clip, int]]] = [[]]
        for one in sorted(clips, key=lambda one: self._heard(one[0]), reverse=longest_first):
            shortest = self._heard(one[0] if longest_first or not batches[-1] else batches[-1][0][0])
            if batches[-1] and (len(batches[-1]) + 1) * shortest > self.batch_samples:
                batches.append([])
            batches[-1].append(one)
        return batches

    def _stream(self, given: list[int]) -> Iterator[tuple[Clip, int]]:
        """Clip after clip, each from the corpus that is furthest behind its share of what was `given`, in samples."""
        streams = [self._passes(corpus) for corpus in range(len(self.clips))]
        while True:
            corpus = min(range(len(streams)), key=lambda one: given[one] / self.shares[one])
            one = next(streams[corpus])
            given[corpus] += self._heard(one[0])
            yield one

    def _passes(self, corpus: int) -> Iterator[tuple[Clip, int]]:
        visit = 0
        while True:
            order = list(self.clips[corpus])
            Random(f"{self.seed}/{corpus}/{visit}").shuffle(order)
            yield from ((clip, visit) for clip in order)
            visit += 1
