"""From plans to batches: crops decoded, brought to every listener's rate and noise, beside the training."""

import multiprocessing
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from crossfade.audio.batches import Skipped, check_samples
from crossfade.audio.corruption import Corrupted, hear
from crossfade.audio.decode import UnreadableError, read_audio
from crossfade.distillation.clips import Crop, Grid, Plan
from crossfade.distillation.signals import Codes, Stored
from crossfade.training.noise import NoiseDraws

AHEAD = 2
"""Batches that every worker has ready: one that is used next, one for the time that reading takes longer."""


@dataclass(frozen=True)
class Batch:
    """Clips of one length. Those that could not be read are left out; there may be none left.

    samples: (clips, samples) float32, what the student hears. sounds: the same as teachers hear it, by their rate.
    codes: what each teacher said of the clips of its corpora, where signals are stored; None for the others.
    snrs: (2, clips), decibels of the noise that student and teachers hear, infinite where there is none.
    corpora: (clips,) int64. `names` of the clips; `skipped` are those left out, and noise that could not be added.
    """

    number: int
    frames: int
    samples: Tensor
    sounds: Mapping[int, Tensor]
    codes: tuple[Codes | None, ...]
    snrs: Tensor
    corpora: Tensor
    names: tuple[str, ...]
    skipped: tuple[Skipped, ...]

    def of(self, corpora: frozenset[int]) -> Tensor:
        """The places of the clips of these corpora, (clips,) int64."""
        return torch.tensor([place for place, corpus in enumerate(self.corpora.tolist()) if corpus in corpora]).long()


class Reader(Dataset[Batch]):
    """Batches by their plans; a data set for torch, whose indices are plans.

    rates: of the teachers that listen. stored: what the others said, in the order of the teachers.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        rates: Iterable[int] = (),
        stored: Sequence[Stored | None] = (),
        noise: NoiseDraws | None = None,
    ) -> None:
        self.grid, self.rates, self.stored, self.noise = grid, sorted(set(rates)), stored, noise

    def __getitem__(self, plan: Plan) -> Batch:
        kept: list[tuple[Crop, Corrupted, Corrupted]] = []
        skipped: list[Skipped] = []
        for crop in plan.crops:
            name = crop.clip.name(self.grid.rate)
            try:
                student, teacher = self._hear(crop, name, self.grid.samples(plan.frames))
            except UnreadableError as error:
                skipped.append(Skipped(name, str(error)))
                continue
            kept.append((crop, student, teacher))
            skipped += [Skipped(name, reason) for reason in student.skipped]
        return self._batch(plan, kept, skipped)

    def _hear(self, crop: Crop, name: str, samples: int) -> tuple[Corrupted, Corrupted]:
        """What the student and what teachers hear of a crop, at the student's rate."""
        rate = self.grid.rate
        sound = read_audio(crop.clip.file, rate, (crop.clip.start + crop.offset) / rate, samples / rate)
        check_samples(sound, rate, samples)
        if self.noise is None:
            clean = Corrupted(sound, torch.inf)
            return clean, clean
        return hear(sound, rate, self.noise.draw(name, crop.visit))

    def _batch(self, plan: Plan, kept: list[tuple[Crop, Corrupted, Corrupted]], skipped: list[Skipped]) -> Batch:
        samples = self.grid.samples(plan.frames)
        ours, theirs = [student for _, student, _ in kept], [teacher for *_, teacher in kept]
        teacher = _stacked(theirs, samples)
        return Batch(
            number=plan.number,
            frames=plan.frames,
            samples=_stacked(ours, samples),
            sounds={rate: resampled(teacher, self.grid.rate, rate) for rate in self.rates},
            codes=tuple(self._codes(stored, plan, [crop for crop, *_ in kept]) for stored in self.stored),
            snrs=torch.tensor([[one.snr for one in side] for side in (ours, theirs)]).view(2, -1),
            corpora=torch.tensor([crop.clip.corpus for crop, *_ in kept]).long(),
            names=tuple(crop.clip.name(self.grid.rate) for crop, *_ in kept),
            skipped=tuple(skipped),
        )

    def _codes(self, stored: Stored | None, plan: Plan, crops: list[Crop]) -> Codes | None:
        if stored is None:
            return None
        own = [(crop.clip, crop.offset) for crop in crops if crop.clip.corpus in stored.teacher.corpora]
        return stored.crops(own, plan.frames) if own else None


def _stacked(sounds: list[Corrupted], samples: int) -> Tensor:
    return torch.stack([sound.samples for sound in sounds]) if sounds else torch.empty(0, samples)


def resampled(sounds: Tensor, rate: int, wanted: int) -> Tensor:
    """Sounds (clips, samples) at `rate` Hz, as (clips, samples) at `wanted` Hz; the same tensor where rates agree."""
    if rate == wanted or not len(sounds):
        return sounds
    return torch.from_numpy(np.stack([soxr.resample(sound, rate, wanted, quality="HQ") for sound in sounds.numpy()]))


def read_ahead(reader: Reader, plans: Iterable[Plan], workers: int) -> Generator[Batch]:
    """The batch of every plan, in order, read by so many processes while others are used; 0: read when it is asked for.

    The workers are copies of this process, which share what it has opened; they end with the iterator.
    """
    forks = workers and "fork" in multiprocessing.get_all_start_methods()
    yield from DataLoader(
        reader,
        batch_size=None,
        sampler=plans,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        collate_fn=_as_it_is,
        multiprocessing_context="fork" if forks else None,
    )


def _as_it_is(batch: Any) -> Any:
    return batch
