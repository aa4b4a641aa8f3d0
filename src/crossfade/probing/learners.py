"""Every way to learn a task from frozen features, behind one function: heads over clips, over frames, neighbours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
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
from crossfade.probing.schema import Dataset, Fold, Head, Kind, Task
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

NEEDED = dict.fromkeys(("roc_auc", "average_precision"), "it needs a tag that some of them have and some lack")
"""Why a metric has no value on some labels."""
NOTHING = "their labels are empty"


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

    "published" is the task's own protocol: its rate, steps, batch, warm-up. "sweep" keeps its head, batch, mixup and
    balance, and tries eleven learning rates for `sweep_steps` each: what the task says of rate, steps, warm-up and
    accumulation is not used. `beam` counts for text alone. Raises InputError for a head that the task cannot have, or
    not so, and for several seeds of one that has none.
    """
    said, kind = dataset.task.protocol, dataset.task.kind
    head = head or said.head
    possible = OVER_CLIPS if kind in CLIP_KINDS else OVER_FRAMES
    if head not in possible:
        raise InputError(f"{dataset.task.name}: head {head!r} cannot learn {kind}; expected {' or '.join(possible)}")
    if head in SOLVED:
        _solvable(dataset.task, head, protocol, len(seeds))
    beam = beam if kind == "ctc" else 1
    shape = said.model_dump(include={"projection", "hidden", "depth", "dropout"})
    settings = HeadSettings(head, said.layers if layers is None else layers, **shape)
    seeds = tuple(seeds)
    if protocol == "published":
        own = said.model_dump(include={"steps", "batch", "accumulate", "warmup", "mixup", "balanced"})
        return Lesson(head, settings, Training(rates=(said.rate,), seeds=seeds, checks=CHECKS, **own), beam)
    clips = max(len(fold.train) for fold in dataset.folds) if shots is None else 0
    steps = sweep_steps(kind, clips, said.batch)
    training = Training(rates=RATES, steps=steps, batch=said.batch, seeds=seeds, checks=CHECKS, mixup=said.mixup)
    return Lesson(head, settings, replace(training, balanced=said.balanced), beam)


def _solvable(task: Task, head: Head, protocol: ProtocolName, seeds: int) -> None:
    """InputError for what a head without gradients cannot be asked."""
    faults = {
        "is in no published protocol; use protocol sweep, or head linear": protocol == "published",
        "compares no pairs of clips; use head linear": task.kind == "verification",
        f"has no seed, so {seeds} of them are one; leave seeds out, or use head linear": seeds > 1,
    }
    if said := [fault for fault, there in faults.items() if there]:
        raise InputError(f"{task.name}: head {head} {said[0]}")


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
    blank = targets.decode(torch.zeros(1, targets.outputs))
    _judged(METRICS[dataset.task.metric], labels, fold, lambda clips: [blank for _ in range(clips)])
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


def _judged(metric: Metric, labels: Sequence[Any], fold: Fold, constant: Callable[[int], list[Any]]) -> None:
    """InputError where the metric has no value on validation labels: a constant answer for every clip shows it."""
    valid = [labels[clip] for clip in fold.valid.tolist()]
    if valid and not isfinite(metric.value(valid, constant(len(valid)))):
        raise InputError(
            f"validation: {metric.name} has no value on these {len(valid)} clips ({NEEDED.get(metric.name, NOTHING)}); "
            "expected other clips in the valid split, or more of them"
        )


def _over_clips(
    kind: Kind, labels: Sequence[Any], fold: Fold, heard: Heard, lesson: Lesson, metric: Metric, progress: Progress
) -> Learned:
    targets = encode_clips(kind, labels, fold.train)
    if kind != "verification":  # whose pairs are looked at where they are made
        _judged(metric, labels, fold, lambda clips: targets.decode(torch.zeros(clips, targets.outputs)))
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
