"""Eleven learning rates over cached features beside one epoch of one head over recomputed features, as s3prl trains.

`python sweep.py MODEL ROUNDS` prints JSON.

The clips are those of two tasks in the package, month names and instruments, in one task: 249 of them, about 150 of
which train.
Ours: features from a warm cache, eleven heads as `crossfade probe` trains them, all of it measured.
The peer: for each batch of 32 training clips once (decoded before the clock starts), the encoder on the clips padded to
the longest, the weighted sum of its layers, projection, mean, output, backward, Adam; no validation. By turns, on as
many threads. What filling the cache took, once, is told beside it.
"""

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoFeatureExtractor, AutoModel

from crossfade.audio.decode import read_audio
from crossfade.probing.cache import Cache
from crossfade.probing.features import Clip, extract
from crossfade.probing.heads import HeadSettings, fit_heads
from crossfade.probing.kinds import encode_clips
from crossfade.probing.learners import CHECKS, sweep_steps
from crossfade.probing.schema import Fold, Item
from crossfade.probing.tasks import load_dataset, load_task
from crossfade.probing.training import Training
from crossfade.probing.upstreams import open_upstream
from crossfade.quickstart.pack import PACK

RATE, BATCH = 16000, 32
TASKS = ("month", "note_instrument")


class PublishedHead(nn.Module):
    """SUPERB's utterance head over frames."""

    def __init__(self, layers: int, width: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Parameter(torch.zeros(layers))
        self.projection, self.output = nn.Linear(width, 256), nn.Linear(256, classes)

    def forward(self, states: Tensor, lengths: list[int]) -> Tensor:
        """Scores (clips, classes) of states (layers, clips, frames, width)."""
        mixed = (self.layers.softmax(0)[:, None, None, None] * states).sum(0)
        rows = self.projection(
            pad_sequence([clip[:length] for clip, length in zip(mixed, lengths, strict=True)], batch_first=True)
        )
        return self.output(torch.stack([clip[:length].mean(0) for clip, length in zip(rows, lengths, strict=True)]))


@dataclass(frozen=True)
class Peer:
    """What one epoch over recomputed features needs, decoded and loaded."""

    model: Any
    extractor: Any
    clips: list[Tensor]
    classes: Tensor

    def epoch(self) -> None:
        config = self.model.config
        head = PublishedHead(config.num_hidden_layers + 1, config.hidden_size, int(self.classes.max()) + 1)
        optimiser = torch.optim.Adam(head.parameters(), lr=1e-3)
        for batch in torch.randperm(len(self.clips)).split(BATCH):
            sounds = [self.clips[clip].numpy() for clip in batch.tolist()]
            inputs = self.extractor(sounds, sampling_rate=RATE, padding=True, return_tensors="pt")
            with torch.no_grad():
                states = torch.stack(self.model(**inputs, output_hidden_states=True).hidden_states)
            lengths = [int(self.model._get_feat_extract_output_lengths(len(sound))) for sound in sounds]
            loss = cross_entropy(head(states, lengths), self.classes[batch])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimiser.step()


def load_items() -> tuple[list[Item], Fold]:
    """Clips of both tasks, named by what they say or play, and the first fold of each together."""
    items: list[Item] = []
    sides: dict[str, list[Tensor]] = {"train": [], "valid": [], "test": []}
    for task in TASKS:
        dataset = load_dataset(load_task(PACK / task))
        for side, found in sides.items():
            found.append(getattr(dataset.folds[0], side) + len(items))
        items += dataset.items
    return items, Fold(**{side: torch.cat(found) for side, found in sides.items()})


def load_peer(model: Path, items: list[Item], train: Tensor) -> Peer:
    chosen = [items[item] for item in train.tolist()]
    names = sorted({str(item.label) for item in chosen})
    return Peer(
        AutoModel.from_pretrained(model).eval(),
        AutoFeatureExtractor.from_pretrained(model),
        [read_audio(item.audio, RATE) for item in chosen],
        torch.tensor([names.index(str(item.label)) for item in chosen]),
    )


def timed(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(model: Path, rounds: int, scratch: Path) -> dict[str, Any]:
    """Both by turns, after one epoch that warms up."""
    items, fold = load_items()
    upstream, cache = open_upstream(str(model), device="cpu"), Cache(scratch / f"{model.name}-cache")
    clips, labels = [Clip(item.audio) for item in items], [item.label for item in items]
    filled = extract(upstream, clips, pool="mean", cache=cache)
    peer = load_peer(model, items, fold.train)
    training = Training(steps=sweep_steps("classification", len(fold.train), BATCH), batch=BATCH, checks=CHECKS)

    def sweep() -> None:
        means = extract(upstream, clips, pool="mean", cache=cache).means
        fit_heads(means, encode_clips("classification", labels, fold.train), fold, HeadSettings(), training)

    peer.epoch()
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(timed(sweep))
        theirs.append(timed(peer.epoch))
    return {
        "model": model.name,
        "clips": len(clips),
        "training_clips": len(fold.train),
        "training_audio_seconds": round(sum(map(len, peer.clips)) / RATE, 1),
        "rates": len(training.rates),
        "steps": training.steps,
        "filling_the_cache_seconds": round(filled.seconds, 2),
        "cache_bytes_per_clip": round(filled.bytes_per_clip),
        "sweep_seconds": round(median(ours), 2),
        "one_epoch_recomputed_seconds": round(median(theirs), 2),
        "sweep_over_one_epoch": round(median(ours) / median(theirs), 3),
        "all_sweep_seconds": [round(value, 2) for value in ours],
        "all_epoch_seconds": [round(value, 2) for value in theirs],
    }


def main() -> None:
    name, rounds = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="crossfade-sweep-") as folder:
        print(json.dumps(compare(Path(name), int(rounds), Path(folder))))


if __name__ == "__main__":
    main()
