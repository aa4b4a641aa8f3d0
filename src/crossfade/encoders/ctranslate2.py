"""The encoder inside a Whisper model that CTranslate2 converted: `model.bin` to transformers' names and values.

Layout (little endian): version u32, name, revision u32, count u32; for each variable its key, rank u8, dimensions u32
each, dtype u8, bytes u32, values; then aliases, which concern the decoder. A string is its length u16 and its bytes,
closed by a zero. The file may lie in parts, `model.bin.part1`, `model.bin.part2`, ..., which follow one another.
"""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO

import torch
from torch import Tensor

from crossfade.encoders.headers import damaged
from crossfade.errors import InputError

WEIGHTS = "model.bin"
SPECIFICATION = "WhisperSpec"
NEWEST_VERSION = 6
DTYPES = {0: torch.float32, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.float16, 5: torch.bfloat16}
_PIECE = 1 << 24  # bytes hashed at a time

# CTranslate2's name -> transformers'. `{}` is a layer; q, k and v lie stacked in one tensor.
_WHOLE = {
    "conv1": "conv1",
    "conv2": "conv2",
    "layer_norm": "layer_norm",
    "layer_{}/self_attention/layer_norm": "layers.{}.self_attn_layer_norm",
    "layer_{}/self_attention/linear_1": "layers.{}.self_attn.out_proj",
    "layer_{}/ffn/layer_norm": "layers.{}.final_layer_norm",
    "layer_{}/ffn/linear_0": "layers.{}.fc1",
    "layer_{}/ffn/linear_1": "layers.{}.fc2",
}
_PARTS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
_STACKED = "layers.{}.self_attn.{}_proj.{}"


@dataclass(frozen=True)
class WhisperWeights:
    """A Whisper encoder: `config` for transformers' WhisperConfig, `tensors` of its WhisperEncoder as stored.

    `sha256` is that of the whole `model.bin`, its parts joined.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    sha256: str


def ctranslate2_files(folder: Path) -> tuple[Path, ...]:
    """`model.bin` or its parts in order; none where the folder holds no such model."""
    if (folder / WEIGHTS).exists():
        return (folder / WEIGHTS,)
    numbered = {int(part[1]): path for path in folder.iterdir() if (part := re.fullmatch(_PART, path.name))}
    missing = set(range(1, max(numbered, default=0) + 1)) - set(numbered)
    if missing:
        raise InputError(f"{folder}: {WEIGHTS}.part{min(missing)} is missing; copy every part into this folder")
    return tuple(numbered[number] for number in sorted(numbered))


_PART = re.escape(WEIGHTS) + r"\.part(\d+)"


def read_ctranslate2(folder: Path) -> WhisperWeights:
    """The encoder of the Whisper in `folder`, float32 or float16 as stored; the decoder is passed over.

    Raises InputError: no such file, not a Whisper, a newer format, a quantised one, truncated or overlong.
    """
    files = ctranslate2_files(folder)
    if not files:
        raise InputError(f"{folder}: no {WEIGHTS}; expected a folder with a Whisper that CTranslate2 converted")
    with ExitStack() as stack:
        stream = _Joined([stack.enter_context(path.open("rb")) for path in files], str(files[0]))
        _check_head(stream)
        found = dict(_variables(stream))
        for _ in range(stream.number("<I")):
            stream.text()
            stream.text()
        stream.end()
    return WhisperWeights(_config(found, stream.name), _tensors(found, stream.name), stream.digest.hexdigest())


class _Joined:
    """Files read as one, from the first byte to the last, hashed on the way."""

    def __init__(self, files: list[BinaryIO], name: str) -> None:
        self.files, self.name = files, name
        self.digest = hashlib.sha256()
        self.position = 0

    def read(self, count: int) -> bytearray:
        content = bytearray()
        while len(content) < count and self.files:
            piece = self.files[0].read(count - len(content))
            if not piece:
                del self.files[0]
            content += piece
        self.digest.update(content)
        self.position += len(content)
        if len(content) < count:
            raise damaged(self.name, f"it ends at byte {self.position}, in the middle of a value")
        return content

    def skip(self, count: int) -> None:
        for start in range(0, count, _PIECE):
            self.read(min(_PIECE, count - start))

    def number(self, form: str) -> int:
        layout = Struct(form)
        value: int = layout.unpack(self.read(layout.size))[0]
        return value

    def text(self) -> str:
        return self.read(self.number("<H")).rstrip(b"\0").decode(errors="replace")

    def end(self) -> None:
        if any(file.read(1) for file in self.files):
            raise damaged(self.name, f"it goes on after byte {self.position}, where its last value ends")


def _check_head(stream: _Joined) -> None:
    version = stream.number("<I")
    if not 2 <= version <= NEWEST_VERSION:
        expected = f"format version 2 to {NEWEST_VERSION}, received {version}"
        raise InputError(f"{stream.name}: expected a CTranslate2 model of {expected}; convert it with CTranslate2 4")
    name = stream.text()
    if name != SPECIFICATION:
        raise InputError(f"{stream.name}: expected a {SPECIFICATION}, received {name[:40]!r}; only Whisper is read")
    stream.number("<I")


def _variables(stream: _Joined) -> Iterator[tuple[str, Tensor]]:
    """The encoder's variables, without the `encoder/` before their names."""
    for _ in range(stream.number("<I")):
        key = stream.text()
        shape = [stream.number("<I") for _ in range(stream.number("B"))]
        code, size = stream.number("B"), stream.number("<I")
        dtype = DTYPES.get(code)
        if dtype is None or not size or size != math.prod(shape) * dtype.itemsize:
            raise damaged(stream.name, f"variable {key[:80]!r} takes {size} bytes for {shape} of dtype {code}")
        if key.startswith("encoder/"):
            yield key.removeprefix("encoder/"), torch.frombuffer(stream.read(size), dtype=dtype).view(shape)
        else:
            stream.skip(size)


