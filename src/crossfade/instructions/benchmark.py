"""A benchmark of instruction following: which instances it has, and which of them cannot be used. No sound is read."""

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from crossfade.errors import InputError, nearest
from crossfade.instructions import taxonomy
from crossfade.instructions.folders import METADATA, count_rows, fingerprint, holds_items
from crossfade.instructions.taxonomy import Kind as Kind

CARD = "instance.json"
FIELDS = ("name", "description", "keywords", "metrics", "path", "version")
"""What the benchmark asks of an instance.json."""
KINDS: Mapping[str, Kind] = {
    "classification": "classification",
    "regression": "regression",
    "generation": "generation",
    "text generation": "generation",
    "speech generation": "unsupported",
    "audio generation": "unsupported",
    "unsupported": "unsupported",
}
COLUMNS = {
    "InstanceName": "name",
    "HuggingfacePath": "path",
    "Version": "version",
    "revision": "version",
    "Category": "kind",
    "category": "kind",
    "Note": "note",
}
"""Other names that lists give their columns."""
DOMAINS = ("speech", "music", "audio")
NOT_SAID = ("source", "items", "metrics_are_ours")
"""Of an instance, what is not its own word."""
LEFT_OUT = "left out: "
SHOWN = 12
"""Names that a message about an unknown one gives, the closest of many."""


@dataclass(frozen=True)
class Instance:
    """A task on one data set."""

    name: str
    task: str
    description: str
    keywords: tuple[str, ...]
    metrics: tuple[str, ...]
    kind: Kind
    domains: tuple[str, ...]
    """Of `speech`, `music` and `audio`; empty where nothing says."""
    languages: tuple[str, ...]
    """ISO 639-1 codes; empty where nothing says or no language is heard."""
    path: str
    """A data set of the hub, as in `DynamicSuperb/X`, or a local folder."""
    revision: str | None
    items: int | None
    """How many, where that is known without reading sound or the hub."""
    source: Path
    """The instance.json, the list with the row, or the folder without an instance.json."""
    metrics_are_ours: bool = False
    """Whether nothing names metrics, so that these are the usual ones."""

    @property
    def local(self) -> bool:
        """Whether its items lie on this machine's disk."""
        return Path(self.path).is_absolute()

    @property
    def told_of_ours(self) -> str | None:
        """A line where the metrics are ours, wherever they count."""
        taken = ", ".join(self.metrics) or "none fits, and nothing can be scored"
        return f"names no metrics; taken, ours: {taken}" if self.metrics_are_ours else None


@dataclass(frozen=True)
class Problem:
    """Why an instance was left out, or a published rule that it breaks."""

    source: str
    what: str
    left_out: bool = False
    """Whether that is why there is no such instance."""


def _lost(source: str, why: str) -> Problem:
    return Problem(source, f"{LEFT_OUT}{why}", left_out=True)


@dataclass(frozen=True)
class Benchmark:
    """What `read_benchmark` found, in the order of their names."""

    instances: tuple[Instance, ...]
    problems: tuple[Problem, ...]
    sha256: str
    """Of what the instances say, and of their items where they are local; wherever they lie."""

    @property
    def left_out(self) -> dict[str, str]:
        """Why there is no such instance, by its name or place."""
        return {one.source: one.what.removeprefix(LEFT_OUT) for one in self.problems if one.left_out}

    def chosen(
        self,
        kind: Kind | None = None,
        domain: str | None = None,
        keyword: str | None = None,
        language: str | None = None,
        metric: str | None = None,
        names: Iterable[str] | None = None,
        items: int | None = None,
    ) -> tuple[Instance, ...]:
        """The instances that all of it holds for, in order.

        `names` are of instances or of tasks; `keyword` is a part of a keyword, of the name or the description, in
        either case; `items` is the most an instance may have, where that is known.

        Raises InputError for a name that is none, and where nothing is left.
        """
        wanted = None if names is None else set(names)
        if unknown := sorted((wanted or set()) - {name for one in self.instances for name in (one.name, one.task)}):
            raise InputError(f"'{unknown[0]}': {self._unknown(unknown[0])}")
        self._require("metric", metric, (name for one in self.instances for name in one.metrics))
        self._require("language", language, (name for one in self.instances for name in one.languages))
        found = tuple(
            one
            for one in self.instances
            if (wanted is None or one.name in wanted or one.task in wanted)
            and kind in (None, one.kind)
            and (domain is None or domain in one.domains)
            and (language is None or language.lower() in map(str.lower, one.languages))
            and (metric is None or metric.lower() in map(str.lower, one.metrics))
            and (keyword is None or _mentions(one, keyword.lower()))
            and (items is None or (one.items is not None and one.items <= items))
        )
        if not found:
            asked = {"kind": kind, "domain": domain, "keyword": keyword, "language": language, "metric": metric}
            said = ", ".join(
                f"{name} {value}" for name, value in (asked | {"size": items}).items() if value is not None
            )
            raise InputError(f"none of the {len(self.instances)} instances is all of: {said}; ask for less")
        return found

    def _require(self, option: str, value: str | None, known: Iterable[str]) -> None:
        """InputError for a word that no instance says."""
        words = {word.lower() for word in known}
        if value is not None and value.lower() not in words:
            raise InputError(f"--{option} {value}: no instance has it; {nearest(value.lower(), words)}")

    def _unknown(self, name: str) -> str:
        """Why there is no instance or task of a name, and which may be meant."""
        if why := self.left_out.get(name):
            return LEFT_OUT + why
        known = sorted({one.name for one in self.instances} | {one.task for one in self.instances})
        lowered = {one.lower(): one for one in known}
        alike = [one for low, one in lowered.items() if name.lower() in low]
        alike += [lowered[low] for low in get_close_matches(name.lower(), lowered, n=SHOWN, cutoff=0.5)]
        shown = list(dict.fromkeys([*alike, *known]))[:SHOWN]
        hint = f"did you mean '{alike[0]}'? " if alike else ""
        return f"no such instance or task; {hint}known: {', '.join(shown)}{', ...' if len(known) > SHOWN else ''}"


