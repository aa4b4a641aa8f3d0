"""What frozen features know of a task: a linear head, groups held out, an interval around the accuracy."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from crossfade.audio.decode import read_audio
from crossfade.encoders.sidecars import Preprocessing, normalise
from crossfade.quickstart.pack import Task

FOLDS, REPEATS = 5, 3
RIDGE = 0.01
"""Damping of the linear head, relative to the mean power of the standardised features."""

RESAMPLES = 2000
BATCH_SECONDS = 8.0


@dataclass(frozen=True)
class LabelledClips:
    """A task in memory: waveforms (samples,), class of each (clips,) int64, and the group that each belongs to."""

    task: Task
    samples: tuple[Tensor, ...]
    labels: Tensor
    groups: Tensor

    @cached_property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    def folds(self, seed: int) -> Tensor:
        """A fold for each clip; a group is in one fold only."""
        groups = int(self.groups.max()) + 1
        order = torch.randperm(groups, generator=torch.Generator().manual_seed(seed))
        return (order % min(FOLDS, groups))[self.groups]


def read_task(task: Task, rate: int) -> LabelledClips:
    """Decode a task's clips at `rate` Hz."""
    samples = [read_audio(path, rate) for path in task.paths]
    names = sorted(set(task.groups))
    groups = torch.tensor([names.index(group) for group in task.groups])
    return LabelledClips(task, tuple(samples), torch.tensor(task.labels), groups)


@torch.inference_mode()
def features(model: nn.Module, clips: Sequence[Tensor], preprocessing: Preprocessing, rate: int) -> Tensor:
    """Mean and deviation over time of every layer's output, (clips, 2 x layers x width)."""
    by_length: dict[int, list[int]] = {}
    for index, clip in enumerate(clips):
        by_length.setdefault(len(clip), []).append(index)
    pooled: dict[int, Tensor] = {}
    for length, indices in by_length.items():
        size = max(1, int(BATCH_SECONDS * rate / length))
        for start in range(0, len(indices), size):
            batch = indices[start : start + size]
            waveforms = normalise(torch.stack([clips[index] for index in batch]), preprocessing)
            layers = model(waveforms, output_hidden_states=True).hidden_states
            statistics = [moment for layer in layers for moment in (layer.mean(1), layer.std(1))]
            pooled |= zip(batch, torch.cat(statistics, dim=1), strict=True)
    return torch.stack([pooled[index] for index in range(len(clips))])


def ridge_head(train: Tensor, labels: Tensor, test: Tensor, classes: int) -> Tensor:
    """Predicted classes (tests,) of a linear head fitted in closed form to one-hot labels, on standardised features."""
    mean, deviation = train.mean(0), train.std(0) + 1e-5
    train, test = (train - mean) / deviation, (test - mean) / deviation
    wanted = one_hot(labels, classes).to(train.dtype)
    prior = wanted.mean(0)
    gram = train @ train.T / train.shape[1]
    weights = torch.linalg.solve(gram + RIDGE * torch.eye(len(gram), dtype=gram.dtype), wanted - prior)
    scores: Tensor = test @ train.T / train.shape[1] @ weights + prior
    return scores.argmax(1)


def correctness(found: Tensor, clips: LabelledClips, seed: int) -> Tensor:
    """Share of repeats (clips,) in which each clip was classified right while its group was held out."""
    right = torch.zeros(len(clips.labels))
    for repeat in range(REPEATS):
        folds = clips.folds(seed + repeat)
        for fold in range(int(folds.max()) + 1):
            test = folds == fold
            predicted = ridge_head(found[~test], clips.labels[~test], found[test], clips.classes)
            right[test] += (predicted == clips.labels[test]).float() / REPEATS
    return right


def resampled_accuracy(right: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Accuracy in percent of each task under RESAMPLES bootstrap draws of its clips, (RESAMPLES,).

    The draws depend on the task and the seed alone, so two models' draws are paired.
    """
    draws = {}
    for name, clips in right.items():
        generator = torch.Generator().manual_seed(seed + zlib.crc32(name.encode()))
        drawn = torch.randint(len(clips), (RESAMPLES, len(clips)), generator=generator)
        draws[name] = 100 * clips[drawn].mean(1)
    return draws


def interval(draws: Tensor) -> tuple[float, float]:
    """The middle 95 % of bootstrap draws."""
    low, high = torch.quantile(draws.double(), torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high
