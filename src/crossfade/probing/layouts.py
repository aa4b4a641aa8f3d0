"""Where a published data set keeps its sounds and its labels, said as data, and the one reader for all of them.

A layout is a few lines of YAML: tables (which files, and how their text becomes rows), what joins them, and templates
that make new columns of old ones. Some columns have a meaning: `split` (train, valid or test, or the name of the fold
in which a row is tested), `group` (what must never be on both sides of a split), `start` and `seconds`.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from crossfade.audio.decode import UnreadableError, audio_seconds
from crossfade.audio.sources import AUDIO_SUFFIXES, AudioFile
from crossfade.documents import Strict
from crossfade.errors import InputError, nearest
from crossfade.probing.tables import Row, read_table

ALIASES = {"training": "train", "validation": "valid", "val": "valid", "dev": "valid", "testing": "test"}
"""Other words that say what a split is for."""

OneOrMore = str | tuple[str, ...]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Table(Strict):
    """Files below the data folder, and the rows they give.

    `files` is a path in which `{name}` stands for a part of one name and `{name:regex}` for such a part; what it stood
    for becomes a column. Of several paths the first that is there counts. `pattern` and `gather`: see `read_table`.
    """

    files: OneOrMore
    pattern: str | None = None
    gather: bool = False
    columns: Mapping[str, str] = {}
    """New columns, as templates of the row's own: `{speaker}`, `{path[0]}`, or a constant."""


class Rows(Table):
    """A table with a row for every sound."""

    path: OneOrMore = "{path}"
    """Template of the sound's path below the data folder; of several the first that exists. Where `files` are sounds,
    the column `path` is their own."""
    cut: Positive | None = None
    """Cut every sound into stretches of that many seconds, one row each; a shorter rest is left out."""
    distinct: bool = False
    """Rows that are alike count once."""


class Join(Table):
    """A table that adds its columns to the rows with the same value in the column `by`, the first such row's."""

    by: str
    required: bool = False
    """Rows that find nothing there are left out."""


class Layout(Strict):
    """One way in which a data set is published."""

    rows: tuple[Rows, ...]
    join: tuple[Join, ...] = ()
    columns: Mapping[str, str] = {}
    lexicon: Table | None = None
    """Words and their `phones`: turns the column `text` into phones; the first of several pronunciations counts."""
    trials: Join | None = None
    """Pairs of sounds to compare: `same` (1 or 0), `first` and `second`, the two being values of the column `by`."""


class Hub(Strict):
    """The same rows as a data set of the Hugging Face hub; `splits` maps its splits to train, valid and test."""

    name: str | None = None
    config: str | None = None
    splits: Mapping[str, str] = {}
    columns: Mapping[str, str] = {}


class Data(Strict):
    """Every form in which a task's data comes: layouts, of which the first that is there in full counts, or the hub."""

    layouts: tuple[Layout, ...]
    keep: Mapping[str, str] = {}
    """Rows are left out unless each of these columns, where they have it, is fully matched by its expression."""
    rename: Mapping[str, Mapping[str, str]] = {}
    """New values of a column: that of the first expression that fully matches the old value."""
    hub: Hub = Hub()
    hint: str
    """Where the data is published, how it is unpacked, which files are expected."""


@dataclass(frozen=True)
class Found:
    """Rows with the columns `id` and `audio`, and trials: indices of two rows and whether they are of the same."""

    rows: list[Row]
    trials: tuple[tuple[int, int, bool], ...] = ()


def read_layouts(data: Data, folder: Path) -> Found:
    """The rows of the first layout that `folder` has in full. Raises InputError, with the hint, when it has none."""
    absent = []
    for layout in data.layouts:
        try:
            rows = finish(_layout_rows(layout, folder), data, str(folder))
            return Found(rows, _trials(layout.trials, rows, folder) if layout.trials else ())
        except _AbsentError as error:
            absent.append(str(error))
        except re.error as error:
            raise InputError(f"{folder}: {error.pattern!r} is not a regular expression ({error}); mend it") from None
    raise InputError(f"{folder}: {', or '.join(absent)}; {data.hint}")


