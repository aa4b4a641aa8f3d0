"""Where sound comes from: files, folders, manifests, data sets. Nothing is decoded here."""

import csv
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from crossfade.errors import InputError

AUDIO_SUFFIXES = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".sph", ".w64", ".wav"}
)
MANIFEST_SUFFIXES = frozenset({".csv", ".jsonl", ".parquet"})
SAVED_DATASET = ("dataset_dict.json", "state.json")
HUB_NAME = re.compile(
    r"hf:(?P<name>[^@:]+)(@(?P<revision>[^:]+))?(:(?P<config>[\w.-]+)(?=:))?(:(?P<split>.+))?", re.ASCII
)


@dataclass(frozen=True)
class AudioFile:
    """One thing to decode: a path, or a function that fetches the encoded bytes (or a path) from a data set's row."""

    name: str
    content: Path | Callable[[], bytes | Path]


class Rows(Protocol):
    """A `datasets.Dataset`, as far as it is used here."""

    @property
    def features(self) -> Mapping[str, object]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, row: int, /) -> Any: ...
    def select_columns(self, columns: list[str]) -> "Rows": ...
    def cast_column(self, column: str, feature: Any) -> "Rows": ...
    def with_format(self, type: str | None) -> "Rows": ...


Source = str | os.PathLike[str] | Rows


def find_audio(sources: Source | Sequence[Source]) -> list[list[AudioFile]]:
    """Everything decodable in each source, one list per source, in an order that does not depend on the machine.

    A source is an audio file; a folder (searched to any depth; hidden names are left out); a manifest (.jsonl, .csv or
    .parquet) whose `path` column is relative to the manifest; `hf:NAME[@REVISION][[:CONFIG]:SPLIT]`; a folder written
    by `Dataset.save_to_disk`; a parquet file with an `audio` column; or a `datasets.Dataset`.

    Raises InputError for a source that is missing, malformed or holds no audio. A manifest may list files that do not
    exist (they are skipped later) as long as one of them does.
    """
    if isinstance(sources, str) or not isinstance(sources, Sequence):
        sources = [sources]
    if not sources:
        raise InputError("no audio given: expected at least one audio file, folder, manifest or data set")
    return [_find(source) for source in sources]


