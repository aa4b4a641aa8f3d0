"""Features of clips of mixed length: Crossfade beside a plain padded loop over transformers.

`python extraction.py MODEL CLIPS ROUNDS` prints JSON. The loop is what a model card shows: AutoFeatureExtractor with
padding=True, AutoModel, clips in the order given; of batches of 8 and 16 the faster one counts, round by round. Both
decode the same WAV files, keep the mean over time of every layer, and run on as many threads; Crossfade also writes its
cache.
"""

import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import soundfile
import torch
from torch import Tensor
from transformers import AutoFeatureExtractor, AutoModel

from crossfade.audio.decode import audio_seconds, read_audio
from crossfade.audio.sources import AudioFile, find_audio
from crossfade.probing.cache import Cache
from crossfade.probing.features import Clip, extract
from crossfade.probing.upstreams import open_upstream
from crossfade.quickstart.pack import calibration_folders

RATE = 16000
SHORTEST, LONGEST = 1.0, 12.0
BATCHES = (8, 16)


def write_clips(folder: Path, count: int, seed: int = 0) -> list[AudioFile]:
    """`count` WAV files of 1 to 12 s, uniformly drawn, made of the calibration recordings one after another."""
    draw = random.Random(seed)
    sounds = [read_audio(file, RATE) for source in find_audio(list(calibration_folders().values())) for file in source]
    files = []
    for number in range(count):
        samples = round(draw.uniform(SHORTEST, LONGEST) * RATE)
        parts: list[Tensor] = []
        while sum(map(len, parts)) < samples:
            parts.append(draw.choice(sounds))
        path = folder / f"{number}.wav"
        soundfile.write(path, torch.cat(parts)[:samples].numpy(), RATE, subtype="PCM_16")
        files.append(AudioFile(path.name, path))
    return files


@torch.inference_mode()
def plain_loop(model: Any, extractor: Any, files: list[AudioFile], size: int) -> Tensor:
    """Means (clips, layers, width) over the frames of each clip, as far as the padding left them alone."""
    means = []
    for start in range(0, len(files), size):
        clips = [read_audio(file, RATE).numpy() for file in files[start : start + size]]
        inputs = extractor(clips, sampling_rate=RATE, padding=True, return_tensors="pt")
        states = torch.stack(model(**inputs, output_hidden_states=True).hidden_states, dim=1)
        frames = [int(model._get_feat_extract_output_lengths(len(clip))) for clip in clips]
        means += [state[:, :length].mean(1) for state, length in zip(states, frames, strict=True)]
    return torch.stack(means)


def compare(name: str, count: int, rounds: int) -> dict[str, Any]:
    """All by turns; a few clips of each warm up."""
    model, extractor = AutoModel.from_pretrained(name).eval(), AutoFeatureExtractor.from_pretrained(name)
    upstream = open_upstream(name, device="cpu")
    loops: dict[int, list[float]] = {size: [] for size in BATCHES}
    ours: list[float] = []
    with tempfile.TemporaryDirectory(prefix="crossfade-bench-") as folder:
        files = write_clips(Path(folder), count)
        clips = [Clip(file) for file in files]
        plain_loop(model, extractor, files[:4], 4)
        extract(upstream, clips[:4], pool="mean", cache=Cache(Path(folder) / "warm"))
        for number in range(rounds):
            cache = Cache(Path(folder) / f"cache{number}")
            ours.append(extract(upstream, clips, pool="mean", cache=cache).seconds)
            for size, seconds in loops.items():
                started = time.perf_counter()
                plain_loop(model, extractor, files, size)
                seconds.append(time.perf_counter() - started)
        again = extract(upstream, clips, pool="mean", cache=cache)
        frames = extract(upstream, clips[:8], pool="frames", cache=cache)
        audio = sum(map(audio_seconds, files))
        ratios = [min(plain) / own for *plain, own in zip(*loops.values(), ours, strict=True)]
    return {
        "model": Path(name).name,
        "clips": count,
        "audio_seconds": round(audio, 1),
        "threads": torch.get_num_threads(),
        "plain_seconds": {size: round(median(seconds), 2) for size, seconds in loops.items()},
        "seconds": round(median(ours), 2),
        "plain_over_ours": round(median(ratios), 2),
        "all_plain_seconds": {size: [round(value, 2) for value in seconds] for size, seconds in loops.items()},
        "all_seconds": [round(value, 2) for value in ours],
        "from_cache_seconds": round(again.seconds, 3),
        "bytes_per_clip_mean": round(again.bytes_per_clip),
        "bytes_per_clip_frames": round(frames.bytes_per_clip),
    }


def main() -> None:
    name, count, rounds = sys.argv[1:]
    print(json.dumps(compare(name, int(count), int(rounds)) | {"load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
