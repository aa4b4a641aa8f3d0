"""One encoder on one task: features once, heads in every fold, predictions under every condition, results."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from crossfade import __version__
from crossfade.audio.mixing import draw_backgrounds
from crossfade.audio.sources import AudioFile
from crossfade.errors import InputError
from crossfade.memory import peak_memory
from crossfade.probing.cache import Cache, Pool
from crossfade.probing.features import Clip, Features, extract
from crossfade.probing.kinds import CLIP_KINDS, trial_scores
from crossfade.probing.learners import SOLVED, Learned, Lesson, learn
from crossfade.probing.metrics import METRICS
from crossfade.probing.results import Cost, ModelInfo, ProtocolInfo, Result, Scored, SweepPoint
from crossfade.probing.schema import Dataset, Fold, Head
from crossfade.probing.significance import estimate
from crossfade.probing.sounds import Sounds
from crossfade.probing.splits import few_shot
from crossfade.probing.upstreams import BESIDE, Upstream
from crossfade.progress import Progress

CLEAN = "clean"
MADE_OF: Mapping[Head, tuple[str, ...]] = {
    "linear": ("projection",),
    "frame": ("projection",),
    "mlp": ("hidden",),
    "blstm": ("projection", "hidden", "depth"),
    "ridge": (),
    "knn": (),
}
"""The settings that make a head what it is."""

SEEN: Mapping[Head, str] = {"ridge": "all", "knn": "one of all"}
"""What heads without learned weights see of layers, unless they were told which."""

UNUSUAL = ("warmup", "mixup", "balanced")
"""Parts of a training that most do without."""

PACKAGES = ("torch", "transformers", "soundfile")


@dataclass(frozen=True)
class Background:
    """What test clips are heard over: `files` of `name`, at a level of `snr` dB (power of clip over background)."""

    name: str
    files: tuple[AudioFile, ...]
    snr: float

    def __str__(self) -> str:
        return f"{self.name} at {self.snr:g} dB"


@dataclass(frozen=True)
class Question:
    """What is asked of a task: the lesson, training clips per class (None: all), draws of them, and conditions."""

    lesson: Lesson
    published: bool
    shots: int | None
    draws: int
    backgrounds: tuple[Background, ...]
    seed: int

    @property
    def seeds(self) -> tuple[int, ...]:
        """One for each column of predictions: of every start, or of every draw."""
        if self.shots is None:
            return self.lesson.training.seeds
        return tuple(range(self.seed, self.seed + self.draws))


class Heard:
    """Features of some items of a data set, under the items' own numbers."""

    def __init__(self, features: Features, items: Sequence[int], total: int) -> None:
        self.features, self.place = features, {item: place for place, item in enumerate(items)}
        self.skipped = {items[place]: reason for place, reason in features.skipped.items()}
        self.means = features.means.new_zeros(total if len(features.means) else 0, *features.means.shape[1:])
        if len(features.means):
            self.means[list(items)] = features.means

    def frames(self, index: int) -> Tensor:
        """(layers, frames, width) of an item."""
        return self.features.frames(self.place[index])

    def keep(self, indices: Tensor) -> Tensor:
        """Those items that could be heard."""
        return indices[[index not in self.skipped for index in indices.tolist()]] if self.skipped else indices


@dataclass
class Answers:
    """Predictions under one condition: for each item (or trial) its fold, and one prediction per seed or draw."""

    folds: dict[int, int]
    columns: list[dict[int, Any]]


