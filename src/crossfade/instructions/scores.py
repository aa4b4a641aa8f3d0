"""Scores of a run: every instance under every reader, with intervals, failures and what was not applicable."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import FiniteFloat, JsonValue, ValidationError

from crossfade import __version__
from crossfade.documents import Strict, first_fault
from crossfade.errors import InputError
from crossfade.instructions.benchmark import Instance, Kind
from crossfade.instructions.choices import option_named
from crossfade.instructions.judge import Judge
from crossfade.instructions.metrics import AnswerMetric, metrics_of
from crossfade.instructions.readers import READERS, Reader, Reading, read
from crossfade.instructions.runs import Answered, Run, Told, counted
from crossfade.instructions.taxonomy import branch
from crossfade.probing.results import Scored, write_file
from crossfade.probing.significance import RECOMPUTED, RESAMPLES, estimate
from crossfade.progress import SILENT, Progress

SCHEMA = 1
EXAMPLES, SHOWN = 3, 200
"""How many answers that were not applicable are kept to look at, and how much of each."""

MOST_DRAWN = 200_000_000
"""Items that are drawn for one interval, in all its resamples: 2,000 resamples of 100,000 items."""

ELSEWHERE = ("other",)
RULES: tuple[Reader, ...] = ("exact", "normalised")


class Figure(Strict):
    """One metric under one reader; `method` says how the interval was found, or why there is no value.

    `counted` are the items behind the value, `not_applicable` those of all items in which the reader found no answer.
    """

    metric: str
    better: Literal["higher", "lower"]
    percent: bool
    value: FiniteFloat | None
    interval: tuple[FiniteFloat, FiniteFloat] | None
    method: str
    counted: int
    not_applicable: int


class Example(Strict):
    """An answer that was not applicable."""

    id: str
    label: str
    answer: str


class Read(Strict):
    """What one reader found: a figure for every metric, in the instance's order."""

    figures: tuple[Figure, ...]
    examples: tuple[Example, ...] = ()

    @property
    def first(self) -> Figure | None:
        """The figure that stands for the instance: that of its first metric; None where nothing could be scored."""
        return self.figures[0] if self.figures else None


class InstanceScore(Strict):
    """An instance of a run.

    `failed` items have no answer, for the `errors` that are counted by their text; they count as answers that are not
    applicable. `whole` is whether every item was asked.
    """

    name: str
    task: str
    kind: Kind
    branch: tuple[str, ...]
    languages: tuple[str, ...]
    revision: str | None
    items: int
    whole: bool
    failed: int
    errors: Mapping[str, int]
    readers: Mapping[Reader, Read]
    notes: tuple[str, ...]


class Relative(Strict):
    """How much better than a baseline each instance is, in percent of it; `lost` says why others have no such score."""

    baseline: str
    reader: Reader
    scores: Mapping[str, FiniteFloat]
    lost: Mapping[str, str]


class Scores(Strict):
    """A scored run: of which model, on which benchmark, and every instance.

    `comparable` is false for encoders that were probed: they learned from the items, so nothing here compares with the
    benchmark's leaderboard. `cost` is the run's; `judge` says who judged, by which prompts.
    """

    model: str
    identity: Mapping[str, JsonValue]
    comparable: bool
    benchmark: str
    instances: tuple[InstanceScore, ...]
    cost: Mapping[str, JsonValue]
    judge: Mapping[str, JsonValue] | None = None
    relative: Relative | None = None
    notes: tuple[str, ...] = ()

    def reader(self, wanted: Reader | None = None) -> Reader:
        """The reader that is wanted, by default the judge if there was one, else the rules'. Raises InputError."""
        had = [reader for reader in READERS if any(reader in one.readers for one in self.instances)]
        if wanted is not None and wanted not in had:
            raise InputError(f"reader: {self.model} was not scored by '{wanted}'; expected one of {', '.join(had)}")
        return wanted or had[-1]


