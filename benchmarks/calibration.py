"""Collecting alignment statistics over real audio, beside two plain forward passes over the same batches.

`python calibration.py {time,plain,statistics} FIRST SECOND AUDIO CLIPS ROUNDS` prints JSON; `plain` and `statistics` do
one pass of one kind, so that the peak memory of the process is that pass's.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from listening import Pair, load_pair

from crossfade.alignment.correlation import SAMPLE, collect_moments


def statistics_pass(pair: Pair) -> None:
    collect_moments(pair.models, pair.preprocessing, pair.layout, pair.taps, pair.batches)


def timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(pair: Pair, rounds: int) -> dict[str, Any]:
    """Both kinds of pass by turns; the first of each warms up."""
    plain, ours = [], []
    for _ in range(rounds + 1):
        plain.append(timed(pair.plain_pass))
        ours.append(timed(lambda: statistics_pass(pair)))
    return {
        "audio_seconds": pair.audio_seconds,
        "taps": len(pair.taps),
        "share_of_frames": SAMPLE,
        "plain_seconds": round(median(plain[1:]), 3),
        "statistics_seconds": round(median(ours[1:]), 3),
        "time_over_plain": round(median(a / b for a, b in zip(ours[1:], plain[1:], strict=True)), 3),
        "fastest_time_over_plain": round(min(ours[1:]) / min(plain[1:]), 3),
        "all_plain_seconds": [round(value, 3) for value in plain[1:]],
        "all_statistics_seconds": [round(value, 3) for value in ours[1:]],
    }


def main() -> None:
    kind, first, second, audio, clips, rounds = sys.argv[1:]
    pair = load_pair(Path(first), Path(second), Path(audio), int(clips))
    if kind == "time":
        print(json.dumps(compare(pair, int(rounds))))
        return
    seconds = timed(pair.plain_pass if kind == "plain" else lambda: statistics_pass(pair))
    print(json.dumps({"seconds": round(seconds, 3)}))


if __name__ == "__main__":
    main()
