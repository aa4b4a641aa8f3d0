"""Does an assignment from sampled frames match as well as one from all frames? Judged by the statistics of all frames.

`python agreement.py FIRST SECOND AUDIO CLIPS` prints JSON.
"""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from listening import Pair, load_pair
from torch import Tensor

from crossfade.alignment.assignment import assign
from crossfade.alignment.correlation import SAMPLE, collect_moments, correlation_scores
from crossfade.encoders.families import POINTS


def scores_of(pair: Pair, share: float, seed: int = 0) -> dict[str, Tensor]:
    return correlation_scores(
        collect_moments(pair.models, pair.preprocessing, pair.layout, pair.taps, pair.batches, share=share, seed=seed)
    )


def matched(scores: Mapping[str, Tensor], permutations: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean correlation of the paired channels, permutation by permutation."""
    return {name: float(score[torch.arange(len(score)), permutations[name]].mean()) for name, score in scores.items()}


def by_point(values: Mapping[str, float], pair: Pair) -> dict[str, float]:
    points: dict[str, list[float]] = {}
    for name, value in values.items():
        points.setdefault(pair.layout.permutations[name].point, []).append(value)
    return {point: sum(found) / len(found) for point, found in points.items()}


def compare(pair: Pair) -> dict[str, Any]:
    """Matched correlation of both assignments under all frames, overall and for each point."""
    every = scores_of(pair, 1.0)
    sampled = scores_of(pair, SAMPLE)
    started = time.perf_counter()
    from_sampled = assign(sampled, pair.layout, POINTS)
    seconds = time.perf_counter() - started
    best, ours = matched(every, assign(every, pair.layout, POINTS)), matched(every, from_sampled)
    best_points, our_points = by_point(best, pair), by_point(ours, pair)
    return {
        "audio_seconds": pair.audio_seconds,
        "share_of_frames": SAMPLE,
        "assignment_seconds": round(seconds, 2),
        "matched_all_frames": round(sum(best.values()) / len(best), 4),
        "matched_sampled": round(sum(ours.values()) / len(ours), 4),
        "agreement": round(sum(ours.values()) / sum(best.values()), 4),
        "agreement_by_point": {point: round(our_points[point] / best_points[point], 4) for point in best_points},
    }


if __name__ == "__main__":
    first, second, audio, clips = sys.argv[1:]
    print(json.dumps(compare(load_pair(Path(first), Path(second), Path(audio), int(clips)))))