def _find(source: Source) -> list[AudioFile]:
    if not isinstance(source, (str, os.PathLike)):
        return _dataset(source, type(source).__name__)
    if os.fspath(source).startswith("hf:"):
        return _dataset(read_dataset(os.fspath(source)), os.fspath(source))
    path = Path(source).expanduser()
    if path.is_dir():
        return _dataset(read_dataset(str(path)), str(path)) if is_saved(path) else _folder(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; expected an audio file, folder, manifest or data set")
    if path.suffix.lower() == ".parquet":
        return _parquet(path)
    if path.suffix.lower() in MANIFEST_SUFFIXES:
        return _manifest(path, _jsonl_paths(path) if path.suffix.lower() == ".jsonl" else _csv_paths(path))
    if path.suffix.lower() in AUDIO_SUFFIXES:
        return [AudioFile(str(path), path)]
    raise InputError(f"{path}: neither audio nor a manifest; expected {_suffixes(AUDIO_SUFFIXES | MANIFEST_SUFFIXES)}")


def _suffixes(suffixes: frozenset[str]) -> str:
    return ", ".join(sorted(suffixes))


# Folders ------------------------------------------------------------------------------------------------------------


def _folder(folder: Path) -> list[AudioFile]:
    files = list(_walk(folder))
    audio = sorted((path for path in files if path.suffix.lower() in AUDIO_SUFFIXES), key=lambda path: path.parts)
    if audio:
        return [AudioFile(str(path), path) for path in audio]
    manifests = sorted(path for path in files if path.suffix.lower() in MANIFEST_SUFFIXES)
    hint = f"; it holds {manifests[0]}: give that instead" if manifests else ""
    raise InputError(f"{folder}: no audio in this folder; expected files named {_suffixes(AUDIO_SUFFIXES)}{hint}")


def _walk(folder: Path) -> Iterator[Path]:
    """Files below `folder` without hidden ones; linked folders are entered, each real folder once, so loops end."""
    entered = {os.path.realpath(folder)}
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        fresh = []
        for name in sorted(folders):
            real = os.path.realpath(os.path.join(parent, name))
            if not name.startswith(".") and real not in entered:
                entered.add(real)
                fresh.append(name)
        folders[:] = fresh
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be listed ({error.strerror}); make it readable or give another folder")


# Manifests ----------------------------------------------------------------------------------------------------------


def _manifest(manifest: Path, paths: Iterator[str]) -> list[AudioFile]:
    try:
        files = [manifest.parent / path for path in paths]
    except UnicodeDecodeError as error:
        raise InputError(
            f"{manifest}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    if not files:
        raise InputError(f"{manifest}: lists no audio; expected one file a row in a `path` column")
    if not any(path.is_file() for path in files):
        raise InputError(
            f"{manifest}: none of the {len(files)} files it lists exists, first {files[0]}; "
            f"`path` is taken relative to {manifest.parent}"
        )
    return [AudioFile(str(path), path) for path in files]


def _jsonl_paths(manifest: Path) -> Iterator[str]:
    with manifest.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(
                    f"{manifest} line {number}: not JSON ({error.msg}); expected one object a line"
                ) from error
            path = row.get("path") if isinstance(row, dict) else None
            if not isinstance(path, str) or not path:
                raise InputError(
                    f'{manifest} line {number}: expected {{"path": "file.wav", ...}}, got {line.strip()[:80]}'
                )
            yield path


def _csv_paths(manifest: Path) -> Iterator[str]:
    with manifest.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines, strict=True)
        try:
            if "path" not in (rows.fieldnames or ()):
                raise InputError(
                    f"{manifest}: no `path` column; got columns {', '.join(rows.fieldnames or ()) or 'none'}"
                )
            for row in rows:
                if None in row or not row["path"]:
                    raise InputError(
                        f"{manifest} line {rows.line_num}: expected {len(rows.fieldnames or ())} fields and a path, "
                        f"got {row}"
                    )
                yield row["path"]
        except csv.Error as error:
            raise InputError(
                f"{manifest} line {rows.reader.line_num}: not CSV ({error}); mend or quote the field"
            ) from error


# Data sets ----------------------------------------------------------------------------------------------------------


def needed(module: str, source: object) -> ModuleType:
    """An optional module that reading `source` needs. Raises InputError that says what to install."""
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(f"{source}: reading it needs {module}; pip install 'crossfade[datasets]'") from error


def one_line(error: Exception) -> str:
    """What others say of their errors, as a part of one of our lines."""
    return " ".join(str(error).split())[:300]


def _parquet(path: Path) -> list[AudioFile]:
    parquet = needed("pyarrow.parquet", path)
    try:
        columns = parquet.read_schema(path).names
        if "audio" in columns:
            rows = needed("datasets", path).Dataset.from_parquet(str(path), columns=["audio"])
            return _dataset(rows, str(path))
        if "path" not in columns:
            raise InputError(f"{path}: no `path` or `audio` column; got columns {', '.join(columns) or 'none'}")
        paths = parquet.read_table(path, columns=["path"]).column("path").to_pylist()
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable parquet file ({one_line(error)})") from error
    for row, value in enumerate(paths):
        if not isinstance(value, str) or not value:
            raise InputError(f"{path} row {row}: expected a path, got {value!r}")
    return _manifest(path, iter(paths))


def is_saved(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote this folder."""
    return any((folder / name).is_file() for name in SAVED_DATASET)


def read_dataset(source: str, config: str | None = None) -> Any:
    """The Dataset or DatasetDict that `save_to_disk` wrote to the folder `source`, or that an `hf:` name stands for.

    `config` is taken where the name has none. Raises InputError for what is no such name or cannot be loaded.
    """
    parts = HUB_NAME.fullmatch(source)
    if source.startswith("hf:") and not parts:
        raise InputError(f"{source}: not a data set's name; expected hf:NAME[@REVISION][[:CONFIG]:SPLIT]")
    datasets = needed("datasets", source)
    try:
        if parts is None:
            return datasets.load_from_disk(source)
        name, revision, own, split = parts.group("name", "revision", "config", "split")
        return datasets.load_dataset(name, own or config, revision=revision, split=split)
    except (OSError, ValueError, KeyError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        mend = "check its parts and the network" if parts else "save it again"
        raise InputError(f"{source}: cannot be loaded ({one_line(error)}); {mend}") from error


def _dataset(data: Any, name: str) -> list[AudioFile]:
    datasets = needed("datasets", name)
    if isinstance(data, dict):  # a DatasetDict: several splits
        split = "train" if "train" in data else next(iter(data), None)
        if split is None or (split != "train" and len(data) > 1):
            raise InputError(f"{name}: choose one split; it has {', '.join(data) or 'none'}")
        data, name = data[split], f"{name}:{split}"
    if not isinstance(data, datasets.Dataset):
        raise InputError(f"{name}: expected a datasets.Dataset, got {type(data).__name__}; load it without streaming")
    columns = [column for column, feature in data.features.items() if isinstance(feature, datasets.Audio)]
    column = columns[0] if columns else "audio"
    if column not in data.features:
        raise InputError(f"{name}: no audio column; got columns {', '.join(data.features) or 'none'}")
    if not len(data):
        raise InputError(f"{name}: the data set has no rows")
    try:
        encoded = datasets.Audio(decode=False)  # bytes as stored: decoding is ours, torchcodec is never needed
        rows: Rows = data.with_format(None).select_columns([column]).cast_column(column, encoded)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{name}: column `{column}` does not hold encoded audio ({one_line(error)})") from error
    return [AudioFile(f"{name}[{row}]", partial(_encoded, rows, row, column)) for row in range(len(rows))]


def _encoded(rows: Rows, row: int, column: str) -> bytes | Path:
    audio = rows[row][column] or {}
    if audio.get("bytes") is None and audio.get("path"):
        return Path(audio["path"])
    return audio.get("bytes") or b""
