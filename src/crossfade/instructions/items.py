"""The items of an instance: what is heard, what is asked and what the answer should have been."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, overload

import soundfile
from torch import Tensor

from crossfade.audio.decode import UnreadableError, audio_seconds, encoded, read_audio
from crossfade.audio.sources import AudioFile, is_saved, needed, one_line, read_dataset
from crossfade.errors import InputError, nearest
from crossfade.instructions.benchmark import Instance
from crossfade.instructions.folders import METADATA, TABLE, Clips, parquets, read_rows
from crossfade.instructions.options import read_options

ASKED = ("instruction", "label")
SOUNDS = re.compile(r"audio\d*|enrollment|testing|query|doc")
"""Columns with sound; the last four are those of SUPERB's speaker verification and query by example."""
TEXTS = re.compile(r"text.*")
FIRST = ("audio", "enrollment", "query")
TEST = "test"
"""The one split that the benchmark has."""


@dataclass(frozen=True)
class Sound:
    """A clip that is decoded when it is asked for."""

    file: AudioFile

    @property
    def name(self) -> str:
        """Where it lies."""
        return self.file.name

    @property
    def seconds(self) -> float | None:
        """How long it lasts by its header; None where that cannot be read."""
        try:
            return audio_seconds(self.file)
        except UnreadableError:
            return None

    def load(self) -> tuple[Tensor, int]:
        """(samples,) float32, mean of the channels, and their rate in Hz: the file's own.

        Raises UnreadableError where it cannot be decoded.
        """
        content = encoded(self.file)
        try:
            rate: int = soundfile.info(content).samplerate
        except (soundfile.SoundFileError, TypeError) as error:
            raise UnreadableError("unreadable: not a known audio format") from error
        kept = content if isinstance(content, Path) else partial(bytes, content.getbuffer())
        return read_audio(AudioFile(self.name, kept), rate), rate


@dataclass(frozen=True)
class Item:
    """One question of an instance, and its answer."""

    instance: str
    id: str
    """Unique in its instance."""
    sounds: tuple[Sound, ...]
    texts: Mapping[str, str]
    """Further text to be read, by the name of its column."""
    instruction: str
    label: str
    options: tuple[str, ...]
    """What may be answered, read from the instruction; () unless it is a classification."""


class Items(Sequence[Item]):
    """Items that are made when they are asked for."""

    def __init__(self, ids: Sequence[str], make: Callable[[int, str], Item]) -> None:
        self._ids = ids
        self._make = make

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> "Items": ...
    def __getitem__(self, index: int | slice) -> "Item | Items":
        if isinstance(index, slice):
            numbers = range(len(self))[index]
            return Items([self._ids[number] for number in numbers], lambda at, name: self._make(numbers[at], name))
        return self._make(range(len(self))[index], self._ids[index])


def load_items(instance: Instance, *, limit: int | None = None) -> Sequence[Item]:
    """The items of an instance in their published order, the first `limit` of them; each is made when asked for.

    Of a data set of the hub, the test split at the pinned revision. A sound that is not there is found out when it is
    loaded. A second item of the same id becomes ID#2.

    Raises InputError for an instance whose answers are sounds, and for a data set that cannot be read or that lacks a
    column.
    """
    if instance.kind == "unsupported":
        raise InputError(f"{instance.name}: not supported: its answers are sounds; choose instances with --kind")
    folder = Path(instance.path)
    prepared = instance.local and any((folder / name).is_file() for name in (METADATA, TABLE))
    items = _prepared(instance, folder) if prepared else _columns(instance, _dataset(instance))
    return items if limit is None else items[:limit]


