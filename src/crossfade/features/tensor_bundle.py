"""Weights that TensorFlow saved, read without TensorFlow: a "tensor bundle", NAME.index and NAME.data-00000-of-00001.

The index is a table as LevelDB keeps it (doc/table_format.md there): blocks of sorted keys, each key but for what it
shares with the one before, and a footer that says where the block of blocks lies. A key is a tensor's name, its value a
BundleEntryProto (tensorflow/core/protobuf/tensor_bundle.proto); the values lie in the data files as they are in memory.
Every block and every tensor carries a CRC-32C, and each is checked.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from crossfade.encoders.headers import damaged
from crossfade.errors import InputError

SUFFIX = ".index"
MAGIC = 0xDB4775248B80FB57
FOOTER, TRAILER = 48, 5
"""Bytes: a footer holds two handles and the magic number; a block is followed by its compression and its CRC."""

DTYPES = {
    1: torch.float32,
    2: torch.float64,
    3: torch.int32,
    4: torch.uint8,
    5: torch.int16,
    6: torch.int8,
    9: torch.int64,
    10: torch.bool,
    14: torch.bfloat16,
    19: torch.float16,
}
"""tensorflow/core/framework/types.proto."""

_SHARDS, _ENDIANNESS = 1, 2  # fields of BundleHeaderProto
_DTYPE, _SHAPE, _SHARD, _OFFSET, _SIZE, _CRC, _SLICES = 1, 2, 3, 4, 5, 6, 7  # fields of BundleEntryProto

Fields = dict[int, list[int | bytes]]


class _MalformedError(Exception):
    """What is wrong with a file."""


@dataclass(frozen=True)
class Entry:
    """Where a tensor's values lie, and what they are."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int


@dataclass(frozen=True)
class TensorBundle:
    """An open bundle: what the index says; values are read one tensor at a time."""

    index: Path
    shards: int
    entries: Mapping[str, Entry]

    @property
    def files(self) -> tuple[Path, ...]:
        """The index and its data files."""
        stem = self.index.name.removesuffix(SUFFIX)
        names = (f"{stem}.data-{shard:05d}-of-{self.shards:05d}" for shard in range(self.shards))
        return (self.index, *(self.index.with_name(name) for name in names))

    def read(self, name: str) -> Tensor:
        """A tensor's values. Raises InputError: no such tensor, a data file is missing, short or damaged."""
        if name not in self.entries:
            raise damaged(str(self.index), f"tensor {name!r} is missing")
        entry = self.entries[name]
        dtype = DTYPES.get(entry.dtype)
        if dtype is None or entry.size != math.prod(entry.shape) * dtype.itemsize or entry.shard >= self.shards:
            shape = list(entry.shape)
            raise damaged(
                str(self.index), f"tensor {name!r} takes {entry.size} bytes for {shape} of dtype {entry.dtype}"
            )
        path = self.files[1 + entry.shard]
        content = _content(path, entry.offset, entry.size)
        if len(content) != entry.size or masked_crc32c(content) != entry.crc:
            raise damaged(str(path), f"the checksum of tensor {name!r} is wrong")
        return torch.from_numpy(np.frombuffer(content, np.uint8)).view(dtype).view(entry.shape)

    def sha256(self) -> str:
        """SHA-256 of the index and the data files, one after another."""
        digest = hashlib.sha256()
        for path in self.files:
            digest.update(_content(path))
        return digest.hexdigest()


def open_bundle(index: Path) -> TensorBundle:
    """What NAME.index says. Raises InputError: no such file, or not a sound index of whole little-endian tensors."""
    try:
        values = dict(_table(bytes(_content(index))))
        header = _fields(values.pop(b"", b""))
        if _number(header, _ENDIANNESS):
            raise _MalformedError("its values are big-endian")
        entries = {key.decode(): _entry(value) for key, value in values.items()}
    except (_MalformedError, UnicodeDecodeError) as error:
        raise damaged(str(index), f"not a readable index of TensorFlow's weights ({error})") from error
    return TensorBundle(index, _number(header, _SHARDS), entries)


