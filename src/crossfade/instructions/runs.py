"""A run's folder: what was asked of whom, and every answer as soon as it was given.

`run.json` says what the run is; `answers.jsonl` only ever grows, a line for each answer; `results.json` is all of it in
order, once everything was asked; `costs.json` is what it took.
"""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, JsonValue, ValidationError

from crossfade.documents import Strict, first_difference, first_fault
from crossfade.errors import InputError
from crossfade.instructions.benchmark import Instance, Kind
from crossfade.locks import held
from crossfade.probing.results import write_file

SCHEMA = 1
HEADER, ANSWERS, RESULTS, COSTS = "run.json", "answers.jsonl", "results.json", "costs.json"
GROUP, GROUP_SECONDS = 64, 1.0
"""Answers, and seconds, after which what was written is forced to the disk: a machine that fails loses no more."""

NAMED = re.compile(r" \[[^\[\]]+\]$")
"""The sound at the end of an error that is about one."""

Key = tuple[str, str]
"""An item: the names of its instance and its own."""


class Answered(Strict):
    """What came of one item: an answer, or the error after `attempts`. `seconds` is its share of its batch's time.

    With the item's own facts, so that a run can be scored where its sounds are not.
    """

    instance: str
    id: str
    answer: str | None
    error: str | None = None
    attempts: int = 1
    seconds: float = 0.0
    tokens_in: int | None = None
    tokens_out: int | None = None
    instruction: str = ""
    label: str = ""
    options: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        """Which item it is."""
        return self.instance, self.id


class Told(Strict):
    """An instance of a run, as `benchmark.Instance`, and how many of its items the run asks, on all shards together."""

    name: str
    task: str
    description: str
    keywords: tuple[str, ...]
    metrics: tuple[str, ...]
    kind: Kind
    domains: tuple[str, ...]
    languages: tuple[str, ...]
    path: str
    revision: str | None
    items: int
    source: Annotated[str, BeforeValidator(str)]
    metrics_are_ours: bool = False

    @property
    def instance(self) -> Instance:
        """As the benchmark's reader gives it."""
        return Instance(**{**dict(self), "source": Path(self.source)})


def told(instance: Instance, items: int) -> Told:
    """What a run keeps of an instance of which it asks so many items."""
    return Told(**{**asdict(instance), "items": items})


class Settings(Strict):
    """What was asked of each instance: at most `limit` items, those of one `shard` (number, of how many)."""

    limit: int | None = None
    shard: tuple[int, int] | None = None
    seed: int = 33


class Header(Strict):
    """What a run is; two runs of which all but `benchmark_path`, `versions` and paths agree are the same.

    `comparable` is false where the model learned from the items, which `note` then says.
    """

    format: int = SCHEMA
    crossfade: str
    model: str
    identity: Mapping[str, JsonValue]
    comparable: bool = True
    note: str = ""
    benchmark: str
    benchmark_path: str
    settings: Settings
    instances: tuple[Told, ...]
    versions: Mapping[str, str]

    def facts(self, *, shard: bool = True) -> dict[str, Any]:
        """What makes the run what it is, the same on every machine; without the shard where shards are joined."""
        facts = self.model_dump(mode="json", exclude={"format", "crossfade", "benchmark_path", "versions"})
        for one in facts["instances"]:
            del one["path"], one["source"], one["metrics_are_ours"]
        if not shard:
            facts["settings"]["shard"] = None
        return facts


def difference(one: Header, other: Header, *, shard: bool = True) -> str:
    """Where two runs differ first, and how, instances by their names; empty where they are the same."""
    known, wanted = (header.facts(shard=shard) for header in (one, other))
    for facts in (known, wanted):
        facts["instances"] = {row["name"]: row for row in facts["instances"]}
    return first_difference(known, wanted)