def measure(
    upstream: Upstream, dataset: Dataset, question: Question, *, cache: Cache, sounds: Sounds, progress: Progress
) -> list[Result]:
    """One result for clean sound and one for each background. `sounds` is what other models heard before.

    Heads are trained on clean clips and tested under every condition. Clips that cannot be heard are left out of
    training and test and named in `skipped`. Raises InputError when too little is left, and as `extract` and `fit` do.
    """
    heard = {CLEAN: listen(upstream, dataset, None, question.seed, cache, sounds, progress)}
    heard |= {
        str(background): listen(upstream, dataset, background, question.seed, cache, sounds, progress)
        for background in question.backgrounds
    }
    seconds_features, started = sum(one.features.seconds for one in heard.values()), perf_counter()
    answers = {condition: Answers({}, []) for condition in heard}
    sweep: list[SweepPoint] = []
    chosen: list[float] = []
    for draw, fold, number in lessons(dataset, question, heard[CLEAN]):
        rate, device = upstream.frames_per_second, upstream.device
        learned = learn(dataset, fold, heard[CLEAN], question.lesson, rate, device, progress)
        chosen += learned.rates
        told = {"fold": number}
        if question.shots is not None or question.lesson.head in SOLVED:
            told["seed"] = question.seeds[draw]
        sweep += [point.model_copy(update=told) for point in learned.sweep]
        for condition, own in heard.items():
            answer(dataset, own, fold, number, learned, answers[condition], draw)
    cost = Cost(
        seconds_features=seconds_features,
        seconds_heads=perf_counter() - started,
        peak_memory_bytes=peak_memory(),
        cache_bytes_per_clip=heard[CLEAN].features.bytes_per_clip,
        threads=torch.get_num_threads(),
    )
    return [
        result(upstream, dataset, question, condition, own, answers[condition], sweep, chosen, cost)
        for condition, own in heard.items()
    ]


def listen(
    upstream: Upstream,
    dataset: Dataset,
    background: Background | None,
    seed: int,
    cache: Cache,
    sounds: Sounds,
    progress: Progress,
) -> Heard:
    """Features of all items, or of those that are tested over a background."""
    items = list(range(len(dataset.items))) if background is None else tested(dataset)
    mixes: Sequence[Any] = [None] * len(items)
    if background is not None:
        mixes = draw_backgrounds(background.files, [dataset.items[item].id for item in items], background.snr, seed)
    clips = [
        Clip(dataset.items[item].audio, dataset.items[item].start, dataset.items[item].seconds, mix)
        for item, mix in zip(items, mixes, strict=True)
    ]
    pool: Pool = "mean" if dataset.task.kind in CLIP_KINDS else "frames"
    features = extract(upstream, clips, pool=pool, cache=cache, sounds=sounds, progress=progress)
    return Heard(features, items, len(dataset.items))


def tested(dataset: Dataset) -> list[int]:
    """Items that are in any test."""
    compared = (item for first, second, _ in dataset.trials for item in (first, second))
    return sorted({*(item for fold in dataset.folds for item in fold.test.tolist()), *compared})


def lessons(dataset: Dataset, question: Question, heard: Heard) -> Iterator[tuple[int, Fold, int]]:
    """(draw, fold, its number) of all that is to be learned, without items that could not be heard."""
    for draw in range(question.draws if question.shots is not None else 1):
        drawn = dataset if question.shots is None else few_shot(dataset, question.shots, question.seeds[draw])
        for number, fold in enumerate(drawn.folds):
            kept = Fold(*(heard.keep(side) for side in (fold.train, fold.valid, fold.test)))
            for name in ("train", "test"):
                if not len(getattr(kept, name)):
                    reason = next(iter(heard.skipped.values()), "there are none")
                    raise InputError(
                        f"{dataset.task.name}: no clip of fold {number}'s {name} split can be heard: {reason}"
                    )
            yield draw, kept, number


def answer(
    dataset: Dataset, heard: Heard, fold: Fold, number: int, learned: Learned, answers: Answers, draw: int
) -> None:
    """Add what was learned of one fold says of its test: of its items, or of its trials."""
    asked = items = heard.keep(fold.test).tolist()
    if dataset.trials:
        known = {*items}
        trials = {at: trial for at, trial in enumerate(dataset.trials) if trial[0] in known and trial[1] in known}
        asked, items = list(trials), sorted({item for trial in trials.values() for item in trial[:2]})
    predictions = learned.predict(heard, items)
    if dataset.trials:
        place = {item: at for at, item in enumerate(items)}
        pairs = [(place[first], place[second], same) for first, second, same in trials.values()]
        predictions = [trial_scores(torch.stack(list(seed)), pairs) for seed in predictions]
    for where, column in enumerate(predictions, start=draw):
        while len(answers.columns) <= where:
            answers.columns.append({})
        answers.columns[where] |= dict(zip(asked, column, strict=True))
    answers.folds |= dict.fromkeys(asked, number)


