"""Tasks by name or folder, and their data as items and folds."""

from collections.abc import Callable, Mapping
from math import inf, isfinite
from pathlib import Path
from typing import Any

from crossfade.audio.sources import MANIFEST_SUFFIXES, is_saved
from crossfade.documents import read_yaml, validated
from crossfade.errors import InputError, nearest
from crossfade.probing.hub import read_hub
from crossfade.probing.layouts import ALIASES, Found, Hub, finish, read_layouts, read_manifest
from crossfade.probing.metrics import split_key
from crossfade.probing.schema import Dataset, Fold, Head, Item, Kind, Label, Protocol, Task
from crossfade.probing.splits import assemble
from crossfade.probing.tables import Row
from crossfade.quickstart.pack import PACK

__all__ = ["Dataset", "Fold", "Head", "Item", "Kind", "Label", "Protocol", "Task"]
__all__ += ["load_dataset", "load_task", "load_tasks", "task_names"]

PACKAGED = Path(__file__).parent / "tasks"
EMBEDDED = "embedded"
"""Stands for every labelled folder that the package carries."""
NO_MANIFEST = "expected manifest.jsonl, manifest.csv or manifest.parquet, found none"


def task_names() -> tuple[list[str], list[str]]:
    """Names of the tasks of published data sets, and of those whose data is in the package."""
    packaged = sorted(path.stem for path in PACKAGED.glob("*.yaml"))
    folders = sorted(path.parent.name for path in PACK.glob("*/task.yaml"))
    return packaged, folders


def load_tasks(name: str | Path) -> list[Task]:
    """What `load_task` finds, or for `embedded` every task whose data is in the package."""
    return [load_task(task) for task in task_names()[1]] if name == EMBEDDED else [load_task(name)]


def load_task(name: str | Path) -> Task:
    """A task by its name, or a labelled folder's: manifest.jsonl, .csv or .parquet, and task.yaml where it has one.

    Without task.yaml a folder (or a data set saved to disk) is a classification of the column `label`. Raises
    InputError for a name nobody knows and for what is not a task.
    """
    packaged, embedded = task_names()
    if name in packaged:
        return _task(PACKAGED / f"{name}.yaml", str(name), None)
    if name in embedded:
        folder = PACK / str(name)
        return _task(folder / "task.yaml", str(name), folder)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise InputError(f"{name}: no such task or folder; {nearest(str(name), [*packaged, *embedded, EMBEDDED])}")
    if not (folder / "task.yaml").is_file() and not _manifests(folder) and not is_saved(folder):
        raise InputError(f"{folder}: {NO_MANIFEST}")
    return _task(folder / "task.yaml", folder.resolve().name, folder)


def load_dataset(task: Task, data: str | Path | None = None, *, seed: int = 0) -> Dataset:
    """A task's items and folds, from `data` or from where the task has its own.

    `data` is a folder in one of the data set's published layouts or with a manifest that has the task's label columns,
    a data set that was saved to disk, or hf:NAME[@REVISION][[:CONFIG]:SPLIT]. Nothing is decoded. `seed` decides what
    the data leaves open. Raises InputError for data that is absent (saying where it is published) or cannot be used.
    """
    source = str(data or task.folder or (f"hf:{task.data.hub.name}" if task.data and task.data.hub.name else ""))
    if not source:
        here = f"; for the folder {task.name} here, give ./{task.name}" if Path(task.name).is_dir() else ""
        hint = task.data.hint if task.data else ""
        raise InputError(f"{task.name}: needs its data, which is not given; {hint}{here}")
    found, where = _found(task, source)
    items = [_item(task, row, where) for row in found.rows]
    return assemble(task, items, found.trials, seed=seed, where=where)


# Tasks --------------------------------------------------------------------------------------------------------------


def _task(path: Path, name: str, folder: Path | None) -> Task:
    content = read_yaml(path) if path.is_file() else {}
    return validated(Task, {"name": name} | content | {"folder": folder}, path)


def _manifests(folder: Path) -> list[Path]:
    named = (folder / f"manifest{suffix}" for suffix in sorted(MANIFEST_SUFFIXES))
    return [path for path in named if path.is_file()]


def _found(task: Task, source: str) -> tuple[Found, str]:
    """The rows of a source, and the name of the file or data set that they are of."""
    folder = Path(source).expanduser()
    hint = f"; {task.data.hint}" if task.data else ""
    if source.startswith("hf:") or is_saved(folder):
        try:
            found = read_hub(task.data.hub if task.data else Hub(), source if source.startswith("hf:") else str(folder))
        except InputError as error:
            raise InputError(f"{error}{hint}") from error
        return Found(finish(found.rows, task.data, source)), source
    if not folder.is_dir():
        raise InputError(f"{source}: no such folder{hint}")
    if manifests := _manifests(folder):
        return read_manifest(manifests[0]), str(manifests[0])
    if task.data is None:
        raise InputError(f"{source}: {NO_MANIFEST}")
    return read_layouts(task.data, folder), source