@dataclass(frozen=True)
class Run:
    """A run that was read: `places` is where in `answers.jsonl` each item's last line begins."""

    folder: Path
    header: Header
    places: Mapping[Key, int]
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Instances that were wanted and cannot be read or scored, and why; known to the process that asked."""

    @property
    def asked(self) -> int:
        """Items that the run asks in all; on one shard of several, of all shards."""
        return sum(one.items for one in self.header.instances)

    @property
    def missing(self) -> int:
        """Items without a line."""
        return self.asked - len(self.places)

    def answers(self, instance: str | None = None) -> Iterator[Answered]:
        """What came of every item, or those of one instance, by instance and id; one at a time is in memory."""
        with (self.folder / ANSWERS).open("rb") as file:
            for key in sorted(key for key in self.places if instance in (None, key[0])):
                file.seek(self.places[key])
                yield _answered(file.readline(), f"{self.folder / ANSWERS}: the line at byte {self.places[key]:,}")

    def sittings(self) -> list[dict[str, JsonValue]]:
        """Items and seconds of every time the run was gone on with, however that ended. Raises InputError."""
        return sittings_of(self.folder)

    def costs(self) -> dict[str, JsonValue]:
        """Seconds, tokens, attempts of the answers that count, and the sittings. Raises InputError."""
        sittings: list[JsonValue] = [*self.sittings()]
        return {**costs_of(self.answers() if self.places else ()), "sittings": sittings}


def read_run(path: str | Path) -> Run:
    """A run's folder, finished or not. Raises InputError for what is none, or is damaged."""
    folder = Path(path)
    header = read_header(folder)
    answers = folder / ANSWERS
    places = dict(_places(answers)) if answers.is_file() else {}
    if strange := {instance for instance, _ in places} - {one.name for one in header.instances}:
        raise InputError(f"{answers}: answers to '{min(strange)}', which this run does not ask; delete those lines")
    return Run(folder, header, places)


def read_header(folder: Path) -> Header:
    """What the run of a folder is. Raises InputError."""
    path = folder / HEADER
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except NotADirectoryError:
        raise InputError(f"{folder}: a file; expected a folder written by crossfade dynamic-superb run") from None
    except FileNotFoundError:
        raise InputError(
            f"{folder}: no {HEADER} in it; expected a folder written by crossfade dynamic-superb run"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); run again into another folder") from None
    if not isinstance(content, dict) or content.get("format") != SCHEMA:
        raise InputError(f"{path}: expected a run of schema {SCHEMA}; run again into another folder")
    try:
        return Header.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {first_fault(error)}") from None


def write_header(folder: Path, header: Header) -> None:
    """Note what a run is."""
    write_file(folder / HEADER, header.model_dump_json(indent=1) + "\n", overwrite=True)


@dataclass
class Journal:
    """Answers as they come, in a file that only grows; a context that no other process may enter meanwhile.

    `places` are the items that have a line, and where it begins: the last one where there are several. `failed` are
    those whose last line is an error.
    """

    folder: Path
    places: dict[Key, int] = field(default_factory=dict)
    failed: set[Key] = field(default_factory=set)
    _open: ExitStack = field(default_factory=ExitStack, repr=False)
    _file: int = -1
    _end: int = 0
    _unforced: int = 0
    _forced: float = 0.0

    def __enter__(self) -> "Journal":
        path = self.folder / ANSWERS
        with ExitStack() as opened:
            opened.enter_context(held(self.folder, "this run is going on in another process"))
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            opened.callback(os.close, self._file)
            for line in _lines(path):
                self._note(line.answered, line.start)
                self._end = line.start + line.bytes
            os.ftruncate(self._file, self._end)  # a line that a killed run left torn
            self._open = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._open:
            os.fsync(self._file)

    def add(self, answered: Answered) -> None:
        """Write a line; it outlives this process at once, and the machine's failure after the next group."""
        line = answered.model_dump_json().encode() + b"\n"
        os.write(self._file, line)
        self._note(answered, self._end)
        self._end += len(line)
        self._unforced += 1
        now = time.monotonic()
        if self._unforced >= GROUP or now - self._forced > GROUP_SECONDS:
            os.fsync(self._file)
            self._unforced, self._forced = 0, now

    def read(self, key: Key) -> Answered:
        """The last line of an item."""
        path, place = self.folder / ANSWERS, self.places[key]
        with path.open("rb") as file:
            file.seek(place)
            return _answered(file.readline(), f"{path}: the line at byte {place:,}")

    def _note(self, answered: Answered, start: int) -> None:
        self.places[answered.key] = start
        (self.failed.discard if answered.error is None else self.failed.add)(answered.key)


