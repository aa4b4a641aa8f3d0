"""Clips with their text, in batches that a training finds again by their number."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from random import Random

from torch import Tensor

from crossfade.audio.batches import Skipped
from crossfade.audio.corruption import corrupt
from crossfade.audio.decode import UnreadableError
from crossfade.errors import InputError
from crossfade.parallel import ahead
from crossfade.probing.clips import Clip
from crossfade.probing.ctc import frames_needed
from crossfade.probing.schema import Dataset, Item
from crossfade.probing.sounds import Sounds
from crossfade.probing.upstreams import Upstream
from crossfade.prompts.listening import frames_of
from crossfade.prompts.transcripts import Transcripts
from crossfade.training.noise import NoiseDraws

JITTER = 0.1
"""Share by which lengths are taken for others when like ones are put together, so that passes differ."""


@dataclass(frozen=True)
class Utterance:
    """An item of the data, so long by its file's header, and what is said in it."""

    item: Item
    samples: int
    text: str
    ids: Tensor

    @property
    def clip(self) -> Clip:
        """What is decoded."""
        return Clip(self.item.audio, self.item.start, self.item.seconds)


@dataclass(frozen=True)
class Plan:
    """Which utterances batch `number` is of, in which pass over the data."""

    number: int
    visit: int
    places: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """What is heard: clips (samples,) and the ids of their tokens; those that cannot be heard are left out."""

    number: int
    samples: tuple[Tensor, ...]
    ids: tuple[Tensor, ...]
    names: tuple[str, ...]
    skipped: tuple[Skipped, ...]


def list_utterances(
    dataset: Dataset, transcripts: Transcripts, side: str, upstream: Upstream, sounds: Sounds
) -> tuple[list[Utterance], list[Skipped]]:
    """The clips of one side ("train", "valid", "test") of the data, and those that are left out, with the reason.

    Left out are clips without a frame and, in training, those with more text than frames can carry. Raises InputError
    where nothing is left.
    """
    items = [(dataset.items[item], transcripts.texts[item]) for item in getattr(dataset.folds[0], side).tolist()]
    found = [Utterance(item, 0, text, transcripts.table.encode(text)) for item, text in items]
    lengths = sounds.lengths({one.item.id: one.clip for one in found}, upstream.rate)
    kept: list[Utterance] = []
    skipped: list[Skipped] = []
    for one in found:
        samples = lengths[one.item.id]
        if fault := _fault(one, samples, upstream, side == "train"):
            skipped.append(Skipped(one.item.id, fault))
        else:
            kept.append(Utterance(one.item, samples, one.text, one.ids))
    if not kept:
        told = f"{skipped[0].name}: {skipped[0].reason}" if skipped else "there are none"
        raise InputError(f"{dataset.task.name}: no clip of the {side} split can be used; first: {told}")
    return kept, skipped


def _fault(one: Utterance, samples: int, upstream: Upstream, carried: bool) -> str | None:
    if samples < upstream.minimum_samples:
        return f"too short or unreadable: {samples} samples at {upstream.rate} Hz, {upstream.minimum_samples} needed"
    needed, frames = frames_needed(one.ids), frames_of(upstream, samples)
    if carried and frames < needed:
        return f"its transcript of {len(one.ids)} tokens needs {needed} frames, the clip has {frames}"
    return None


def plans(lengths: Sequence[int], most: int, seed: int) -> Iterator[Plan]:
    """Batches without end over clips of `lengths` samples, every pass in another order: always the same ones.

    Clips of like length are together; a batch has `most` samples with its padding, but one clip at least.
    """
    numbers = count()
    for visit in count():
        random = Random(f"{seed}/{visit}")
        order = sorted(range(len(lengths)), key=lambda place: lengths[place] * random.uniform(1 - JITTER, 1 + JITTER))
        batches = grouped(order, lengths, most)
        random.shuffle(batches)
        yield from (Plan(next(numbers), visit, tuple(batch)) for batch in batches)


def grouped(order: Sequence[int], lengths: Sequence[int], most: int) -> list[list[int]]:
    """Neighbours together, `most` samples with the padding to the longest, but one clip at least."""
    batches: list[list[int]] = []
    longest = 0
    for place in order:
        longest = max(longest, lengths[place])
        if not batches or longest * (len(batches[-1]) + 1) > most:
            batches.append([])
            longest = lengths[place]
        batches[-1].append(place)
    return batches


@dataclass(frozen=True)
class Reader:
    """Batches by their plans, with the noise that is drawn for them, read one ahead of their use."""

    utterances: Sequence[Utterance]
    upstream: Upstream
    sounds: Sounds
    noise: NoiseDraws | None
    most: int
    seed: int

    def __call__(self, start: int, every: int, number: int) -> Generator[Batch]:
        """`number` batches from `start` on, every `every`-th one."""
        coming = plans([one.samples for one in self.utterances], self.most, self.seed)
        yield from ahead(self.read, islice(coming, start, start + every * number, every), workers=1)

    def read(self, plan: Plan) -> Batch:
        """The batch of a plan."""
        heard: list[tuple[Utterance, Tensor]] = []
        skipped: list[Skipped] = []
        for one in (self.utterances[place] for place in plan.places):
            try:
                samples, silent = self.hear(one, plan.visit)
                heard.append((one, samples))
                skipped += silent
            except UnreadableError as error:
                skipped.append(Skipped(one.item.id, str(error)))
        return Batch(
            number=plan.number,
            samples=tuple(samples for _, samples in heard),
            ids=tuple(one.ids for one, _ in heard),
            names=tuple(one.item.id for one, _ in heard),
            skipped=tuple(skipped),
        )

    def clean(self, one: Utterance) -> Tensor:
        """A clip (samples,) as it is. Raises UnreadableError."""
        return self.sounds.hear(one.item.id, one.clip, self.upstream.rate, self.upstream.minimum_samples)

    def hear(self, one: Utterance, visit: int) -> tuple[Tensor, list[Skipped]]:
        """A clip (samples,) under the noise that is drawn for this pass, and noise that it had to go without.

        Raises UnreadableError.
        """
        samples = self.clean(one)
        if self.noise is None:
            return samples, []
        made = corrupt(samples, self.upstream.rate, self.noise.draw(one.item.id, visit)[0])
        return made.samples, [Skipped(one.item.id, f"without its noise: {reason}") for reason in made.skipped]


def readable(
    utterances: Iterable[Utterance], reader: Reader, most: int | None = None, *, noisy: bool = False
) -> tuple[list[tuple[Utterance, Tensor]], list[tuple[str, str]]]:
    """Clips with their samples, and the ids and reasons of those that cannot be heard. InputError where all cannot.

    most: no more clips than that; what comes after them is not read. noisy: under noise, as the reader's first pass.
    """
    kept: list[tuple[Utterance, Tensor]] = []
    skipped: list[tuple[str, str]] = []
    for one in utterances:
        if len(kept) == most:
            break
        try:
            kept.append((one, reader.hear(one, 0)[0] if noisy else reader.clean(one)))
        except UnreadableError as error:
            skipped.append((one.item.id, str(error)))
    if not kept:
        raise InputError(f"{skipped[0][0]}: {skipped[0][1]}; none of {len(skipped)} clips can be heard")
    return kept, skipped
