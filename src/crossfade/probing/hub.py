"""Rows of a data set: from the Hugging Face hub, or from a folder written by `save_to_disk`. No sound is decoded."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from crossfade.audio.sources import HUB_NAME, SAVED_DATASET, find_audio
from crossfade.errors import InputError, nearest
from crossfade.probing.layouts import ALIASES, Found, Hub, extended
from crossfade.probing.tables import Row, needed


def is_saved(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote this folder."""
    return any((folder / name).is_file() for name in SAVED_DATASET)


def read_hub(hub: Hub, source: str) -> Found:
    """The rows of `source`: a folder, or hf:NAME[@REVISION][[:CONFIG]:SPLIT], with `id` (split and number) and `audio`.

    Classes are named. Of a data set with several splits, the row's split becomes the column `split`, as `hub.splits`
    maps it where that is given. Raises InputError for what cannot be loaded or lacks a split.
    """
    parts = _parts(hub, source)
    names = hub.splits if len(parts) > 1 and hub.splits else {name: ALIASES.get(name, name) for name in parts}
    if unknown := [name for name in names if name not in parts]:
        raise InputError(f"{source}: no split '{unknown[0]}'; {nearest(unknown[0], parts)}")
    rows = []
    for part, split in names.items():
        said = {"split": split} if len(parts) > 1 else {}
        rows += [extended(row | said, hub.columns, source) for row in _rows(parts[part], part, source)]
    return Found(rows)


def _parts(hub: Hub, source: str) -> Mapping[str, Any]:
    """The splits of a data set; one under the name of its own where a split is asked for."""
    datasets = needed("datasets", source)
    asked = HUB_NAME.fullmatch(source)
    if source.startswith("hf:") and not asked:
        raise InputError(f"{source}: not a data set's name; expected hf:NAME[@REVISION][[:CONFIG]:SPLIT]")
    try:
        if asked:
            name, revision, config, split = asked.group("name", "revision", "config", "split")
            data = datasets.load_dataset(name, config or hub.config, revision=revision, split=split)
        else:
            data, split = datasets.load_from_disk(source), None
    except (OSError, ValueError, KeyError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise InputError(f"{source}: cannot be loaded ({' '.join(str(error).split())[:300]}); check it") from error
    return data if isinstance(data, dict) else {split or "train": data}


def _rows(data: Any, part: str, source: str) -> list[Row]:
    datasets = needed("datasets", source)
    try:
        sounds = find_audio(data)[0]
    except InputError as error:
        raise InputError(f"{source}, split {part}: {error}") from None
    features = {name: kind for name, kind in data.features.items() if not isinstance(kind, datasets.Audio)}
    features.pop("audio", None)
    values = data.with_format(None).select_columns(list(features)).to_dict()
    for name, kind in features.items():
        if isinstance(kind, datasets.ClassLabel):
            values[name] = [kind.int2str(value) if value is not None and value >= 0 else None for value in values[name]]
    return [
        {name: values[name][number] for name in values}
        | {"id": f"{part}[{number}]", "audio": replace(sound, name=f"{source}:{part}[{number}]")}
        for number, sound in enumerate(sounds)
    ]
