"""Rows of a data set: from the Hugging Face hub, or from a folder written by `save_to_disk`. No sound is decoded."""

from dataclasses import replace
from typing import Any

from crossfade.audio.sources import HUB_NAME, find_audio, needed, read_dataset
from crossfade.errors import InputError, nearest
from crossfade.probing.layouts import ALIASES, Found, Hub, extended
from crossfade.probing.tables import Row


def read_hub(hub: Hub, source: str) -> Found:
    """The rows of `source`: a folder, or hf:NAME[@REVISION][[:CONFIG]:SPLIT], with `id` (split and number) and `audio`.

    Classes are named. Of a data set with several splits, the row's split becomes the column `split`, as `hub.splits`
    maps it where that is given. Raises InputError for what cannot be loaded or lacks a split.
    """
    data, asked = read_dataset(source, hub.config), HUB_NAME.fullmatch(source)
    parts = data if isinstance(data, dict) else {(asked and asked["split"]) or "train": data}
    names = hub.splits if len(parts) > 1 and hub.splits else {name: ALIASES.get(name, name) for name in parts}
    if unknown := [name for name in names if name not in parts]:
        raise InputError(f"{source}: no split '{unknown[0]}'; {nearest(unknown[0], parts)}")
    rows = []
    for part, split in names.items():
        said = {"split": split} if len(parts) > 1 else {}
        rows += [extended(row | said, hub.columns, source) for row in _rows(parts[part], part, source)]
    return Found(rows)


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
