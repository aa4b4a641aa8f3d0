"""Weights as TensorFlow saves them: an index that is a LevelDB table, and data files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from struct import pack

import torch
from torch import Tensor, nn

from crossfade.features.tensor_bundle import DTYPES, MAGIC, masked_crc32c
from crossfade.features.weights import TENSORFLOW

CODES = {dtype: code for code, dtype in DTYPES.items()}
ENTRIES_IN_BLOCK, RESTART = 5, 3


def write(folder: Path, tensors: Mapping[str, Tensor], *, name: str = "", shards: int = 1, extra: bytes = b"") -> Path:
    """NAME.index and its data files in `folder`, the tensors dealt out to `shards`; `extra` ends every entry."""
    folder.mkdir(parents=True, exist_ok=True)
    data = [b""] * shards
    values = {b"": number(1, shards)}
    for place, key in enumerate(sorted(tensors)):
        shard = place % shards
        content = tensors[key].contiguous().flatten().view(torch.uint8).numpy().tobytes()
        values[key.encode()] = entry(tensors[key], shard, len(data[shard]), content) + extra
        data[shard] += content
    for shard, content in enumerate(data):
        (folder / f"{name}.data-{shard:05d}-of-{shards:05d}").write_bytes(content)
    (folder / f"{name}.index").write_bytes(table(values))
    return folder / f"{name}.index"


def entry(tensor: Tensor, shard: int, offset: int, content: bytes) -> bytes:
    """A BundleEntryProto; what is zero is left out, as protocol buffers do."""
    shape = b"".join(message(2, number(1, size)) for size in tensor.shape)
    fields = number(1, CODES[tensor.dtype]) + message(2, shape) + number(3, shard) + number(4, offset)
    return fields + number(5, len(content)) + bytes([6 << 3 | 5]) + pack("<I", masked_crc32c(content))


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value) if value else b""


def message(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def table(values: Mapping[bytes, bytes], kind: bytes = b"\0") -> bytes:
    """A LevelDB table of small blocks."""
    content, handles = b"", {}
    pairs = list(values.items())
    for start in range(0, len(pairs), ENTRIES_IN_BLOCK):
        part = pairs[start : start + ENTRIES_IN_BLOCK]
        content, handles[part[-1][0]] = _append(content, block(part), kind)
    content, empty = _append(content, block([]), b"\0")
    content, index = _append(content, block(list(handles.items())), b"\0")
    return content + (empty + index).ljust(40, b"\0") + pack("<Q", MAGIC)


def block(pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Entries whose keys leave out what they share with the one before, but for every third."""
    content, before, restarts = b"", b"", [0]
    for place, (key, value) in enumerate(pairs):
        if place and place % RESTART == 0:
            restarts.append(len(content))
            before = b""
        shared = next(
            (n for n, (a, b) in enumerate(zip(key, before, strict=False)) if a != b), min(len(key), len(before))
        )
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return content + pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def _append(content: bytes, added: bytes, kind: bytes) -> tuple[bytes, bytes]:
    handle = varint(len(content)) + varint(len(added))
    return content + added + kind + pack("<I", masked_crc32c(added + kind)), handle


def tensors(module: nn.Module, layers: Mapping[str, str], seed: int) -> dict[str, Tensor]:
    """Random weights for the layers of `module`, under TensorFlow's names and in its shapes.

    They are scaled so that signals keep their size from layer to layer, and statistics are not those of a start.
    """
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for layer, template in layers.items():
        known = module.get_submodule(layer).state_dict()
        for ours, theirs in TENSORFLOW[type(module.get_submodule(layer))].items():
            value = torch.randn(known[ours].shape, generator=generator)
            if value.ndim > 1:
                value = (value / value[0].numel() ** 0.5).movedim((0, 1), (-1, -2))
            found[template.format(theirs)] = value.square() + 0.5 if theirs == "moving_variance" else value
    return found