def masked_crc32c(content: bytes | bytearray) -> int:
    """The CRC-32C (Castagnoli) of `content`, turned and shifted as LevelDB and TensorFlow store it."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in content:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _crc_table() -> tuple[int, ...]:
    found = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        found.append(value)
    return tuple(found)


def _content(path: Path, offset: int = 0, size: int | None = None) -> bytearray:
    """The file from `offset` on, or `size` bytes of it; fewer where it ends before."""
    try:
        with path.open("rb") as stream:
            stream.seek(min(offset, path.stat().st_size))
            return bytearray(stream.read(None if size is None else min(size, path.stat().st_size)))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); expected weights that TensorFlow saved"
        ) from error


class _Stream:
    """Bytes read from the first to the last."""

    def __init__(self, content: bytes) -> None:
        self.content, self.position = content, 0

    def more(self) -> bool:
        return self.position < len(self.content)

    def bytes(self, count: int) -> bytes:
        start, self.position = self.position, self.position + count
        if self.position > len(self.content):
            raise _MalformedError("it ends in the middle of a value")
        return self.content[start : self.position]

    def fixed(self, count: int) -> int:
        return int.from_bytes(self.bytes(count), "little")

    def varint(self) -> int:
        """Seven bits a byte, the lowest first; the eighth says that more follow."""
        value = shift = 0
        while True:
            byte = self.fixed(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a LevelDB table, in its order."""
    footer = _Stream(content[-FOOTER:])
    if len(content) < FOOTER or int.from_bytes(content[-8:], "little") != MAGIC:
        raise _MalformedError("it does not end as a LevelDB table does")
    _handle(footer)  # of the block of filters, which TensorFlow leaves empty
    for _, handle in _block(content, *_handle(footer)):
        yield from _block(content, *_handle(_Stream(handle)))


def _handle(stream: _Stream) -> tuple[int, int]:
    """Offset and size of a block."""
    return stream.varint(), stream.varint()


def _block(content: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the block that lies there."""
    stored = _Stream(content[offset : offset + size + TRAILER])
    block, kind, crc = stored.bytes(size), stored.bytes(1), stored.fixed(4)
    if masked_crc32c(block + kind) != crc:
        raise _MalformedError(f"the checksum of its block at byte {offset} is wrong")
    if kind != b"\0":
        raise _MalformedError(f"its block at byte {offset} is compressed, which TensorFlow does not do")
    restarts = int.from_bytes(block[-4:], "little")
    entries, key = _Stream(block[: max(0, size - 4 * (restarts + 1))]), b""
    while entries.more():
        shared, fresh, length = entries.varint(), entries.varint(), entries.varint()
        key = key[:shared] + entries.bytes(fresh)
        yield key, entries.bytes(length)


def _entry(value: bytes) -> Entry:
    fields = _fields(value)
    if _SLICES in fields:
        raise _MalformedError("a tensor is stored in slices")
    shape = _fields(_message(fields, _SHAPE))
    # TensorShapeProto: field 2, repeated, is a dimension, whose field 1 is its size.
    sizes = (_number(_fields(dimension), 1) for dimension in shape.get(2, []) if isinstance(dimension, bytes))
    dtype, shard, offset, size, crc = (_number(fields, key) for key in (_DTYPE, _SHARD, _OFFSET, _SIZE, _CRC))
    return Entry(dtype, tuple(sizes), shard, offset, size, crc)


def _fields(message: bytes) -> Fields:
    """The fields of a protocol buffer: numbers, or bytes for what has a length."""
    stream, found = _Stream(message), Fields()
    while stream.more():
        tag = stream.varint()
        match tag & 7:
            case 0:
                value: int | bytes = stream.varint()
            case 1:
                value = stream.fixed(8)
            case 2:
                value = stream.bytes(stream.varint())
            case 5:
                value = stream.fixed(4)
            case kind:
                raise _MalformedError(f"a field of kind {kind}")
        found.setdefault(tag >> 3, []).append(value)
    return found


def _number(fields: Fields, key: int) -> int:
    """A field that is a number; 0 where it is left out."""
    value = fields.get(key, [0])[-1]
    if isinstance(value, bytes):
        raise _MalformedError(f"field {key} is no number")
    return value


def _message(fields: Fields, key: int) -> bytes:
    value = fields.get(key, [b""])[-1]
    if isinstance(value, int):
        raise _MalformedError(f"field {key} is no message")
    return value
