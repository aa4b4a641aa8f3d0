"""What a training is made of, from a recipe: student, teachers, clips and the order in which they are heard."""

import hashlib
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil
from typing import Any

import torch
from torch import nn

from crossfade.audio.batches import Skipped
from crossfade.distillation.clips import Clip, Grid, Planner, corpus_shares, licence_hours, list_clips
from crossfade.distillation.distiller import Distiller
from crossfade.distillation.reading import Batch, Reader, read_ahead
from crossfade.distillation.recipe import DistilRecipe
from crossfade.distillation.signals import Stored, Teacher, open_teachers, store
from crossfade.distillation.students import make_student
from crossfade.encoders.sidecars import Preprocessing
from crossfade.errors import InputError
from crossfade.probing.cache import Cache
from crossfade.progress import Progress
from crossfade.training.noise import NoiseDraws
from crossfade.training.processes import gathered

HARMLESS = ("workers", "save_steps", "log")
"""Settings of a training that may change while it is interrupted."""


@dataclass(frozen=True)
class Course:
    """Everything that a training needs but time. `start` tells how the student began, `skipped` what cannot be heard;
    `shares` of what is heard come from each corpus, whose clips are `clips`, hours of each under `licences`.
    """

    recipe: DistilRecipe
    student: nn.Module
    preprocessing: Preprocessing
    start: Mapping[str, Any]
    teachers: Sequence[Teacher]
    distiller: Distiller
    clips: Sequence[Sequence[Clip]]
    shares: Sequence[float]
    licences: Sequence[Mapping[str, float]]
    skipped: Sequence[Skipped]
    planner: Planner
    reader: Reader

    def read(self, start: int, every: int, count: int) -> Generator[Batch]:
        """`count` batches, from number `start` on, every `every`-th one."""
        plans = islice(self.planner.plans(start, every), count)
        return read_ahead(self.reader, plans, self.recipe.training.workers)

    def identity(self, processes: int) -> dict[str, Any]:
        """What must agree for a training to go on where it stopped (JSON)."""
        told = self.recipe.model_dump(mode="json", by_alias=True)
        training = {key: value for key, value in told["training"].items() if key not in HARMLESS}
        return {
            "recipe": told | {"training": training},
            "teachers": [teacher.upstream.key for teacher in self.teachers],
            "student": dict(self.start),
            "sound": [
                _digest([[clip.file.name, clip.start, clip.samples] for clip in corpus]) for corpus in self.clips
            ],
            "processes": processes,
        }


def prepare(recipe: DistilRecipe, cache: Cache, device: str, processes: tuple[int, int], progress: Progress) -> Course:
    """The course of a recipe. Process `processes[0]` of `processes[1]` listens to its part of what is stored.

    Raises InputError for all that keeps student, teachers and data apart.
    """
    # Whatever can be refused is, before hours are spent on listening.
    noise = NoiseDraws(recipe.noise, recipe.seed) if recipe.noise else None
    student, preprocessing, start = make_student(recipe.student)
    grid = student_grid(student, preprocessing)
    teachers = open_teachers(recipe.teachers, [corpus.domain for corpus in recipe.data], grid, device)
    torch.manual_seed(recipe.seed)
    sizes = [(len(teacher.layers), teacher.upstream.width) for teacher in teachers]
    distiller = Distiller(student, preprocessing, recipe.teachers, sizes, recipe.objective, recipe.training.average)
    crop, batch = (
        round(seconds * grid.rate) for seconds in (recipe.training.crop_seconds, recipe.training.batch_seconds)
    )
    shortest = [_shortest(grid, teachers, corpus) for corpus in range(len(recipe.data))]
    _check_lengths(recipe, grid, crop, batch, max(shortest))
    longest = round((recipe.training.clip_seconds or 2 * recipe.training.crop_seconds) * grid.rate)
    clips, skipped = list_clips(recipe.data, grid, shortest=shortest, longest=longest)
    shares = corpus_shares(recipe.data, [sum(clip.samples for clip in corpus) / grid.rate for corpus in clips])
    licences = [
        licence_hours(corpus.source, found, grid.rate) for corpus, found in zip(recipe.data, clips, strict=True)
    ]
    for teacher in teachers:
        teacher.hear_noise(grid.frames(crop))
    stored: list[Stored | None] = [None] * len(teachers)
    if recipe.signals == "stored" and recipe.training.steps:
        stored = list(
            _store(teachers, [clip for corpus in clips for clip in corpus], cache, processes, progress, skipped)
        )
        clips = [_heard_by_all(corpus, stored, recipe) for corpus in clips]
    return Course(
        recipe=recipe,
        student=student,
        preprocessing=preprocessing,
        start=start,
        teachers=teachers,
        distiller=distiller,
        clips=clips,
        shares=shares,
        licences=licences,
        skipped=skipped,
        planner=Planner(clips, shares, grid, batch, crop, recipe.seed),
        reader=Reader(
            grid,
            rates=[one.upstream.rate for one, kept in zip(teachers, stored, strict=True) if kept is None],
            stored=stored,
            noise=noise,
        ),
    )


