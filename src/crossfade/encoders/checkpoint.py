"""A folder's weights as raw tensors: headers first, values one tensor at a time.

Values are read with pread into fresh memory and never mapped: pages of a mapped file count as memory of the process.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import torch

from crossfade.encoders.headers import Slot, TensorInfo, damaged, safetensors_slots
from crossfade.encoders.pickle_checkpoint import pickle_slots
from crossfade.errors import InputError

__all__ = ["WEIGHTS", "Checkpoint", "TensorInfo", "open_checkpoint", "read_headers"]

# In order of preference.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_CHUNK = 8 << 20  # bytes hashed at a time
_LARGEST_READ = 1 << 30  # bytes; Linux reads at most 2 GiB at a time


@dataclass(eq=False, repr=False)
class Checkpoint:
    """The tensors of a folder, under their names on disk."""

    slots: Mapping[str, Slot]
    metadata: Mapping[str, str]
    _digest: str | None = field(default=None, init=False)

    @cached_property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Dtype and shape of every tensor, in the order of the header."""
        return {name: slot.info for name, slot in self.slots.items()}

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The weight files, sorted by name; an index is not one of them."""
        return tuple(Path(file) for file in sorted({slot.file for slot in self.slots.values()}))

    def read(self, name: str) -> torch.Tensor:
        """The tensor `name`: row-major, in memory of its own.

        Raises:
            InputError: the file is gone, unreadable or has become shorter.
        """
        slot = self.slots[name]
        if slot.loaded is not None:
            return slot.loaded.clone(memory_format=torch.contiguous_format)
        values = torch.empty(slot.extent, dtype=slot.info.dtype)
        try:
            with open(slot.file, "rb", buffering=0) as file:
                start = slot.offset + (0 if slot.record is None else _payload(file.fileno(), slot))
                _fill(file.fileno(), values, start, slot.file)
        except OSError as error:
            raise InputError(f"{slot.file}: cannot read tensor '{name}' ({error.strerror})") from error
        if slot.stride is None:
            return values.view(slot.info.shape)
        view = values.as_strided(slot.info.shape, slot.stride)
        return view if view.is_contiguous() else view.contiguous()

    def sha256(self) -> str:
        """Hex SHA-256 of the bytes of `files`, one after the other; of a single file, what `sha256sum` prints.

        Computed once. It releases the interpreter's lock: run it in a thread beside other work.

        Raises:
            InputError: a file is gone or unreadable.
        """
        if self._digest is None:
            self._digest = _sha256(self.files)
        return self._digest

    def __repr__(self) -> str:
        megabytes = sum(info.bytes for info in self.infos.values()) / 1e6
        return f"Checkpoint({str(self.files[0].parent)!r}, {len(self.slots)} tensors, {megabytes:.1f} MB)"


def open_checkpoint(folder: Path) -> Checkpoint:
    """The weights of `folder`, from headers alone: safetensors before `pytorch_model.bin`, sharded or not.

    Raises:
        InputError: there is no such folder, it holds no weights, a shard is missing, or a file is damaged.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a model's folder with {WEIGHTS[0]} or {WEIGHTS[2]}")
    entry = next((name for name in WEIGHTS if (folder / name).exists()), None)
    if entry is None:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise InputError(f"{folder}: no weights; expected one of {', '.join(WEIGHTS)}; found {found}")

    def open_file(name: str) -> BinaryIO:
        try:
            return (folder / name).open("rb")
        except FileNotFoundError as error:
            raise InputError(f"{folder / name}: missing, though {entry} names it; download or copy it too") from error
        except OSError as error:
            raise InputError(f"{folder / name}: cannot be read ({error.strerror})") from error

    return Checkpoint(*read_headers(entry, open_file))


def read_headers(entry: str, open_file: Callable[[str], BinaryIO]) -> tuple[dict[str, Slot], dict[str, str]]:
    """Slots and metadata of the weights that start at `entry`, one of `WEIGHTS`; `open_file` opens a file by its name.

    Raises:
        InputError: a file is damaged, holds no tensors, or lacks a tensor that the index puts there.
    """
    if entry.endswith(".index.json"):
        return _read_shards(entry, open_file)
    with open_file(entry) as file:
        slots, metadata = safetensors_slots(file) if entry.endswith(".safetensors") else (pickle_slots(file), {})
        if not slots:
            raise damaged(file.name, "it holds no tensors")
    return slots, metadata


def _read_shards(entry: str, open_file: Callable[[str], BinaryIO]) -> tuple[dict[str, Slot], dict[str, str]]:
    with open_file(entry) as file:
        where, shard_of = file.name, _weight_map(file)
    parts = {shard: read_headers(shard, open_file) for shard in sorted(set(shard_of.values()))}
    slots, metadata = {}, {}
    for name, shard in shard_of.items():
        if name not in parts[shard][0]:
            raise damaged(where, f"it puts tensor '{name}' in {shard}, which does not hold it")
        slots[name] = parts[shard][0][name]
        metadata.update(parts[shard][1])
    return slots, metadata


def _weight_map(file: BinaryIO) -> dict[str, str]:
    try:
        index: Any = json.loads(file.read())
    except (ValueError, RecursionError) as error:
        raise damaged(file.name, f"not JSON ({error})") from error
    shard_of = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shard_of, dict) or not shard_of:
        raise damaged(file.name, "expected a 'weight_map' from tensors to files")
    for shard in shard_of.values():
        # Only names beside the index: an index must not reach into other folders.
        if not isinstance(shard, str) or "/" in shard or not shard.endswith((".safetensors", ".bin")):
            raise damaged(file.name, f"expected names of .safetensors or .bin files beside it, received {shard!r}")
    return shard_of


def _sha256(files: tuple[Path, ...]) -> str:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK))
    for path in files:
        try:
            with path.open("rb", buffering=0) as file:
                while count := file.readinto(buffer):
                    digest.update(buffer[:count])
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def _payload(descriptor: int, slot: Slot) -> int:
    """Where the record's bytes start: its local header is padded, and only there is it said by how much."""
    assert slot.record is not None
    header = os.pread(descriptor, 30, slot.record)
    if len(header) != 30 or header[:4] != b"PK\x03\x04":
        raise damaged(slot.file, f"no archive record at byte {slot.record}")
    return slot.record + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")


def _fill(descriptor: int, values: torch.Tensor, start: int, where: str) -> None:
    buffer = values.view(torch.uint8).numpy().data
    done = 0
    while done < len(buffer):
        count = os.preadv(descriptor, [buffer[done : done + _LARGEST_READ]], start + done)
        if not count:
            raise damaged(where, f"it ends at byte {start + done}, expected {start + len(buffer)}")
        done += count
