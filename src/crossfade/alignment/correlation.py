"""Correlation scores: run the same audio through both models and correlate their channels (paper 1, section 1.1)."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from crossfade.alignment.moments import CrossMoments
from crossfade.alignment.taps import Taps
from crossfade.audio.batches import Batch
from crossfade.encoders.families import Tap
from crossfade.encoders.layout import Layout
from crossfade.encoders.sidecars import Preprocessing, normalise
from crossfade.parallel import side_by_side

CHUNK = 1024
"""Frames gathered before their products are added up: more take more memory, fewer take longer."""

SAMPLE = 0.2
"""Share of the frames that enter the statistics: neighbours say the same, and products cost as much as models."""

CONV_SAMPLE = 5.0
"""How many times that share convolutions give: of them little is spared, and they have more frames that differ."""


def wanted_taps(layout: Layout, points: Collection[str]) -> tuple[Tap, ...]:
    """The taps of the permutations that `points` leave free, or whose order of blocks is free."""
    free = {n for n, p in layout.permutations.items() if p.point in points or p.order.point in points}
    return tuple(tap for tap in layout.taps if tap.permutation in free)


def sample_frames(samples: int, layout: Layout, share: float, generator: torch.Generator) -> Tensor:
    """Positions in [0, 1) of one random frame in every 1 / share of the frames of a clip of `samples` samples."""
    frames = max(1, (samples - layout.receptive_field) // layout.stride + 1)
    count = max(1, round(frames * share))
    return (torch.arange(count) + torch.rand(count, generator=generator)) / count * (1 - 1e-6)


@torch.inference_mode()
def collect_moments(
    models: tuple[nn.Module, nn.Module],
    preprocessing: tuple[Preprocessing, Preprocessing],
    layout: Layout,
    taps: tuple[Tap, ...],
    batches: Iterable[Batch],
    *,
    share: float = SAMPLE,
    seed: int = 0,
) -> dict[Tap, CrossMoments]:
    """Moments of every tap over `batches` of clips of equal length, `share` of the frames sampled.

    Convolutions give `CONV_SAMPLE` times that share. Frames are sampled at the same instants of both models. Batches
    hold no padding, so there is none to exclude.
    """
    generator = torch.Generator().manual_seed(seed)
    device = next(models[0].parameters()).device
    groups = taps_by_share(taps, layout, share)
    moments: dict[Tap, CrossMoments] = {}
    pending: dict[Tap, tuple[list[Tensor], list[Tensor]]] = {tap: ([], []) for tap in taps}
    with ExitStack() as hooks:
        tapped = [{part: hooks.enter_context(Taps(model, group)) for part, group in groups.items()} for model in models]
        waiting = 0
        for batch in batches:
            frames = {part: sample_frames(batch.samples.shape[1], layout, part, generator) for part in groups}
            for which, model in enumerate(models):
                for part, reading in tapped[which].items():
                    reading.frames = frames[part]
                model(normalise(batch.samples.to(device), preprocessing[which]))
                for reading in tapped[which].values():
                    for tap, kept in reading.take().items():
                        pending[tap][which].append(kept)
            waiting += len(frames[min(frames)]) * len(batch.samples)
            if waiting >= CHUNK:
                _flush(moments, pending)
                waiting = 0
        _flush(moments, pending)
    return moments


def taps_by_share(taps: Collection[Tap], layout: Layout, share: float) -> dict[float, list[Tap]]:
    """Which share of the frames is sampled at which taps."""
    groups: dict[float, list[Tap]] = {}
    for tap in taps:
        dense = layout.permutations[tap.permutation].point == "conv"
        groups.setdefault(min(1.0, share * CONV_SAMPLE) if dense else share, []).append(tap)
    return groups


def _flush(moments: dict[Tap, CrossMoments], pending: Mapping[Tap, tuple[list[Tensor], list[Tensor]]]) -> None:
    def chunk(tap: Tap) -> CrossMoments:
        kept_a, kept_b = (torch.cat(kept) for kept in pending[tap])
        return CrossMoments.of(kept_a, kept_b)

    waiting = [tap for tap, (kept, _) in pending.items() if kept]
    for tap, found in zip(waiting, side_by_side(chunk, waiting), strict=True):
        if tap in moments:
            moments[tap].add(found)
        else:
            moments[tap] = found
        for kept in pending[tap]:
            kept.clear()


def correlation_scores(moments: Mapping[Tap, CrossMoments]) -> dict[str, Tensor]:
    """One score matrix per permutation: the mean correlation over its taps, (size, size) in [-1, 1]."""
    scores: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for tap, moment in moments.items():
        correlation = moment.correlation().float().cpu()
        scores[tap.permutation] = scores[tap.permutation] + correlation if tap.permutation in scores else correlation
        counts[tap.permutation] = counts.get(tap.permutation, 0) + 1
    return {name: score / counts[name] for name, score in scores.items()}