def result(
    upstream: Upstream,
    dataset: Dataset,
    question: Question,
    condition: str,
    heard: Heard,
    answers: Answers,
    sweep: Sequence[SweepPoint],
    chosen: Sequence[float],
    cost: Cost,
) -> Result:
    """All that was found under one condition."""
    metric = METRICS[dataset.task.metric]
    items = scored(dataset, answers)
    averaged = len(dataset.folds) > 1 and dataset.items[0].split is not None
    found = estimate(metric, items, averaged=averaged, drawn=question.shots is not None)
    return Result(
        model=ModelInfo(
            name=model_name(upstream),
            path=upstream.name,
            revision=upstream.revision,
            sha256=upstream.sha256,
            parameters=upstream.parameters,
            layers=upstream.layers,
            width=upstream.width,
        ),
        task=dataset.told(dataset.folds),
        protocol=protocol(upstream, question, condition, averaged),
        metric=metric.name,
        better=metric.better,
        percent=metric.percent,
        value=found.value,
        interval=found.interval,
        interval_method=found.method,
        group_interval=found.group_interval,
        values=found.values,
        sweep=tuple(sweep),
        chosen=tuple(rate for rate in chosen if isfinite(rate)),
        seeds=question.seeds,
        skipped=tuple(
            (dataset.items[item].id, f"{reason}{_in_split(dataset, item)}") for item, reason in heard.skipped.items()
        ),
        items=tuple(items),
        cost=cost,
        versions=versions(),
    )


def model_name(upstream: Upstream) -> str:
    """What results call a model: a folder by its name alone, a hub id as it is, several with + between them."""
    names = [part.name for part in upstream.parts or (upstream,)]
    return BESIDE.join(Path(name).resolve().name if Path(name).is_dir() else name for name in names)


def _in_split(dataset: Dataset, item: int) -> str:
    """Where a clip is missing, unless folds take turns."""
    sides = {name: getattr(dataset.folds[0], name) for name in ("train", "valid", "test")}
    return next((f" ({name})" for name, side in sides.items() if item in side), "") if len(dataset.folds) == 1 else ""


def protocol(upstream: Upstream, question: Question, condition: str, averaged: bool) -> ProtocolInfo:
    """All that was asked, and nothing that was found: results compare where it is the same."""
    lesson, training = question.lesson, question.lesson.training
    shape: dict[str, Any] = {name: getattr(lesson.settings, name) for name in MADE_OF[lesson.head]}
    if lesson.head not in SOLVED:
        batch = training.batch * training.accumulate
        shape |= {"steps": training.steps, "batch": batch, "rates": training.rates}
        unusual = {"dropout": lesson.settings.dropout, **{name: getattr(training, name) for name in UNUSUAL}}
        shape |= {name: value for name, value in unusual.items() if value}
    if upstream.window != "clip":
        shape["window"] = upstream.window
    seen = lesson.settings.layers
    return ProtocolInfo(
        head=lesson.head,
        layers=SEEN.get(lesson.head, seen) if seen == "weighted" else seen,
        **shape,
        published=question.published,
        shots=question.shots,
        draws=question.draws if question.shots is not None else 1,
        condition=condition,
        folds="averaged" if averaged else "pooled",
        precision=upstream.precision,
        beam=lesson.beam,
    )


def scored(dataset: Dataset, answers: Answers) -> list[Scored]:
    """Every tested item, or trial, with its label and what each seed or draw said."""
    rows = []
    for index, fold in sorted(answers.folds.items()):
        if dataset.trials:
            first, second, label = dataset.trials[index]
            name, group = f"{dataset.items[first].id} | {dataset.items[second].id}", None
        else:
            item = dataset.items[index]
            name, group, label = item.id, item.group, item.label  # type: ignore[assignment]
        predictions = tuple(column[index] for column in answers.columns)
        rows.append(Scored(id=name, group=group, fold=fold, label=label, predictions=predictions))
    return rows


@cache
def versions() -> Mapping[str, str]:
    """What computed a result."""
    return {"crossfade": __version__, "python": platform.python_version()} | {name: version(name) for name in PACKAGES}
