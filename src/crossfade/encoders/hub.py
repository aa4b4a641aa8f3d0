"""From a model's name to its files: a local folder, or a hub id `name[@revision]`.

The hub's client is imported for a hub id only: it takes longer to import than a folder to open.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crossfade.encoders.checkpoint import WEIGHTS, TensorInfo, open_checkpoint
from crossfade.errors import InputError

# Never code: nothing that a hub sends is executed.
_SIDECARS = [
    "README.md",
    "LICENSE*",
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*.json",
    "vocab*.txt",
    "merges.txt",
]
_SAFETENSORS = ["model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"]
_PICKLES = ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"]


@dataclass(frozen=True)
class ModelFiles:
    """A model's files on this machine: `revision` is the commit on the hub, None for a local folder."""

    name: str
    folder: Path
    revision: str | None


@dataclass(frozen=True)
class ModelHeaders(ModelFiles):
    """A model's small files and what its weights are: `fetched` counts the bytes of weight files sent by the hub."""

    infos: Mapping[str, TensorInfo]
    fetched: int


def locate(name: str) -> ModelFiles:
    """The files of model `name`, weights included; fetched from the hub unless they are a folder or in the cache.

    A folder of that name wins. Safetensors win over `pytorch_model.bin`, which then is not fetched. Code never is.

    Raises:
        InputError: no such folder or hub id, no such revision, no access, no hub, or no weights.
    """
    if folder := _local(name):
        return ModelFiles(name, folder, None)
    from crossfade.encoders import remote

    folder = remote.fetch(name, _SIDECARS + _SAFETENSORS)
    if not _has_weights(folder):
        folder = remote.fetch(name, _PICKLES)
    if not _has_weights(folder):
        raise remote.no_weights(name)
    return ModelFiles(name, folder, folder.name)  # the cache names a snapshot by its commit


def locate_headers(name: str) -> ModelHeaders:
    """The small files of model `name`, and its tensors from the headers of its weight files, which are not fetched.

    Raises:
        InputError: as `locate`, and for a `pytorch_model.bin` in the format before torch 1.6, which has no header.
    """
    if folder := _local(name):
        return ModelHeaders(name, folder, None, open_checkpoint(folder).infos, 0)
    from crossfade.encoders import remote

    folder = remote.fetch(name, _SIDECARS)
    try:
        infos, fetched = open_checkpoint(folder).infos, 0
    except InputError:  # not in the cache, or not all of it
        infos, fetched = remote.fetch_infos(name, folder.name)
    return ModelHeaders(name, folder, folder.name, infos, fetched)


def _local(name: str) -> Path | None:
    """The folder `name`, or None where it can only be a hub id."""
    path = Path(os.path.expanduser(name))
    if name and path.is_dir():
        return path
    if name and path.exists():
        raise InputError(f"{name}: is a file, expected a model's folder; pass {path.parent} if that is one")
    if name.startswith((".", "/", "~")) or name.endswith("/") or name.count("/") > 1 or not name.strip():
        raise InputError(f"{name or repr(name)}: no such folder; pass a model's folder or a hub id, name[@revision]")
    return None


def _has_weights(folder: Path) -> bool:
    return any((folder / name).exists() for name in WEIGHTS)
