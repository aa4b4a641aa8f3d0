"""From a batch to what each teacher wants of it, on the scale on which it is imitated."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from crossfade.distillation.distiller import Standard, Target
from crossfade.distillation.objectives import fit_clusters
from crossfade.distillation.reading import Batch
from crossfade.distillation.recipe import Objective
from crossfade.distillation.signals import Teacher
from crossfade.errors import InputError

MEASURED_CLIPS = 200
"""Clips from which a teacher's scale is known well enough: their frames are tens of thousands."""

CLUSTERED_FRAMES = 100
"""Frames of each of these clips that clusters are made of."""


def answers(teachers: Sequence[Teacher], batch: Batch, device: torch.device) -> list[Target | None]:
    """What every teacher says of the clips of its corpora, at the student's frames; None where there are none."""
    said: list[Target | None] = []
    for number, teacher in enumerate(teachers):
        places = batch.of(teacher.corpora)
        codes = batch.codes[number] if batch.codes else None
        if not len(places):
            said.append(None)
        elif codes is not None:
            said.append(Target(places.to(device), codes.aligned(teacher, batch.frames, device)))
        else:
            sounds = batch.sounds[teacher.upstream.rate][places]
            said.append(Target(places.to(device), teacher.listen(sounds, batch.frames)))
    return said


def standardised(said: Sequence[Target | None], standards: Sequence[Standard]) -> list[Target | None]:
    """The same on the scale of `standards`."""
    return [
        target and Target(target.places, standard(target.wanted))
        for target, standard in zip(said, standards, strict=True)
    ]


def measure_standards(
    teachers: Sequence[Teacher],
    standards: Sequence[Standard],
    batches: Iterable[Batch],
    objective: Objective,
    device: torch.device,
    seed: int,
) -> None:
    """Set the scale and the clusters of every teacher from the first `MEASURED_CLIPS` clips of `batches` that it hears.

    Where fewer are heard, as `batches` end, they have to do. Channels that never change are brought to mean 0 alone.
    Raises InputError where a teacher hears none, and what `fit_clusters` raises.
    """
    moments = [_Moments(standard, CLUSTERED_FRAMES if objective.masked else 0, seed) for standard in standards]
    for batch in batches:
        for moment, target in zip(moments, answers(teachers, batch, device), strict=True):
            if target is not None and moment.clips < MEASURED_CLIPS:
                moment.add(target.wanted)
        if all(moment.clips >= MEASURED_CLIPS for moment in moments):
            break
    for teacher, standard, moment in zip(teachers, standards, moments, strict=True):
        if not moment.clips:
            raise InputError(f"{teacher.upstream.name}: none of the first clips of its data could be read")
        moment.into(standard, scale=teacher.wanted.standardise)
        if objective.masked:
            frames = standard(moment.sampled())[-1]
            standard.centres.copy_(fit_clusters(frames, objective.clusters, seed))


class _Moments:
    """Sums over all frames of some clips, in float64, and a sample of the frames."""

    def __init__(self, like: Standard, sampled: int, seed: int) -> None:
        self.clips, self.frames, self._sampled = 0, 0, sampled
        self.sum = torch.zeros_like(like.mean, dtype=torch.float64)
        self.squares = torch.zeros_like(self.sum)
        self._sample: list[Tensor] = []
        self._generator = torch.Generator().manual_seed(seed)

    def add(self, heard: Tensor) -> None:
        """Frames (clips, layers, frames, width)."""
        values = heard.double().transpose(0, 1).flatten(1, 2)
        self.clips += len(heard)
        self.frames += values.shape[1]
        self.sum += values.sum(1, keepdim=True)
        self.squares += values.square().sum(1, keepdim=True)
        if self._sampled:
            chosen = torch.randint(values.shape[1], (self._sampled * len(heard),), generator=self._generator)
            self._sample.append(heard.transpose(0, 1).flatten(1, 2)[:, chosen.to(heard.device)])

    def sampled(self) -> Tensor:
        return torch.cat(self._sample, dim=1)

    def into(self, standard: Standard, *, scale: bool) -> None:
        if scale:
            mean = self.sum / self.frames
            variance = self.squares / self.frames - mean.square()
            moved = variance > 1e-10 * (self.squares / self.frames)  # float64's rounding of what does not change
            standard.mean.copy_(mean)
            standard.deviation.copy_(variance.where(moved, 1.0).sqrt())
