"""What an upstream says of clips, computed once: from the cache where it is there, else heard, pooled and kept."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

import torch
from torch import Tensor

from crossfade.audio.decode import UnreadableError
from crossfade.errors import InputError
from crossfade.parallel import ahead, side_by_side
from crossfade.probing.cache import DTYPES, Cache, Pool, Shelf
from crossfade.probing.clips import READERS, Clip, entry_key, hash_files
from crossfade.probing.codes import quantise
from crossfade.probing.sounds import Sounds
from crossfade.probing.upstreams import Upstream
from crossfade.progress import SILENT, Progress

__all__ = ["Clip", "Features", "extract"]

BATCH_SECONDS = {"cpu": 8.0, "cuda": 160.0}
"""Sound in a batch, padding included: a processor's caches are small, a GPU wants more at a time."""

AT_MOST = 32
"""Batches at a time on a processor, each on one thread: each takes memory."""


@dataclass(frozen=True)
class Features:
    """Features of clips, in the order of the clips.

    `means` (clips, layers, width) float32 for pool "mean", of no clips for others. `skipped` says for each clip that
    could not be heard why; its row is zero and it has no frames. `computed` counts the clips that were heard now,
    `cached` those that were found, `damaged` the shards and entries of the cache that had to be thrown away.
    `bytes_per_clip` is what the values of a clip take on disk on average, `seconds` what all of this took.
    """

    means: Tensor
    skipped: Mapping[int, str]
    computed: int
    cached: int
    damaged: int
    bytes_per_clip: float
    seconds: float
    _frames: Mapping[int, Tensor] = field(default_factory=dict, repr=False)

    def frames(self, index: int) -> Tensor:
        """(layers, frames, width) float16 of clip `index`, mapped from disk: read when it is used, not to be changed.

        For pool "codes" it is what `codes.quantise` made of them.

        Raises KeyError for a clip that was skipped, and for pool "mean".
        """
        if index not in self._frames:
            raise KeyError(f"no frames of clip {index}: {self.skipped.get(index, 'only means were asked for')}")
        return self._frames[index]


@dataclass(frozen=True)
class _Sound:
    entry: str
    clip: Clip
    samples: Tensor


def extract(
    upstream: Upstream,
    clips: Sequence[Clip],
    *,
    pool: Pool,
    cache: Cache,
    sounds: Sounds | None = None,
    progress: Progress = SILENT,
) -> Features:
    """Features of every clip: its mean over time of each layer ("mean") or all its frames ("frames", "codes").

    Clips are known by what they contain: nothing is decoded for one whose features are in `cache`. The others are
    decoded in threads, sorted by length and heard in batches with next to no padding, which changes nothing (see
    `Upstream.features`); on a processor several batches at a time, on one thread each. Results are written to the cache
    every minute, so a run that was killed goes on where it was. `sounds` keeps what is decoded for the next upstream;
    without it nothing decoded is kept.

    Unreadable, silent, too short and non-finite clips are in `skipped`. Raises InputError when that is all of them,
    when features are NaN or Inf, for a background that cannot be used, and, before any clip is heard, when the features
    are more than the cache may hold.
    """
    started = perf_counter()
    sounds = sounds or Sounds(most_bytes=0)
    entries, skipped = _entries(clips, upstream.rate)
    shelf = cache.shelf(upstream.key, pool)
    found = {entry for entry in set(entries.values()) if shelf.get(entry) is not None}
    cached = sum(entry in found for entry in entries.values())
    absent = {entry: clips[index] for index, entry in entries.items() if entry not in found}
    missing, seconds = _longest_first(absent, sounds, upstream.rate)
    frames = len(missing) if pool == "mean" else round(seconds * upstream.frames_per_second)
    cache.make_room(frames * upstream.layers * upstream.width * DTYPES[pool].itemsize)
    unheard = _compute(upstream, missing, sounds, shelf, progress)
    cache.prune()
    skipped |= {index: unheard[entry] for index, entry in entries.items() if entry in unheard}
    if len(skipped) == len(clips):
        raise InputError(_nothing_heard(clips, skipped))
    kept = {index: _kept(shelf, entry) for index, entry in entries.items() if index not in skipped}
    return Features(
        means=_stacked(kept, len(clips)) if pool == "mean" else torch.empty(0, upstream.layers, upstream.width),
        skipped=dict(sorted(skipped.items())),
        computed=len(kept) - cached,
        cached=cached,
        damaged=shelf.damaged,
        bytes_per_clip=sum(tensor.nbytes for tensor in kept.values()) / len(kept),
        seconds=perf_counter() - started,
        _frames={} if pool == "mean" else kept,
    )


def _entries(clips: Sequence[Clip], rate: int) -> tuple[dict[int, str], dict[int, str]]:
    """The key of every clip whose file can be read, and why the others cannot."""
    hashes = hash_files([clip.audio for clip in clips] + [clip.mix.background for clip in clips if clip.mix])
    entries: dict[int, str] = {}
    skipped: dict[int, str] = {}
    for index, clip in enumerate(clips):
        try:
            entries[index] = entry_key(clip, hashes, rate)
        except UnreadableError as error:
            skipped[index] = str(error)
    return entries, skipped