def read_manifest(manifest: Path) -> Found:
    """The rows of a manifest whose column `path` is relative to it."""
    try:
        return Found(_sounds(Rows(files=manifest.name), manifest.parent))
    except _AbsentError as absent:
        raise InputError(f"{manifest}: {absent}; `path` is taken relative to {manifest.parent}") from None


def finish(rows: Iterable[Row], data: Data | None, where: str) -> list[Row]:
    """The rows that are kept, with values renamed. Raises InputError when none is."""
    if data is None:
        return list(rows)
    renamed = {column: _renaming(values) for column, values in data.rename.items()}
    changed = [
        row | {column: rename(str(row[column])) for column, rename in renamed.items() if column in row} for row in rows
    ]
    kept = [
        row
        for row in changed
        if all(re.fullmatch(wanted, str(row[name])) for name, wanted in data.keep.items() if name in row)
    ]
    if not kept:
        raise InputError(f"{where}: none of {len(changed)} rows has {dict(data.keep)}; {data.hint}")
    return kept


def fill(template: str, row: Row, where: str) -> str:
    """A template filled from a row's columns. Raises InputError when that cannot be, as for want of a column."""
    try:
        return template.format_map(row)
    except (LookupError, ValueError, AttributeError) as error:
        columns = nearest(str(error), map(str, row))
        raise InputError(f"{where}: '{template}' cannot be filled from the columns ({error}); {columns}") from None


def extended(row: Row, columns: Mapping[str, str], where: str) -> Row:
    """A row and its new columns."""
    return row | {name: fill(template, row, where) for name, template in columns.items()}


class _AbsentError(Exception):
    """Files that a layout needs are not there."""


def _one(files: OneOrMore) -> str:
    return files if isinstance(files, str) else " or ".join(files)


# Files ------------------------------------------------------------------------------------------------------------

FIELD = re.compile(r"\{(\w+)(?::([^{}]+))?\}")


def _matches(folder: Path, files: OneOrMore) -> Iterator[tuple[Path, Row]]:
    """Files of the first pattern that has any, sorted, with the fields of each."""
    for pattern in (files,) if isinstance(files, str) else files:
        found = _below(folder, re.split(r"/(?![^{]*\})", pattern), {})
        if first := next(found, None):
            yield first
            yield from found
            return


def _below(folder: Path, parts: Sequence[str], fields: Row) -> Iterator[tuple[Path, Row]]:
    part, rest = parts[0], parts[1:]
    if not FIELD.search(part):
        names: Iterable[tuple[str, Row]] = [(part, fields)]
    else:
        expression = _expression(part)
        found = ((name, expression.fullmatch(name)) for name in _names(folder))
        named = ((name, match.groupdict()) for name, match in found if match)
        names = ((name, fields | new) for name, new in named if all(fields.get(k, v) == v for k, v in new.items()))
    for name, known in names:
        path = folder / name
        if rest and path.is_dir():
            yield from _below(path, rest, known)
        elif not rest and path.is_file():
            yield path, known


@cache
def _expression(part: str) -> re.Pattern[str]:
    literal = [re.escape(text) for text in FIELD.split(part)[::3]]
    fields = [f"(?P<{name}>{expression or '.+?'})" for name, expression in FIELD.findall(part)]
    return re.compile("".join(text + field for text, field in zip(literal, [*fields, ""], strict=True)))


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}); make it readable") from error


# Rows -------------------------------------------------------------------------------------------------------------