# Items --------------------------------------------------------------------------------------------------------------


def _item(task: Task, row: Row, source: str) -> Item:
    start, seconds = _number(row, "start", source) or 0.0, _number(row, "seconds", source)
    if start < 0 or (seconds is not None and seconds <= 0):
        raise InputError(
            f"{source}: '{row['id']}': start {start:g} s, seconds {seconds}; expected 0 or more, and above 0"
        )
    heard = min((limit for limit in (seconds, task.seconds) if limit), default=None)
    name = f"{row['id']}@{start:g}" if start or seconds else row["id"]
    split = _said(row, "split")
    split = ALIASES.get(split or "", split)
    return Item(name, row["audio"], _label(task, row, source), _said(row, "group"), split, start, heard)


def _label(task: Task, row: Row, source: str) -> Label:
    columns = (task.label,) if isinstance(task.label, str) else task.label
    if absent := [column for column in columns if column not in row]:
        known = [name for name in row if name not in ("id", "audio")]
        raise InputError(f"{source}: '{row['id']}' has no column '{absent[0]}'; {nearest(absent[0], known)}")
    try:
        return LABELS[task.kind](columns, [row[column] for column in columns])
    except InputError as error:
        fault = str(error)
    except (ValueError, TypeError):
        received = ", ".join(repr(row[column])[:60] for column in columns[:3])
        fault = f"expected {EXPECTED[task.kind]}, received {received}"
    raise InputError(
        f"{source}: '{row['id']}', column {', '.join(columns[:3])}: {fault}; mend it or leave the clip out"
    )


def _said(row: Row, column: str) -> str | None:
    return None if row.get(column) in (None, "") else str(row[column])


def _number(row: Row, column: str, source: str) -> float | None:
    said = _said(row, column)
    try:
        return None if said is None else float(said)
    except ValueError:
        raise InputError(f"{source}: '{row['id']}', column {column}: expected seconds, received '{said}'") from None


def _class(columns: tuple[str, ...], values: list[Any]) -> Label:
    (value,) = values
    if value in (None, ""):
        raise ValueError
    return str(value)


def _slots(columns: tuple[str, ...], values: list[Any]) -> Label:
    return tuple(str(_class(columns, [value])) for value in values)


def _tags(columns: tuple[str, ...], values: list[Any]) -> Label:
    if len(columns) > 1:
        return tuple(column for column, value in zip(columns, values, strict=True) if int(value))
    (value,) = values
    tags = value.split(",") if isinstance(value, str) else value
    return tuple(str(tag).strip() for tag in tags if str(tag).strip())


def _numbers(columns: tuple[str, ...], values: list[Any]) -> Label:
    numbers = tuple(float(value) for value in values)
    if not all(map(isfinite, numbers)):
        raise ValueError
    return numbers


def _key(columns: tuple[str, ...], values: list[Any]) -> Label:
    key = str(_class(columns, values))
    split_key(key)
    return key


def _text(columns: tuple[str, ...], values: list[Any]) -> Label:
    (value,) = values
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return " ".join(value.split())


def _times(columns: tuple[str, ...], values: list[Any]) -> Label:
    (value,) = values
    times = [float(time) for time in (value.split() if isinstance(value, str) else value)]
    for before, time in zip([0.0, *times], times, strict=False):
        if not before <= time < inf:
            raise InputError(f"{time:g} s after {before:g} s: expected times from 0 s on, in order")
    return tuple(times)


def _frames(columns: tuple[str, ...], values: list[Any]) -> Label:
    (value,) = values
    stretches = tuple((float(start), float(end), str(name)) for start, end, name in value)
    for start, end, name in stretches:
        if not 0 <= start < end < inf:
            raise InputError(f"'{name}' from {start:g} to {end:g} s: expected a start of 0 s or more and a later end")
    return stretches


LABELS: Mapping[Kind, Callable[[tuple[str, ...], list[Any]], Label]] = {
    "classification": _class,
    "slots": _slots,
    "tagging": _tags,
    "regression": _numbers,
    "key": _key,
    "ctc": _text,
    "frames": _frames,
    "beat": _times,
    "verification": _class,
}
EXPECTED: Mapping[Kind, str] = {
    "classification": "the name of a class",
    "slots": "the name of a class in each",
    "tagging": "tags divided by commas, or a 0 or 1 in a column for each tag",
    "regression": "a finite number in each",
    "key": "a key such as 'Db major'",
    "ctc": "a transcript of one word or more",
    "frames": "a list of [start, end, class]",
    "beat": "times in seconds",
    "verification": "the name of a speaker",
}
