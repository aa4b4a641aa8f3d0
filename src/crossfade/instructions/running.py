"""`crossfade dynamic-superb run`: every item of a benchmark asked of a model, once, whatever interrupts it."""

import math
import platform
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from crossfade import __version__
from crossfade.audio.decode import UnreadableError
from crossfade.errors import InputError
from crossfade.instructions.benchmark import Benchmark, Instance
from crossfade.instructions.items import Item, load_items
from crossfade.instructions.metrics import metrics_of
from crossfade.instructions.models import Answer, Model, Question
from crossfade.instructions.runs import (
    GROUP_SECONDS,
    HEADER,
    Answered,
    Header,
    Journal,
    Key,
    Run,
    Settings,
    difference,
    read_header,
    read_run,
    sittings_of,
    told,
    write_costs,
    write_header,
    write_results,
    write_sitting,
)
from crossfade.parallel import ahead
from crossfade.progress import SILENT, Progress

__all__ = ["Answered", "Asked", "Header", "Run", "begun", "read_run", "run"]

READERS = 4
"""Items whose sounds are decoded at a time, while the model answers others."""

PACKAGES = ("torch", "transformers", "soundfile", "soxr")

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Asked:
    """An instance of a run: its items in order, and which of them this shard asks."""

    instance: Instance
    items: Sequence[Item]
    places: range


def run(
    benchmark: Benchmark,
    model: Model,
    output: str | Path,
    *,
    path: str | Path = "",
    instances: Sequence[Instance] | None = None,
    limit: int | None = None,
    shard: tuple[int, int] | None = None,
    concurrency: int = 1,
    batch: int | None = None,
    seed: int = 33,
    progress: Progress = SILENT,
) -> Run:
    """Ask a model every item and keep what it says in the folder `output`; called again, go on where it was.

    What has an answer is never asked again; what failed is, once more in each call. `results.json` does not depend on
    interruptions, order or concurrency.

    Args:
        path: where the benchmark was read from; noted only.
        instances: those to ask; all of the benchmark that can be scored.
        limit: at most so many items of each instance, the first ones.
        shard: (number, of how many): every so-many-th item, from `number`; see `join`.
        concurrency: questions, or batches, that the model answers at a time.
        batch: questions in a batch; None: as the model says.
        seed: noted; the model has its own.

    An instance that cannot be read or scored is left out; the run that is given back says why.

    Raises InputError where no instance is left, for a folder that holds another run, and what the model raises.
    """
    settings = Settings(limit=limit, shard=shard, seed=seed)
    asked, lost = readable(scorable(benchmark, instances), limit, shard)
    header = header_of(benchmark, asked, settings, path, model=model.name, identity=model.identity)
    with closing(model), begun(Path(output), header) as journal:
        left = sum(len(one.places) for one in asked) - sum(key not in journal.failed for key in journal.places)
        todo = chain.from_iterable(unanswered(one, journal) for one in asked)
        with closing(ask_all(model, todo, concurrency, batch or model.batch)) as answers:
            record(journal, answers, left, progress)
    return finish(journal.folder, lost)