def _item(instance: Instance, name: str, sounds: Sequence[AudioFile], row: Mapping[str, Any]) -> Item:
    instruction = _text(row["instruction"])
    return Item(
        instance=instance.name,
        id=name,
        sounds=tuple(map(Sound, sounds)),
        texts={key: _text(value) for key, value in row.items() if TEXTS.fullmatch(key) and value is not None},
        instruction=instruction,
        label=_text(row["label"]),
        options=read_options(instruction) if instance.kind == "classification" else (),
    )


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _unique(names: Sequence[str]) -> list[str]:
    """The names, those that come again with a number that makes them their own."""
    given, again = {*names}, dict[str, int]()
    found = []
    for name in names:
        number = again.get(name, 0) + 1
        while number > 1 and f"{name}#{number}" in given:
            number += 1
        again[name] = number
        found.append(name if number == 1 else f"{name}#{number}")
    return found


def _require(columns: Sequence[str], where: object) -> None:
    if missing := [name for name in ASKED if name not in columns]:
        raise InputError(
            f"{where}: no '{missing[0]}'; {nearest(missing[0], columns)}; mend it, or choose other instances"
        )


# Prepared folders -----------------------------------------------------------------------------------------------------


def _prepared(instance: Instance, folder: Path) -> Items:
    rows = read_rows(folder)
    for name, row in rows:
        _require(list(row), f"{folder}: {name}")
    clips = Clips(folder)

    def make(number: int, name: str) -> Item:
        sound, row = rows[number]
        return _item(instance, name, clips.of(sound, row), row)

    return Items(_unique([_text(row.get("file", row.get("file1"))) or name for name, row in rows]), make)


# Data sets ------------------------------------------------------------------------------------------------------------


def _dataset(instance: Instance) -> Any:
    """The test split, with sounds as they are stored."""
    folder, revision = Path(instance.path), f"@{instance.revision}" if instance.revision else ""
    if not instance.local:
        data = read_dataset(f"hf:{instance.path}{revision}:{TEST}")
    elif is_saved(folder):
        data = read_dataset(str(folder))
    else:
        datasets = needed("datasets", folder)
        try:
            data = datasets.Dataset.from_parquet([str(path) for path in parquets(folder)])
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise InputError(f"{folder}: not readable parquet files ({one_line(error)}); fetch them again") from error
    if isinstance(data, dict):
        if TEST not in data:
            raise InputError(f"{instance.path}: no split '{TEST}'; {nearest(TEST, data)}")
        data = data[TEST]
    return data


def _columns(instance: Instance, data: Any) -> Items:
    datasets = needed("datasets", instance.path)
    names = list(data.features)
    _require(names, instance.path)
    sounds = sorted(filter(SOUNDS.fullmatch, names), key=_order)
    for name in sounds:
        data = data.cast_column(name, datasets.Audio(decode=False))  # bytes as stored: decoding is ours
    data = data.with_format(None)
    clips = {name: data.select_columns([name]) for name in sounds}
    gaps = [name for name in sounds if data.data.column(name).null_count]
    told = data.select_columns([name for name in names if name in ASKED or TEXTS.fullmatch(name)])
    label = data.features["label"]

    def make(number: int, name: str) -> Item:
        row = dict(told[number])
        if isinstance(label, datasets.ClassLabel) and row["label"] is not None:
            row["label"] = label.int2str(row["label"])
        return _item(instance, name, list(_heard(clips, gaps, number, name)), row)

    key = next((one for one in ("file", "file1") if one in names), None)
    ids = list(map(_text, data[key])) if key else [str(number) for number in range(len(data))]
    return Items(_unique(ids), make)


def _order(column: str) -> tuple[int, int]:
    """audio, audio1, audio2, ..., audio10; enrollment before testing, query before doc."""
    digits = re.sub(r"\D", "", column)
    return (0 if column in FIRST else 1, int(digits or 0))


def _heard(clips: Mapping[str, Any], gaps: Sequence[str], number: int, name: str) -> Iterator[AudioFile]:
    """The sounds of a row, fetched when they are decoded; where columns have gaps, a row may have fewer."""
    for column, rows in clips.items():
        if column not in gaps or rows[number][column] is not None:
            yield AudioFile(f"{name} ({column})", partial(_stored, rows, number, column))


def _stored(rows: Any, number: int, column: str) -> bytes | Path:
    audio = rows[number][column]
    return audio["bytes"] if audio.get("bytes") is not None else Path(audio["path"])
