"""Where every tensor lies in a weights file; the safetensors header, read and built.

Format: https://huggingface.co/docs/safetensors/index#format (8-byte little-endian length, JSON, then the tensors'
bytes, row-major, without holes).
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch

from crossfade.errors import InputError

# Sorted by alignment, as the reference implementation sorts: that order decides where a tensor lies in a file.
DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3": torch.float8_e4m3fn,
    "I16": torch.int16,
    "U16": torch.uint16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F32": torch.float32,
    "C64": torch.complex64,
    "F64": torch.float64,
    "I64": torch.int64,
    "U64": torch.uint64,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_RANK = {dtype: rank for rank, dtype in enumerate(DTYPES.values())}
_LONGEST_HEADER = 100_000_000  # bytes, the reference implementation's limit


@dataclass(frozen=True)
class TensorInfo:
    """What a tensor is, without its values."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size of the values, stored row-major."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Slot:
    """Where a tensor's values lie.

    `offset` (bytes) counts from the start of `file`, or, if `record` is given, from the end of the ZIP local header at
    that position. `stride` counts elements; None means row-major. `loaded` is set where a file has no header to read
    apart and had to be loaded whole.
    """

    info: TensorInfo
    file: str
    offset: int
    stride: tuple[int, ...] | None = None
    record: int | None = None
    loaded: torch.Tensor | None = None

    @property
    def extent(self) -> int:
        """Elements between the first and the last one, both included."""
        return extent(self.info.shape, self.stride)


def extent(shape: tuple[int, ...], stride: tuple[int, ...] | None) -> int:
    """Elements of memory that a view of this shape and stride spans."""
    if stride is None or 0 in shape:
        return math.prod(shape)
    return 1 + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))


def damaged(where: str, what: str) -> InputError:
    """The error for a weights file that cannot be trusted."""
    return InputError(f"{where}: {what}; the file is damaged or incomplete: download it again or save it again")


def counts(values: Any) -> bool:
    """Whether `values` is a list or tuple of non-negative integers."""
    return isinstance(values, list | tuple) and all(type(value) is int and value >= 0 for value in values)


def safetensors_slots(file: BinaryIO) -> tuple[dict[str, Slot], dict[str, str]]:
    """Slots and metadata of an open safetensors file, from its header alone.

    Raises:
        InputError: the file is truncated, its header is not valid, names an unknown dtype, or its tensors overlap,
            leave holes, reach past the end, or do not have the size of their dtype and shape.
    """
    size = file.seek(0, os.SEEK_END)
    header, start = _header(file, size)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise damaged(file.name, "the header's __metadata__ is not a map of strings")
    slots = {name: _slot(file.name, name, entry, start) for name, entry in header.items()}
    _check_cover(file.name, slots, start, size)
    return slots, metadata


def _header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    if size == 0:
        raise damaged(file.name, "expected a safetensors file, received an empty one")
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, _LONGEST_HEADER):
        raise damaged(file.name, f"expected a safetensors header of {length} bytes, the file has {size} bytes")
    try:
        header = json.loads(file.read(length).decode())
    except (ValueError, RecursionError) as error:
        raise damaged(file.name, f"the safetensors header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise damaged(file.name, f"expected the safetensors header to be a JSON object, received {header!r:.40}")
    return header, 8 + length


def _slot(where: str, name: str, entry: Any, start: int) -> Slot:
    fields: Any = entry if isinstance(entry, dict) else {}
    dtype, shape, span = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if not isinstance(dtype, str) or not counts(shape) or not counts(span) or len(span) != 2:
        raise damaged(where, f"the header entry of tensor '{name}' is not valid: {entry!r:.80}")
    if dtype not in DTYPES:
        raise InputError(f"{where}: tensor '{name}' has dtype {dtype}, expected one of {', '.join(DTYPES)}; convert it")
    info = TensorInfo(DTYPES[dtype], tuple(shape))
    if span[1] - span[0] != info.bytes:
        expected = f"{info.bytes} bytes for {dtype} {list(info.shape)}"
        raise damaged(where, f"tensor '{name}' takes {span[1] - span[0]} bytes, expected {expected}")
    return Slot(info, where, start + span[0])


def _check_cover(where: str, slots: Mapping[str, Slot], start: int, size: int) -> None:
    end = start
    for name, slot in sorted(slots.items(), key=lambda item: (item[1].offset, item[1].info.bytes)):
        if slot.offset != end:
            fault = "overlaps the tensor before it" if slot.offset < end else "leaves a hole before it"
            raise damaged(where, f"tensor '{name}' {fault}")
        end += slot.info.bytes
    if end != size:
        raise damaged(where, f"the header describes {end} bytes, the file has {size} bytes")


def safetensors_header(infos: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> tuple[bytes, dict[str, int]]:
    """The header of a file with these tensors, and where in the file each one starts.

    Tensors lie as `safetensors.torch.save_file` puts them: widest dtype first, then by name, so that each is aligned;
    the header is padded with spaces to a multiple of 8 bytes.

    Raises:
        ValueError: a dtype that safetensors cannot store.
    """
    entries: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end, begins = 0, {}
    for name in sorted(infos, key=lambda name: (-_RANK.get(infos[name].dtype, 0), name)):
        info = infos[name]
        if info.dtype not in _NAMES:
            raise ValueError(f"tensor '{name}': safetensors cannot store {info.dtype}")
        begins[name], end = end, end + info.bytes
        span = [begins[name], end]
        entries[name] = {"dtype": _NAMES[info.dtype], "shape": list(info.shape), "data_offsets": span}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, {name: 8 + len(text) + begin for name, begin in begins.items()}