def _config(found: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """What the shapes say of the model; the rest is the same for every Whisper."""
    for key in ("conv1/weight", "position_encodings/encodings", "layer_0/ffn/linear_0/weight", "num_heads"):
        if key not in found:
            raise damaged(source, f"variable 'encoder/{key}' is missing")
    width, bins, _ = found["conv1/weight"].shape
    return {
        "d_model": width,
        "num_mel_bins": bins,
        "max_source_positions": len(found["position_encodings/encodings"]),
        "encoder_layers": len({key.split("/")[0] for key in found if key.startswith("layer_") and key[6].isdigit()}),
        "encoder_attention_heads": int(found["num_heads"]),
        "encoder_ffn_dim": len(found["layer_0/ffn/linear_0/weight"]),
    }


def _tensors(found: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    tensors = {"embed_positions.weight": found["position_encodings/encodings"]}
    for key, value in found.items():
        where, _, part = key.rpartition("/")
        if part not in _PARTS:
            continue
        if not value.is_floating_point():
            raise InputError(
                f"{source}: encoder/{key} is quantised to {value.dtype}; expected float16 or float32: "
                "convert the model again with --quantization float16"
            )
        layer = re.match(r"layer_(\d+)/", where)
        number = layer[1] if layer else ""
        where = re.sub(r"^layer_\d+", "layer_{}", where)
        if where == "layer_{}/self_attention/linear_0":
            tensors |= zip((_STACKED.format(number, name, part) for name in "qkv"), value.chunk(3), strict=True)
        elif where in _WHOLE:
            tensors[f"{_WHOLE[where].format(number)}.{_PARTS[part]}"] = value
    # The keys' bias is stored as zeros: Whisper has none.
    return {name: value for name, value in tensors.items() if not name.endswith("k_proj.bias")}
