"""Every way to learn a task from frozen features, behind one function: heads over clips, over frames, neighbours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from crossfade.errors import InputError
from crossfade.probing.frames import fit_frames
from crossfade.probing.heads import HeadSettings, fit_heads, layers_seen
from crossfade.probing.kinds import CLIP_KINDS, ClipTargets, encode_clips, encode_frames
from crossfade.probing.knn import fit_knn
from crossfade.probing.metrics import METRICS, Metric
from crossfade.probing.results import SweepPoint
from crossfade.probing.ridge import fit_ridge
from crossfade.probing.schema import Dataset, Fold, Head, Kind
from crossfade.probing.training import RATES, Training
from crossfade.progress import Progress

Layers = Literal["weighted", "last"] | int
ProtocolName = Literal["sweep", "published"]

OVER_CLIPS: tuple[Head, ...] = ("linear", "mlp", "ridge", "knn")
OVER_FRAMES: tuple[Head, ...] = ("blstm", "frame")

SOLVED: tuple[Head, ...] = ("ridge", "knn")
"""Heads without gradients."""

SWEEP_CLIPS, SWEEP_FRAMES = (100, 300, 3000), (30, 300, 1000)
"""How often each head of a sweep hears the training clips, and its fewest and most updates: over clips, over frames."""

CHECKS = 20


class Heard(Protocol):
    """Features of a data set's items: means of all of them, or the frames of one."""

    @property
    def means(self) -> Tensor: ...
    def frames(self, index: int) -> Tensor: ...


@dataclass(frozen=True)
class Learned:
    """What was learned of one fold.

    `predict(heard, items)` gives, for every seed, one prediction for each item (verification: its embedding). `rates`
    are the learning rates that validation data chose, one per seed; `sweep` every rate's best.
    """

    predict: Callable[[Heard, Sequence[int]], list[list[Any]]]
    rates: tuple[float, ...]
    sweep: tuple[SweepPoint, ...]


@dataclass(frozen=True)
class Lesson:
    """How a task is learned: the head, how it is trained, and which of it the published protocol says."""

    head: Head
    settings: HeadSettings
    training: Training
    beam: int = 1


def plan_lesson(
    dataset: Dataset,
    *,
    protocol: ProtocolName,
    head: Head | None,
    layers: Layers | None,
    seeds: Sequence[int],
    beam: int,
    shots: int | None = None,
) -> Lesson:
    """The lesson that a protocol asks for; `head` and `layers` None: as published.

    "published" is the task's own protocol: its rate, steps, batch, warm-up. "sweep" keeps its head and batch, and tries
    eleven learning rates for `sweep_steps` each. Raises InputError for a head that the task cannot have.
    """
    said, kind = dataset.task.protocol, dataset.task.kind
    head = head or said.head
    possible = OVER_CLIPS if kind in CLIP_KINDS else OVER_FRAMES
    if head not in possible:
        raise InputError(f"{dataset.task.name}: head {head!r} cannot learn {kind}; expected {' or '.join(possible)}")
    if head in SOLVED and (protocol == "published" or kind == "verification"):
        raise InputError(
            f"{dataset.task.name}: head {head} is in no published protocol and compares no pairs; use linear"
        )
    shape = said.model_dump(include={"projection", "hidden", "depth", "dropout"})
    settings = HeadSettings(head, said.layers if layers is None else layers, **shape)
    seeds = tuple(seeds) if head not in SOLVED else tuple(seeds[:1])
    if protocol == "published":
        own = said.model_dump(include={"steps", "batch", "accumulate", "warmup", "mixup", "balanced"})
        return Lesson(head, settings, Training(rates=(said.rate,), seeds=seeds, checks=CHECKS, **own), beam)
    clips = max(len(fold.train) for fold in dataset.folds) if shots is None else 0
    steps = sweep_steps(kind, clips, said.batch)
    training = Training(rates=RATES, steps=steps, batch=said.batch, seeds=seeds, checks=CHECKS, mixup=said.mixup)
    return Lesson(head, settings, replace(training, balanced=said.balanced), beam)


def sweep_steps(kind: Kind, clips: int, batch: int) -> int:
    """Updates of each head of a sweep over so many training clips."""
    epochs, fewest, most = SWEEP_CLIPS if kind in CLIP_KINDS else SWEEP_FRAMES
    return min(max(fewest, epochs * clips // batch), most)


def learn(
    dataset: Dataset,
    fold: Fold,
    heard: Heard,
    lesson: Lesson,
    rate: float,
    device: torch.device,
    progress: Progress,
) -> Learned:
    """Learn one fold's training items; `rate` is the encoder's frames a second.

    Heads over frames are trained on `device`; those over cached means are too small to gain from a GPU.
    """
    kind, labels = dataset.task.kind, [item.label for item in dataset.items]
    if kind in CLIP_KINDS:
        return _over_clips(kind, labels, fold, heard, lesson, METRICS[dataset.task.metric], progress)
    targets = encode_frames(kind, labels, rate, fold.train, dataset.task.tokens)
    fitted = fit_frames(
        heard,
        targets,
        fold,
        lesson.settings,
        lesson.training,
        names=[item.id for item in dataset.items],
        metric=METRICS[dataset.task.metric],
        device=device,
        progress=progress,
    )

    def predict(heard: Heard, items: Sequence[int]) -> list[list[Any]]:
        scored = fitted.scores(heard, items)
        return [[targets.decode(clip, lesson.beam) for clip in seed] for seed in scored]

    return Learned(predict, fitted.rates, fitted.sweep)


def _over_clips(
    kind: Kind, labels: Sequence[Any], fold: Fold, heard: Heard, lesson: Lesson, metric: Metric, progress: Progress
) -> Learned:
    targets = encode_clips(kind, labels, fold.train)
    if lesson.head in SOLVED:
        return _solved(targets, fold, heard, lesson, metric)
    fitted = fit_heads(heard.means, targets, fold, lesson.settings, lesson.training, metric=metric, progress=progress)

    def predict(heard: Heard, items: Sequence[int]) -> list[list[Any]]:
        features = heard.means[list(items)]
        if kind == "verification":
            return [list(seed) for seed in fitted.embeddings(features)]
        return [targets.decode(seed) for seed in fitted.scores(features)]

    return Learned(predict, fitted.rates, fitted.sweep)


def _solved(targets: ClipTargets, fold: Fold, heard: Heard, lesson: Lesson, metric: Metric) -> Learned:
    layers = layers_seen(heard.means.shape[1], lesson.settings.layers)
    seen = slice(layers.start, layers.stop)
    solve = fit_ridge if lesson.head == "ridge" else fit_knn
    solved = solve(heard.means[:, seen], targets, fold, metric)
    curve = [
        point if point.layer is None else point.model_copy(update={"layer": layers[point.layer]})
        for point in solved.curve
    ]

    def predict(heard: Heard, items: Sequence[int]) -> list[list[Any]]:
        return [targets.decode(seed) for seed in solved.scores(heard.means[list(items), seen])]

    return Learned(predict, (), tuple(curve))