def save_scores(path: str | Path, scores: Scores, *, overwrite: bool = False) -> None:
    """Write `scores` to `path`, whole or not at all. Raises InputError where it exists and `overwrite` is false."""
    content = {"schema": SCHEMA, "crossfade": __version__, **scores.model_dump(mode="json")}
    write_file(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n", overwrite=overwrite)


def load_scores(path: str | Path) -> Scores:
    """The scores in a file. Raises InputError for what is none, another schema, or a field that is wrong."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected what `score` wrote") from None
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); expected what `score` wrote") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or "instances" not in content:
        raise InputError(f"{path}: expected scores of schema {SCHEMA}, as `crossfade dynamic-superb score` writes them")
    try:
        return Scores.model_validate({key: content[key] for key in content if key not in ("schema", "crossfade")})
    except ValidationError as error:
        raise InputError(f"{path}: {first_fault(error)}") from None


# One instance ---------------------------------------------------------------------------------------------------------


def score_instance(
    instance: Instance, replies: Sequence[Answered], *, whole: bool, judge: Judge | None = None
) -> InstanceScore:
    """Every metric of an instance under every reader. Items whose labels cannot be used are left out, and noted."""
    metrics, notes = metrics_of(instance.metrics, instance.kind)
    if instance.told_of_ours:
        notes.append(instance.told_of_ours)
    kept, unusable = usable(replies, metrics.values())
    notes += unusable
    if not metrics:
        notes.append(f"no metric that is known for {instance.kind}: not scored")
    readers: dict[Reader, Read] = {}
    for reader in READERS if judge else RULES:
        figures: list[Figure] = []
        examples: dict[str, Answered] = {}
        for name, metric in metrics.items():
            if (readings := read_all(reader, metric, kept, judge)) is None:
                notes.append(f"{name}: the judge says what is right, not what was answered: not scored by it")
                continue
            figures.append(figure(name, metric, readings))
            examples |= {reply.id: reply for reply in kept if readings[reply.id].answer is None and reply.answer}
        readers[reader] = Read(
            figures=tuple(figures), examples=tuple(map(_example, islice(examples.values(), EXAMPLES)))
        )
    return InstanceScore(
        name=instance.name,
        task=instance.task,
        kind=instance.kind,
        branch=branch(instance.name) or (*instance.domains[:1],) or ELSEWHERE,
        languages=instance.languages,
        revision=None if instance.local else instance.revision,
        items=len(replies),
        whole=whole,
        failed=sum(reply.answer is None for reply in replies),
        errors=counted(reply.error for reply in replies if reply.answer is None and reply.error),
        readers=readers,
        notes=tuple(notes),
    )


def _example(reply: Answered) -> Example:
    return Example(id=reply.id, label=reply.label[:SHOWN], answer=(reply.answer or "")[:SHOWN])


def usable(replies: Sequence[Answered], metrics: Iterable[AnswerMetric]) -> tuple[list[Answered], list[str]]:
    """The items whose labels every metric can use, and a line about the others."""
    forms = {metric.form for metric in metrics}
    kept: list[Answered] = []
    lines: list[str] = []
    for reply in replies:
        try:
            for form in forms:
                for reader in RULES:
                    read(reader, form, reply.label, None, reply.options)
            kept.append(reply)
        except InputError as error:
            lines.append(f"{reply.id}: {error}")
    told = [f"{len(lines)} items left out, their labels cannot be used; first: {lines[0]}"] if lines else []
    strange = [reply for reply in kept if reply.options and not _is_option(reply)]
    if strange and "option" in forms:
        told.append(
            f"{len(strange)} labels are not among the options; first: {strange[0].id}: '{strange[0].label[:80]}'"
        )
    return kept, told


def _is_option(reply: Answered) -> bool:
    return option_named(reply.label, reply.options) is not None


def read_all(
    reader: Reader, metric: AnswerMetric, replies: Sequence[Answered], judge: Judge | None
) -> dict[str, Reading] | None:
    """How a reader takes every item, by its id; None where a judge cannot serve the metric."""
    if reader == "judge" and judge is not None:
        return judge.readings(metric, replies)
    return {reply.id: read(reader, metric.form, reply.label, reply.answer, reply.options) for reply in replies}


def scored_items(metric: AnswerMetric, readings: Mapping[str, Reading]) -> list[Scored]:
    """What a metric counts: all items, or where nothing can stand for an answer, those that have one."""
    answers = {id: metric.nothing if reading.answer is None else reading.answer for id, reading in readings.items()}
    return [
        Scored.model_validate({"id": id, "label": reading.label, "predictions": (answers[id],)})
        for id, reading in readings.items()
        if reading.answer is not None or metric.unread != "left out"
    ]


def figure(name: str, metric: AnswerMetric, readings: Mapping[str, Reading]) -> Figure:
    """A metric with its 95 % interval over items (bootstrap; exact where no draw differs)."""
    items = scored_items(metric, readings)
    value, interval, method = _estimated(metric, items)
    return Figure(
        metric=name,
        better=metric.metric.better,
        percent=metric.metric.percent,
        value=value,
        interval=interval,
        method=method,
        counted=len(items),
        not_applicable=sum(reading.answer is None for reading in readings.values()),
    )


def _estimated(metric: AnswerMetric, items: Sequence[Scored]) -> tuple[float | None, tuple[float, float] | None, str]:
    if not items:
        return None, None, "no answer is applicable"
    if len(items) == 1:
        alone = metric.metric.value([items[0].label], [items[0].predictions[0]])
        return (alone if math.isfinite(alone) else None), None, "a single item"
    try:
        found = estimate(metric.metric, items, resamples=resamples_of(metric, len(items)))
    except InputError as error:
        return None, None, str(error)
    return found.value, found.interval, found.method


def resamples_of(metric: AnswerMetric, items: int) -> int | None:
    """10,000 resamples, fewer where items are many; None, the usual number, for what is computed anew for each."""
    return None if metric.metric.parts is None else max(RECOMPUTED, min(RESAMPLES, MOST_DRAWN // items))


# A run ----------------------------------------------------------------------------------------------------------------


def score_run(run: Run, *, judge: Judge | None = None, progress: Progress = SILENT) -> Scores:
    """Every instance of a run, one after the other, so that no more than one is in memory.

    A run that is not finished is scored as far as it is, and a note says so. Raises InputError where it has no answer.
    """
    if not run.places:
        raise InputError(f"{run.folder}: no answers yet; run it first")
    lines = Counter(instance for instance, _ in run.places)
    told = [one for one in run.header.instances if lines[one.name]]
    found = [
        score_instance(one.instance, [*run.answers(one.name)], whole=_whole(run, one, lines[one.name]), judge=judge)
        for one in progress.track(told, total=len(told), description="instances")
    ]
    notes = [run.header.note] if run.header.note else []
    if run.missing:
        notes.append(f"{run.missing:,} of {run.asked:,} items were not asked yet; run it again to go on")
    if judge and judge.unread:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in judge.unread.items())
        notes.append(f"{sum(judge.unread.values())} answers could not be judged: {reasons}")
    return Scores(
        model=run.header.model,
        identity=run.header.identity,
        comparable=run.header.comparable,
        benchmark=run.header.benchmark,
        instances=tuple(found),
        cost=run.costs(),
        judge=judge.identity if judge else None,
        notes=tuple(notes),
    )


def _whole(run: Run, told: Told, lines: int) -> bool:
    """Whether every item of an instance has a line, and none was left out by a limit."""
    limit = run.header.settings.limit
    return lines == told.items and (limit is None or told.items < limit)