def counted(errors: Iterable[str]) -> dict[str, int]:
    """Errors by their text, the most frequent first; of those that differ in the [sound] they name, the first's."""
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for error in errors:
        what = NAMED.sub("", error)
        first.setdefault(what, error)
        counts[what] += 1
    return {first[what]: count for what, count in counts.most_common()}


def write_results(run: Run) -> Path:
    """All answers in order, without times: the same bytes whatever interrupted the run."""
    facts = run.header.facts()
    head = json.dumps({"schema": SCHEMA, **facts}, indent=1, ensure_ascii=False)[:-2]
    path, draft = run.folder / RESULTS, run.folder / f".{RESULTS}.partial"
    with draft.open("w", encoding="utf-8") as file:
        file.write(f'{head},\n "answers": [')
        for number, one in enumerate(run.answers()):
            kept = one.model_dump(mode="json", include={"instance", "id", "answer", "error"})
            file.write(f"{',' if number else ''}\n  {json.dumps(kept, ensure_ascii=False)}")
        file.write("\n ]\n}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return path


def costs_of(answers: Iterable[Answered]) -> dict[str, JsonValue]:
    """What the answers that count took together; no tokens where the model counts none."""
    items = failed = retries = 0
    tokens: dict[str, int | None] = {"tokens_in": None, "tokens_out": None}
    seconds = 0.0
    for one in answers:
        items, failed, retries = items + 1, failed + (one.error is not None), retries + one.attempts - 1
        for name, before in tokens.items():
            if (counted := getattr(one, name)) is not None:
                tokens[name] = (before or 0) + counted
        seconds += one.seconds
    return {
        "items": items,
        "failed": failed,
        "retries": retries,
        **tokens,
        "answering_seconds": round(seconds, 3),
    }


def write_costs(run: Run) -> None:
    """Note what the run took: the sum of its answers, and every sitting."""
    _write_costs(run.folder, run.costs())


def write_sitting(folder: Path, before: Sequence[JsonValue], items: int, seconds: float) -> None:
    """Note so many items and seconds of the sitting that goes on, after the ones `before` it."""
    rate = round(items / seconds, 3) if seconds else None
    sitting: dict[str, JsonValue] = {"items": items, "seconds": round(seconds, 3), "items_per_second": rate}
    _write_costs(folder, {**_noted(folder), "sittings": [*before, sitting]})


def sittings_of(folder: Path) -> list[dict[str, JsonValue]]:
    """The sittings that a run's folder tells of. Raises InputError where its `costs.json` is damaged."""
    return list(_noted(folder).get("sittings", []))


def _write_costs(folder: Path, content: Mapping[str, JsonValue]) -> None:
    write_file(folder / COSTS, json.dumps(content, indent=1) + "\n", overwrite=True)


def _noted(folder: Path) -> dict[str, Any]:
    """What `costs.json` says; nothing where there is none."""
    path = folder / COSTS
    try:
        content = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError:
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("sittings", []), list):
        raise InputError(f"{path}: damaged; delete it: only how long earlier sittings took is lost")
    return content


@dataclass(frozen=True)
class _Line:
    start: int
    bytes: int
    answered: Answered


def _places(path: Path) -> Iterator[tuple[Key, int]]:
    return ((line.answered.key, line.start) for line in _lines(path))


def _lines(path: Path) -> Iterator[_Line]:
    """Every whole line; one at the end that was not finished is left out."""
    start = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            yield _Line(start, len(line), _answered(line, f"{path}: line {number:,}"))
            start += len(line)


def _answered(line: bytes, where: str) -> Answered:
    try:
        return Answered.model_validate_json(line)
    except ValidationError:
        shown = line[:80].decode(errors="replace").rstrip()
        raise InputError(f"{where} is damaged: {shown!r}; delete the line to have its item asked again") from None
