"""Small files as rows: csv, tab-separated, json, jsonl, parquet, or what a regular expression finds in a text."""

import csv
import json
import re
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from crossfade.audio.sources import needed, one_line
from crossfade.errors import InputError

Row = dict[str, Any]


def read_table(path: Path, pattern: str | None = None, gather: bool = False) -> list[Row]:
    """The rows of a file, by its suffix; names and values of a csv are stripped of blanks.

    With `pattern`, a row for every place in the text that the expression matches (`^` and `$` are ends of lines), with
    its named groups as columns; with `gather` one row for the whole file, whose columns are tuples of what was found.
    A json file is a list of objects, or an object of objects, whose names become the column `key`.

    Raises InputError for a file that cannot be read as what its suffix says.
    """
    if pattern is not None:
        found = [match.groupdict() for match in re.finditer(pattern, _text(path), re.MULTILINE)]
        names = re.compile(pattern).groupindex
        return [{name: tuple(row[name] for row in found) for name in names}] if gather else found
    return READERS.get(path.suffix.lower(), _separated)(path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a text file") from error


def _separated(path: Path) -> list[Row]:
    """Commas by the book; tabs, as data sets are published with, as one finds them."""
    text = _text(path)
    tabs = "\t" in text.partition("\n")[0]
    reader = csv.reader(StringIO(text, newline=""), delimiter="\t" if tabs else ",", strict=not tabs)
    try:
        header = [name.strip() for name in next(reader, [])]
        rows = [(reader.line_num, values) for values in reader if values]
    except csv.Error as error:
        raise InputError(f"{path} line {reader.line_num}: not CSV ({error}); mend or quote the field") from error
    for number, values in rows:
        if len(values) != len(header) and not tabs:
            raise InputError(f"{path} line {number}: expected {len(header)} fields, received {len(values)}; mend it")
    return [dict(zip(header, map(str.strip, values), strict=False)) for _, values in rows]


def _json(path: Path) -> list[Row]:
    content = _parsed(_text(path), str(path))
    if isinstance(content, dict):
        return [{"key": key, **_object(row, f"{path}: {key}")} for key, row in content.items()]
    return [_object(row, str(path)) for row in (content if isinstance(content, list) else [content])]


def _jsonl(path: Path) -> list[Row]:
    lines = enumerate(_text(path).split("\n"), 1)
    named = [(f"{path} line {number}", line) for number, line in lines if line.strip()]
    return [_object(_parsed(line, name), name) for name, line in named]


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{name}: not JSON ({error.msg}); expected an object with a value for every column") from error


def _object(row: object, name: str) -> Row:
    if not isinstance(row, dict):
        raise InputError(f"{name}: expected an object with a value for every column, received {str(row)[:80]}")
    return row


def _parquet(path: Path) -> list[Row]:
    parquet = needed("pyarrow.parquet", path)
    try:
        rows: list[Row] = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable parquet file ({one_line(error)})") from error
    return rows


READERS: Mapping[str, Callable[[Path], list[Row]]] = {".json": _json, ".jsonl": _jsonl, ".parquet": _parquet}
