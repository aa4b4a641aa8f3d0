"""What teachers want: of a crop that they hear, or, kept in 8 bits, of the whole clip that it is from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor

import torch
from torch import Tensor

from crossfade.audio.batches import Skipped
from crossfade.distillation.clips import Clip, Grid
from crossfade.distillation.objectives import align_time
from crossfade.distillation.recipe import Teacher as Wanted
from crossfade.errors import InputError
from crossfade.probing.cache import Cache
from crossfade.probing.clips import Clip as Stretch
from crossfade.probing.codes import dequantise, split_codes
from crossfade.probing.features import Features, extract
from crossfade.probing.upstreams import Upstream, open_upstream, upstream_key
from crossfade.progress import SILENT, Progress

__all__ = ["Codes", "Stored", "Teacher", "open_teachers", "store"]


@dataclass(frozen=True)
class Teacher:
    """A teacher of the recipe, open: `layers` of `upstream` are wanted, on clips of `corpora` alone.

    `offset` leads from the centre of the student's first frame to that of the teacher's, in seconds, where both hear
    the same sound.
    """

    wanted: Wanted
    upstream: Upstream
    layers: tuple[int, ...]
    corpora: frozenset[int]
    grid: Grid
    offset: float

    def listen(self, sounds: Tensor, frames: int) -> Tensor:
        """Its layers (clips, layers, frames, width) at the student's frames, for sounds (clips, samples) at its rate.

        Raises InputError where its frames and the student's cannot be aligned in time.
        """
        heard = torch.stack([answer[list(self.layers)] for answer in self.upstream.features(list(sounds))])
        return self._aligned(heard, frames, self.offset)

    def hear_noise(self, frames: int) -> None:
        """Raises InputError where what it says of so many of the student's frames cannot be aligned with them."""
        samples = round(self.grid.samples(frames) * self.upstream.rate / self.grid.rate)
        self.listen(torch.randn(1, samples, generator=torch.Generator().manual_seed(0)), frames)

    def _aligned(self, heard: Tensor, frames: int, offset: float) -> Tensor:
        rates = self.upstream.frames_per_second, self.grid.rate / self.grid.stride
        try:
            return align_time(heard, *rates, frames, offset)
        except InputError as error:
            raise InputError(f"{self.upstream.name}: {error}") from None


def open_teachers(
    recipe: Sequence[Wanted], domains: Sequence[str | None], grid: Grid, device: str = "auto"
) -> list[Teacher]:
    """The teachers of a recipe, each model opened once; `domains` are those of its corpora.

    Teachers answer in float32 in whatever precision they or the student compute. Raises InputError for a model that
    cannot be used, and for a layer that it does not have.
    """
    opened: dict[tuple[str, str], Upstream] = {}
    teachers = []
    for number, wanted in enumerate(recipe):
        spoken = wanted.model, wanted.precision
        upstream = opened.get(spoken) or open_upstream(wanted.model, device, wanted.precision)
        opened[spoken] = upstream
        layers = wanted.layers or (upstream.layers - 1,)
        if max(layers) >= upstream.layers:
            raise InputError(
                f"teachers[{number}].layers: {upstream.name} has no layer {max(layers)}; expected 0 to "
                f"{upstream.layers - 1}"
            )
        corpora = frozenset(
            place for place, domain in enumerate(domains) if wanted.domain is None or domain == wanted.domain
        )
        offset = upstream.offset - (grid.field - 1) / 2 / grid.rate
        teachers.append(Teacher(wanted, upstream, layers, corpora, grid, offset))
    return teachers


# Stored signals -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Codes:
    """A teacher's frames around each of some crops, one after the other, as they are kept.

    `codes` (layers, frames, width) bytes, `ranges` (clips, layers, 2, width); `frames` counts those of each clip, the
    first of which lies `offsets` seconds after the centre of the crop's first frame.
    """

    codes: Tensor
    ranges: Tensor
    frames: tuple[int, ...]
    offsets: tuple[float, ...]

    def aligned(self, teacher: Teacher, frames: int, device: torch.device) -> Tensor:
        """The teacher's layers (clips, layers, frames, width) at the student's frames, float32 on `device`."""
        pieces = torch.split(self.codes.to(device), list(self.frames), dim=1)
        ranges = self.ranges.to(device)
        return torch.stack(
            [
                teacher._aligned(dequantise(piece, span), frames, offset)
                for piece, span, offset in zip(pieces, ranges, self.offsets, strict=True)
            ]
        )


@dataclass(frozen=True)
class Stored:
    """Whole clips as a teacher heard them, in 8 bits on disk; `places` leads from a clip's number to its features."""

    teacher: Teacher
    features: Features
    places: Mapping[int, int]

    def crops(self, crops: Sequence[tuple[Clip, int]], frames: int) -> Codes:
        """The frames that crops of `frames` student frames need, of clips from their sample `offset` on."""
        cut = [self._crop(clip, offset, frames) for clip, offset in crops]
        codes, ranges, counts, offsets = zip(*cut, strict=True)
        return Codes(torch.cat(codes, dim=1), torch.stack(ranges), counts, offsets)

    def _crop(self, clip: Clip, offset: int, frames: int) -> tuple[Tensor, Tensor, int, float]:
        packed, ranges = split_codes(self.features.frames(self.places[clip.number]))
        ours, theirs = self.teacher.grid.rate / self.teacher.grid.stride, self.teacher.upstream.frames_per_second
        lead = self.teacher.offset - offset / self.teacher.grid.rate
        # In the teacher's frames: where the student's first and last frame begin and end to be a mean of them.
        beyond = max(0.0, theirs / ours - 1) / 2
        start = min(max(0, floor(-lead * theirs - beyond) - 1), packed.shape[1] - 1)
        stop = ceil((frames - 1) / ours * theirs - lead * theirs + beyond) + 2
        part = packed[:, start:stop]
        return part, ranges, part.shape[1], lead + start / theirs


def store(
    teacher: Teacher, clips: Sequence[Clip], cache: Cache, progress: Progress = SILENT
) -> tuple[Stored, list[Skipped]]:
    """What the teacher says of whole clips of its corpora: from the cache, else it listens now and the cache keeps it.

    Clips that it cannot hear are skipped. Raises InputError where that is all of them.
    """
    own = [clip for clip in clips if clip.corpus in teacher.corpora]
    rate = teacher.grid.rate
    stretches = [Stretch(clip.file, clip.start / rate, clip.samples / rate) for clip in own]
    upstream = _of_layers(teacher.upstream, teacher.layers)
    features = extract(upstream, stretches, pool="codes", cache=cache, progress=progress)
    skipped = [Skipped(own[place].name(rate), reason) for place, reason in features.skipped.items()]
    places = {clip.number: place for place, clip in enumerate(own) if place not in features.skipped}
    return Stored(teacher, features, places), skipped


def _of_layers(upstream: Upstream, layers: tuple[int, ...]) -> Upstream:
    """The same upstream with these layers alone, under a key of its own."""

    def listen(clips: Sequence[Tensor]) -> list[Tensor]:
        return [heard[list(layers)] for heard in upstream.listen(clips)]

    key = upstream_key(upstream=upstream.key, layers=layers)
    return replace(upstream, key=key, layers=len(layers), listen=listen)