def student_grid(student: Any, preprocessing: Preprocessing) -> Grid:
    """When a student's frames are, by its config."""
    field, stride = 1, 1
    for kernel, step in zip(student.config.conv_kernel, student.config.conv_stride, strict=True):
        field += (kernel - 1) * stride
        stride *= step
    return Grid(preprocessing.sampling_rate, stride, field)


def _shortest(grid: Grid, teachers: Sequence[Teacher], corpus: int) -> int:
    """Samples of a corpus's shortest clip: after it is cropped to the grid all who listen must hear a frame."""
    needed = [
        ceil(one.upstream.minimum_samples * grid.rate / one.upstream.rate) for one in teachers if corpus in one.corpora
    ]
    return max([grid.field, *needed]) + grid.stride


def _check_lengths(recipe: DistilRecipe, grid: Grid, crop: int, batch: int, shortest: int) -> None:
    if crop < shortest:
        raise InputError(
            f"training.crop_seconds {recipe.training.crop_seconds:g}: student and teachers need at least "
            f"{shortest / grid.rate:g}"
        )
    if (clip := recipe.training.clip_seconds) and clip < recipe.training.crop_seconds:
        raise InputError(
            f"training.clip_seconds {clip:g}: crops of {recipe.training.crop_seconds:g} seconds cannot be cut out; "
            "expected at least crop_seconds"
        )
    if recipe.objective.correlation and batch < 2 * crop:
        raise InputError(
            f"training.batch_seconds {recipe.training.batch_seconds:g}: the correlation loss compares the clips of a "
            f"batch; expected at least 2 * crop_seconds, {2 * recipe.training.crop_seconds:g}"
        )


def _store(
    teachers: Sequence[Teacher],
    clips: Sequence[Clip],
    cache: Cache,
    processes: tuple[int, int],
    progress: Progress,
    skipped: list[Skipped],
) -> Iterator[Stored]:
    """What each teacher said; where there are several processes, each listens to its part first."""
    rank, count = processes
    for teacher in teachers:
        if count > 1:
            if part := [clip for clip in clips if clip.corpus in teacher.corpora][rank::count]:
                store(teacher, part, cache, progress)
            gathered(None)
        kept, unheard = store(teacher, clips, cache, progress)
        skipped += unheard
        yield kept


def _heard_by_all(corpus: Sequence[Clip], stored: Sequence[Stored | None], recipe: DistilRecipe) -> list[Clip]:
    """The clips that all their teachers could hear."""
    kept = [
        clip
        for clip in corpus
        if all(one is None or clip.corpus not in one.teacher.corpora or clip.number in one.places for one in stored)
    ]
    if not kept:
        raise InputError(f"data {recipe.data[corpus[0].corpus].source}: none of its clips can be heard by all teachers")
    return kept


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