def _compute(
    upstream: Upstream, missing: Mapping[str, Clip], sounds: Sounds, shelf: Shelf, progress: Progress
) -> dict[str, str]:
    """Hear the clips of `missing`, the longest first, and put their features on the shelf; why some were not heard."""
    skipped: dict[str, str] = {}
    on_processor = upstream.device.type == "cpu"
    batch_samples = round(BATCH_SECONDS["cpu" if on_processor else "cuda"] * upstream.rate)
    batches = _batches(_heard(upstream, missing, sounds, skipped), batch_samples)
    workers = min(AT_MOST, torch.get_num_threads()) if on_processor else 1
    done = side_by_side(partial(_features, upstream, shelf.pool), batches, workers)
    try:
        for batch in progress.track(
            done, total=len(missing), description=f"Features of {upstream.name}", count=lambda batch: len(batch)
        ):
            for entry, features in batch:
                shelf.put(entry, features)
    finally:
        shelf.flush()
    return skipped


def _longest_first(clips: Mapping[str, Clip], sounds: Sounds, rate: int) -> tuple[dict[str, Clip], float]:
    """The clips by what their headers promise, and how many seconds that is."""
    lengths = sounds.lengths(clips, rate)
    order = sorted(clips, key=lambda entry: lengths[entry], reverse=True)
    return {entry: clips[entry] for entry in order}, sum(lengths.values()) / rate


def _heard(
    upstream: Upstream, missing: Mapping[str, Clip], sounds: Sounds, skipped: dict[str, str]
) -> Iterator[_Sound]:
    """The sounds of `missing`, decoded ahead of whoever takes them."""

    def attempt(entry: str) -> Tensor | UnreadableError:
        try:
            return sounds.hear(entry, missing[entry], upstream.rate, upstream.minimum_samples)
        except UnreadableError as error:
            return error

    for entry, samples in zip(missing, ahead(attempt, missing, READERS), strict=True):
        if isinstance(samples, UnreadableError):
            skipped[entry] = str(samples)
        else:
            yield _Sound(entry, missing[entry], samples)


def _batches(sounds: Iterable[_Sound], samples: int) -> Iterator[list[_Sound]]:
    """Neighbours together, up to `samples` in all with the padding to the longest, but at least one."""
    batch: list[_Sound] = []
    longest = 0
    for sound in sounds:
        longest = max(longest, len(sound.samples))
        if batch and longest * (len(batch) + 1) > samples:
            yield batch
            batch, longest = [], len(sound.samples)
        batch.append(sound)
    if batch:
        yield batch


@torch.inference_mode()
def _features(upstream: Upstream, pool: Pool, batch: Sequence[_Sound]) -> list[tuple[str, Tensor]]:
    """What the shelf keeps of each sound. InputError where it is not finite."""
    kept = []
    for sound, layers in zip(batch, upstream.features([sound.samples for sound in batch]), strict=True):
        features = _pooled(layers, pool).to(DTYPES[pool])
        if not (layers if pool == "codes" else features).isfinite().all():
            raise InputError(_not_finite(upstream, sound.clip, layers))
        kept.append((sound.entry, features.cpu()))
    return kept


def _pooled(layers: Tensor, pool: Pool) -> Tensor:
    if pool == "mean":
        # Sums in float64: the mean of the frames to the last bit that float32 has.
        return layers.mean(1, dtype=torch.float64)
    return quantise(layers) if pool == "codes" else layers


def _not_finite(upstream: Upstream, clip: Clip, layers: Tensor) -> str:
    for number, layer in enumerate(layers):
        if not layer.isfinite().all():
            mend = "compute in float32" if upstream.precision != "float32" else "check its weights"
            return f"{upstream.name}: features of {clip.name} are NaN or Inf from layer {number} on; {mend}"
    return (
        f"{upstream.name}: features of {clip.name} reach {float(layers.abs().max()):.3g}, more than half precision, in "
        "which frames are kept, can hold; take a task that works on means over time"
    )


def _kept(shelf: Shelf, entry: str) -> Tensor:
    found = shelf.get(entry)
    if found is None:
        raise InputError(f"{shelf.folder}: features were deleted or changed while they were in use; run again")
    return found


def _stacked(kept: Mapping[int, Tensor], clips: int) -> Tensor:
    rows = next(iter(kept.values())).new_zeros(clips, *next(iter(kept.values())).shape)
    for index, row in kept.items():
        rows[index] = row
    return rows


def _nothing_heard(clips: Sequence[Clip], skipped: Mapping[int, str]) -> str:
    first = "; ".join(f"{clips[index].name}: {skipped[index]}" for index in list(skipped)[:3])
    return (
        f"no usable audio, all {len(clips)} clips were skipped; first: {first or 'none were given'}; give other audio"
    )