def scorable(benchmark: Benchmark, instances: Sequence[Instance] | None) -> list[Instance]:
    """The instances whose answers are text. Raises InputError for two of one name, and where none is left."""
    chosen = list(benchmark.instances if instances is None else instances)
    found = [one for one in chosen if one.kind != "unsupported"]
    if not found:
        first = ", ".join(one.name for one in chosen[:3]) or "none"
        raise InputError(f"nothing to run: the instances chosen ({first}) ask for sound, which cannot be scored")
    names = [one.name for one in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two instances are named '{twice[0]}'; expected every name once")
    return found


def readable(
    instances: Sequence[Instance], limit: int | None, shard: tuple[int, int] | None = None
) -> tuple[list[Asked], dict[str, str]]:
    """The instances that can be asked and scored, and why the others cannot. Raises InputError where none is left."""
    number, shards = shard or (1, 1)
    if not 1 <= number <= shards:
        raise InputError(f"shard {number}/{shards}: expected a number from 1 to {shards}, as 2/8")
    found: list[Asked] = []
    lost: dict[str, str] = {}
    for one in instances:
        known, unknown = metrics_of(one.metrics, one.kind)
        try:
            if unknown and not known:
                raise InputError(unknown[0])
            found.append(portion(one, limit, shard))
        except InputError as error:
            lost[one.name] = str(error)
    if not found:
        name, why = next(iter(lost.items()))
        raise InputError(f"none of the {len(lost)} instances can be run; first: {name}: {why}")
    return found, lost


def portion(instance: Instance, limit: int | None, shard: tuple[int, int] | None) -> Asked:
    """An instance's items, and the places of those that a shard asks. Raises InputError where it cannot be read."""
    items = load_items(instance, limit=limit)
    number, shards = shard or (1, 1)
    return Asked(instance, items, range(number - 1, len(items), shards))


def header_of(benchmark: Benchmark, asked: Sequence[Asked], settings: Settings, path: str | Path, **who: Any) -> Header:
    """What a run is; `who` answers: model, identity, and where it learned from the items, comparable and note."""
    return Header(
        crossfade=__version__,
        benchmark=benchmark.sha256,
        benchmark_path=str(path),
        settings=settings,
        instances=tuple(told(one.instance, len(one.items)) for one in asked),
        versions=versions(),
        **who,
    )


def versions() -> dict[str, str]:
    """What computes, by name."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


@contextmanager
def begun(folder: Path, header: Header) -> Iterator[Journal]:
    """The journal of a run's folder, which is made, or holds the same run. Raises InputError for anything else."""
    known = (folder / HEADER).is_file()
    if folder.exists() and not known and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists and holds no run; choose another output folder")
    folder.mkdir(parents=True, exist_ok=True)
    if not known:
        write_header(folder, header)
    with Journal(folder) as journal:  # from here on no other process writes there
        if not journal.places:
            write_header(folder, header)
        elif found := difference(read_header(folder), header):
            raise InputError(
                f"{folder}: holds another run: {found}; choose another folder, or give what that run was given"
            )
        yield journal


def unanswered(asked: Asked, journal: Journal) -> Iterator[Item]:
    """The items that have no answer yet, in order. Raises InputError for an id that is there twice."""
    seen: set[Key] = set()
    for place in asked.places:
        item = asked.items[place]
        key = (item.instance, item.id)
        if key in seen:
            raise InputError(f"{item.instance}: two items are named '{item.id}'; expected every id once")
        seen.add(key)
        if key not in journal.places or key in journal.failed:
            yield item


def record(journal: Journal, answers: Iterable[Answered], left: int, progress: Progress) -> None:
    """Write every answer as it comes; and every second what the sitting came to, so that one that is killed counts."""
    before = sittings_of(journal.folder)
    started, noted, items = perf_counter(), -math.inf, 0
    try:
        for one in progress.track(answers, total=left, description="answers"):
            journal.add(one)
            items += 1
            if perf_counter() - noted >= GROUP_SECONDS:
                noted = perf_counter()
                write_sitting(journal.folder, before, items, noted - started)
    finally:
        if items:
            write_sitting(journal.folder, before, items, perf_counter() - started)


def finish(folder: Path, left_out: Mapping[str, str]) -> Run:
    """Write what the run comes to."""
    done = replace(read_run(folder), left_out=left_out)
    write_results(done)
    write_costs(done)
    return done


# Asking -------------------------------------------------------------------------------------------------------------


def ask_all(model: Model, items: Iterable[Item], concurrency: int, batch: int) -> Generator[Answered, None, None]:
    """What comes of every item, in any order; no more is in memory than is being answered, and what is decoded next."""
    loaded = ahead(_load, items, READERS)
    for answers in as_done(partial(_ask, model), _batches(loaded, batch), concurrency):
        yield from answers


def as_done(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """`work(item)` in `workers` threads, in the order in which they end; one item more than that is taken ahead.

    Of those that are found ended at once, an error comes last: what the others gave is not lost.
    """
    pool = ThreadPoolExecutor(workers, "crossfade-ask")
    waiting: set[Future[R]] = set()

    def ended() -> Iterator[R]:
        nonlocal waiting
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        yield from (one.result() for one in sorted(done, key=lambda one: one.exception() is not None))

    try:
        for item in items:
            waiting.add(pool.submit(work, item))
            if len(waiting) > workers:
                yield from ended()
        while waiting:
            yield from ended()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


Loaded = tuple[Item, Question | UnreadableError]


def _load(item: Item) -> Loaded:
    """What a model may see of an item, decoded; where a sound cannot be, the error names its file."""
    sounds = []
    for sound in item.sounds:
        try:
            sounds.append(sound.load())
        except UnreadableError as error:
            return item, UnreadableError(f"{error} [{Path(sound.name).name}]")
    return item, Question(tuple(sounds), item.texts, item.instruction)


def _batches(loaded: Iterable[Loaded], size: int) -> Iterator[list[Loaded]]:
    batch: deque[Loaded] = deque()
    for one in loaded:
        batch.append(one)
        if len(batch) == size:
            yield list(batch)
            batch.clear()
    if batch:
        yield list(batch)


def _ask(model: Model, batch: Sequence[Loaded]) -> list[Answered]:
    """What comes of a batch; sounds that cannot be read are not asked about."""
    questions = [question for _, question in batch if isinstance(question, Question)]
    started = perf_counter()
    given = iter(model.answer(questions) if questions else [])
    found = [(item, next(given) if isinstance(question, Question) else question) for item, question in batch]
    seconds = (perf_counter() - started) / len(batch)
    return [answered(item, answer, seconds) for item, answer in found]


def answered(item: Item, given: Answer | Exception, seconds: float) -> Answered:
    """An item with what came of it."""
    found = given if isinstance(given, Answer) else None
    return Answered(
        instance=item.instance,
        id=item.id,
        answer=_storable(found.text) if found else None,
        error=None if found else _storable(" ".join(str(given).split())) or type(given).__name__,
        attempts=getattr(given, "attempts", 1),
        seconds=round(seconds, 6),
        tokens_in=found.tokens_in if found else None,
        tokens_out=found.tokens_out if found else None,
        instruction=_storable(item.instruction),
        label=_storable(item.label),
        options=tuple(map(_storable, item.options)),
    )


def _storable(text: str) -> str:
    """The text with a question mark for each half of a sign, which UTF-8 cannot say."""
    return text.encode(errors="replace").decode()