def _table(table: Table, folder: Path) -> list[Row]:
    """Its rows, each with the fields of its file's path, its own columns and the new ones."""
    rows = []
    for file, fields in _matches(folder, table.files):
        sound = table.pattern is None and file.suffix.lower() in AUDIO_SUFFIXES
        path = {"path": file.relative_to(folder).as_posix()}
        read = [path] if sound else read_table(file, table.pattern, table.gather)
        rows += [extended(fields | row, table.columns, str(file)) for row in read]
    if not rows:
        raise _AbsentError(f"expected rows in {_one(table.files)}, found none")
    return rows


def _layout_rows(layout: Layout, folder: Path) -> list[Row]:
    rows = [row for table in layout.rows for row in _sounds(table, folder)]
    for join in layout.join:
        added = {fill(f"{{{join.by}}}", row, _one(join.files)): row for row in reversed(_table(join, folder))}
        keys = [str(row.get(join.by)) for row in rows]
        rows = [
            row | added.get(key, {}) for row, key in zip(rows, keys, strict=True) if added.get(key) or not join.required
        ]
    if layout.lexicon:
        spelt = {row["word"]: row["phones"] for row in reversed(_table(layout.lexicon, folder))}
        rows = [row | {"phones": _spelt(row, spelt)} for row in rows]
    return [extended(row, layout.columns, str(folder)) for row in rows]


def _spelt(row: Row, lexicon: Mapping[str, str]) -> str:
    words = str(row["text"]).split()
    if unknown := [word for word in words if word not in lexicon]:
        raise InputError(f"{row['id']}: '{unknown[0]}' is in no lexicon file; add its phones to one")
    return " ".join(lexicon[word] for word in words)


def _sounds(table: Rows, folder: Path) -> list[Row]:
    """Rows with `id` and `audio`; at least one of the sounds exists."""
    rows = _table(table, folder)
    if table.distinct:
        rows = list({tuple(row.items()): row for row in rows}.values())
    paths = [_path(table.path, row, folder) for row in rows]
    if pathless := [number for number, path in enumerate(paths, 1) if path in ("", "None")]:
        raise InputError(f"{folder}: row {pathless[0]} of {_one(table.files)} has no path; expected one in every row")
    files = [folder / path for path in paths]
    if not any(map(Path.is_file, files)):
        raise _AbsentError(f"none of the {len(files)} sounds of {_one(table.files)} exists, first {files[0]}")
    sounds = (
        row | {"id": path, "audio": AudioFile(str(file), file)}
        for row, path, file in zip(rows, paths, files, strict=True)
    )
    return [part for row in sounds for part in ([row] if table.cut is None else _cut(row, table.cut))]


def _path(templates: OneOrMore, row: Row, folder: Path) -> str:
    paths = [fill(path, row, str(folder)) for path in ((templates,) if isinstance(templates, str) else templates)]
    if len(paths) == 1:
        return paths[0]
    return next((path for path in paths if (folder / path).is_file()), paths[0])


def _cut(row: Row, seconds: float) -> list[Row]:
    try:
        parts = max(1, int(audio_seconds(row["audio"]) / seconds))
    except UnreadableError:
        parts = 1  # whoever decodes it says so
    return [row | {"start": part * seconds, "seconds": seconds} for part in range(parts)]


def _renaming(values: Mapping[str, str]) -> Callable[[str], str]:
    expressions = [(re.compile(old), new) for old, new in values.items()]

    @cache
    def rename(value: str) -> str:
        found = ((expression.fullmatch(value), new) for expression, new in expressions)
        return next((match.expand(new) for match, new in found if match), value)

    return rename


def _trials(trials: Join, rows: Sequence[Row], folder: Path) -> tuple[tuple[int, int, bool], ...]:
    index: dict[Any, int] = {row.get(trials.by): number for number, row in enumerate(rows)}
    pairs = _table(trials, folder)
    if unknown := [name for pair in pairs for name in (pair["first"], pair["second"]) if name not in index]:
        raise _AbsentError(f"expected a row for {unknown[0]}, which {_one(trials.files)} lists")
    return tuple((index[pair["first"]], index[pair["second"]], pair["same"] == "1") for pair in pairs)