def _mentions(one: Instance, keyword: str) -> bool:
    return any(keyword in text.lower() for text in (*one.keywords, one.name, one.description))


def read_benchmark(path: str | Path) -> Benchmark:
    """The instances of a benchmark.

    `path` is a clone of the benchmark or any folder below which instances lie (an `instance.json`, or the folder of
    prepared sounds and `metadata.json` alone), one such file, or a list of data sets of the hub (.csv, or .json with a
    list of objects). What cannot be read is a problem and stops nothing.

    Raises InputError when there is no instance at all.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; expected a clone of the benchmark, a list or a folder")
    problems: list[Problem] = []
    found: list[Instance] = []
    for one in _found(path):
        if isinstance(one, Problem):
            problems.append(one)
        elif any(other.name == one.name for other in found):
            problems.append(_lost(one.name, f"a second instance of this name, in {one.source}"))
        else:
            found.append(one)
    if not found:
        why = f"first: {problems[0].source}: {problems[0].what}" if problems else f"expected files named {CARD}"
        raise InputError(f"{path}: no instance can be read; {why}")
    instances = tuple(sorted(found, key=lambda one: one.name))
    return Benchmark(instances, tuple(problems), _sha256(instances))


def _sha256(instances: Iterable[Instance]) -> str:
    digest = hashlib.sha256()
    for one in instances:
        said = {name: value for name, value in asdict(one).items() if name not in NOT_SAID}
        content = fingerprint(Path(one.path)) if one.local else None
        told = said | {"path": "." if one.local else one.path, "content": content}
        digest.update(json.dumps(told, sort_keys=True).encode())
    return digest.hexdigest()


def _found(path: Path) -> Iterator[Instance | Problem]:
    if path.is_dir():
        for folder, folders, files in os.walk(path):
            folders.sort()
            if CARD in files:
                yield from _card(Path(folder, CARD))
            elif METADATA in files:
                yield from _bare(Path(folder))
    elif path.name == CARD:
        yield from _card(path)
    else:
        yield from _list(path)


# One instance ---------------------------------------------------------------------------------------------------------


def _card(file: Path) -> Iterator[Instance | Problem]:
    name = file.parent.name
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        yield _lost(name, f"{CARD} is not JSON ({' '.join(str(error).split())})")
        return
    if not isinstance(content, dict):
        yield _lost(name, f"{CARD} holds {type(content).__name__}, expected an object with {FIELDS[0]}, ...")
        return
    task = file.parents[1].name if file.parents[1] != file.parent else ""
    yield from _instance(content, file, name, task if name.startswith(f"{task}_") else "")


def _bare(folder: Path) -> Iterator[Instance | Problem]:
    """A prepared folder without an instance.json: what it does not say is guessed from its name and first item."""
    from crossfade.instructions.folders import first_row
    from crossfade.instructions.options import read_options

    try:
        row = first_row(folder)
    except InputError as error:
        yield _lost(folder.name, str(error))
        return
    label = str(row.get("label", ""))
    kind: Kind = "generation"
    if read_options(str(row.get("instruction", ""))):
        kind = "classification"
    elif label.replace(".", "", 1).lstrip("-").isdigit():
        kind = "regression"
    content = {"name": folder.name, "path": ".", "kind": kind}
    yield Problem(folder.name, f"no {CARD}: kind ({kind}) and metrics are guessed from the name and the first item")
    yield from _instance(content, folder, folder.name, "", asked=("name",))


def _instance(
    content: Mapping[str, Any], source: Path, where: str, task: str, asked: tuple[str, ...] = FIELDS
) -> Iterator[Instance | Problem]:
    """The instance that a card, a row of a list or a folder speaks of, and what is wrong with what it says."""
    name = str(content.get("name") or "").strip()
    path = str(content.get("path") or "").strip()
    if not name or not path:
        missing = "name" if not name else "path"
        yield _lost(name or where, f"no {missing}; expected one in {source.name}")
        return
    for field in asked:
        if field not in content:
            yield Problem(name, f"no {field} in {source.name}")
    place, local = _place(path, source, name)
    if local and not holds_items(Path(place)):
        yield _lost(name, f"{place} holds no items; expected {METADATA}, metadata.csv or parquet files")
        return
    metrics = _words(content.get("metrics"))
    kind = _kind(content, metrics)
    if kind is None:
        yield _lost(name, _no_kind(content, metrics))
        return
    branch = taxonomy.branch(name)
    found = Instance(
        name=name,
        task=str(content.get("task") or task or name.split("_")[0]),
        description=str(content.get("description") or ""),
        keywords=_words(content.get("keywords")),
        metrics=metrics or taxonomy.usual_metrics(name, kind),
        kind=kind,
        domains=_words(content.get("domains")) or branch[:1],
        languages=_words(content.get("languages")) or taxonomy.languages(name),
        path=place,
        revision=str(content.get("version") or "").strip() or None,
        items=count_rows(Path(place)) if local else None,
        source=source,
        metrics_are_ours=not metrics and kind != "unsupported",
    )
    if found.told_of_ours and source.name == CARD:
        yield Problem(name, found.told_of_ours)
    yield found


def _place(path: str, source: Path, name: str) -> tuple[str, bool]:
    """Where the items are: a folder beside `source` if it is there, else a data set of the hub."""
    beside = source if source.is_dir() else source.parent
    prepared = beside if source.name == CARD else beside / path.rsplit("/", 1)[-1]
    if holds_items(prepared):  # what preparing a data set of the hub left
        return str(prepared.resolve()), True
    is_local = path.startswith((".", "/", "~")) or (beside / path).is_dir()
    return (str((beside / Path(path).expanduser()).resolve()), True) if is_local else (path, False)


def _kind(content: Mapping[str, Any], metrics: tuple[str, ...]) -> Kind | None:
    if "kind" in content:
        return KINDS.get(str(content["kind"]).strip().lower())
    return next(filter(None, map(taxonomy.metric_kind, metrics)), None)


def _no_kind(content: Mapping[str, Any], metrics: tuple[str, ...]) -> str:
    if "kind" in content:
        return f"kind: expected one of {', '.join(KINDS)}, received {content['kind']!r}"
    if not metrics:
        return "metrics: none is named, which would tell what kind of answer is meant; name one, or the kind"
    return f"metrics: '{metrics[0]}' is unknown; {nearest(metrics[0], taxonomy.known_metrics())}"


def _words(value: object) -> tuple[str, ...]:
    """A list of words, or a text with commas; () for anything else."""
    if isinstance(value, str):
        value = value.split(",")
    return tuple(str(word).strip() for word in value if str(word).strip()) if isinstance(value, list | tuple) else ()


# A list ---------------------------------------------------------------------------------------------------------------


def _list(path: Path) -> Iterator[Instance | Problem]:
    for number, row in enumerate(_rows(path), 1):
        if not isinstance(row, Mapping):
            yield _lost(f"{path.name} row {number}", f"expected an object, received {str(row)[:60]}")
            continue
        content = {COLUMNS.get(str(key), str(key)): value for key, value in row.items() if key}
        flags = [domain for domain in DOMAINS if _is_true(content.pop(domain, content.pop(domain.title(), None)))]
        content["domains"] = flags or content.get("domains")
        for one in _instance(content, path, f"{path.name} row {number}", "", asked=("path", "kind")):
            if isinstance(one, Instance) and not content.get("metrics") and one.kind != "unsupported":
                told = ", ".join(one.metrics) or "none fits, and nothing can be scored"
                yield Problem(one.name, f"the list names no metrics; taken: {told}")
            yield one
        if note := str(content.get("note") or "").strip():
            yield Problem(str(content.get("name")), f"note of the list: {note}")


def _is_true(flag: object) -> bool:
    return str(flag).strip().lower() in ("true", "1", "yes")


def _rows(path: Path) -> Iterable[object]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = json.loads(text) if path.suffix.lower() == ".json" else list(csv.DictReader(text.splitlines()))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a list ({' '.join(str(error).split())}); mend it") from error
    if not isinstance(rows, list):
        raise InputError(f"{path}: expected a list of objects with name and path, received {type(rows).__name__}")
    return rows
