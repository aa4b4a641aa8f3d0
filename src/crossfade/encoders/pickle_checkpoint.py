"""Headers of `pytorch_model.bin`: what torch.save wrote, without its values and without running anything.

The file is a ZIP archive of one pickle and one uncompressed record per storage
(https://docs.pytorch.org/docs/stable/notes/serialization.html). The pickle is read by an unpickler that knows nothing
but ordered dictionaries, dtypes and torch's two constructors of dense tensors, which is stricter than
`torch.load(weights_only=True)` and needs no storage to be present: the same code reads a file over HTTP.
"""

import io
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch

from crossfade.encoders.headers import Slot, TensorInfo, counts, damaged, extent
from crossfade.errors import InputError

# What unpicklers are known to raise on malformed input.
_MALFORMED = (
    pickle.UnpicklingError,
    EOFError,
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
    struct.error,
)


def pickle_slots(file: BinaryIO) -> dict[str, Slot]:
    """Slots of an open `pytorch_model.bin`, from its directory and its pickle alone.

    A file in the format that torch wrote before 1.6 has no header: it is loaded whole, with `weights_only`.

    Raises:
        InputError: the file is damaged, asks for anything but plain tensors, or is not a flat dictionary of them.
    """
    if not is_archive(file):
        return _legacy_slots(file)
    try:
        with zipfile.ZipFile(file) as archive:
            records = {item.filename.partition("/")[2]: item for item in archive.infolist()}
            byteorder = archive.read(records["byteorder"]) if "byteorder" in records else b"little"
            state = _HeaderUnpickler(io.BytesIO(archive.read(records["data.pkl"])), file.name).load()
    except InputError:
        raise
    except (zipfile.BadZipFile, OSError, RuntimeError, *_MALFORMED) as error:
        raise damaged(file.name, f"not a readable PyTorch archive ({error or type(error).__name__})") from error
    if byteorder != b"little":
        raise InputError(f"{file.name}: values are {byteorder!r}-endian, expected little; save it as safetensors")
    return {name: _slot(file.name, name, view, records) for name, view in _flat(file.name, state).items()}


def is_archive(file: BinaryIO) -> bool:
    """Whether an open `pytorch_model.bin` is a ZIP archive, as torch writes since 1.6."""
    try:
        return zipfile.is_zipfile(file)
    except zipfile.BadZipFile:
        return False


@dataclass(frozen=True)
class _View:
    """A tensor as its pickle describes it: a view of the storage kept in record `data/{key}`."""

    dtype: Any
    key: Any
    offset: Any
    shape: Any
    stride: Any


def _view(storage: tuple[Any, Any], offset: Any, shape: Any, stride: Any, *_: Any) -> _View:
    return _View(*storage, offset, shape, stride)


def _typed_view(
    storage: Any, offset: Any, shape: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> _View:
    return _View(dtype, storage[1], offset, shape, stride)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor_v2"): _view,
    ("torch._utils", "_rebuild_tensor_v3"): _typed_view,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("torch.storage", "UntypedStorage"): torch.uint8,
    ("torch", "BoolStorage"): torch.bool,
    ("torch", "ByteStorage"): torch.uint8,
    ("torch", "CharStorage"): torch.int8,
    ("torch", "ShortStorage"): torch.int16,
    ("torch", "IntStorage"): torch.int32,
    ("torch", "LongStorage"): torch.int64,
    ("torch", "HalfStorage"): torch.float16,
    ("torch", "BFloat16Storage"): torch.bfloat16,
    ("torch", "FloatStorage"): torch.float32,
    ("torch", "DoubleStorage"): torch.float64,
    ("torch", "ComplexFloatStorage"): torch.complex64,
    ("torch", "ComplexDoubleStorage"): torch.complex128,
}


class _HeaderUnpickler(pickle.Unpickler):
    def __init__(self, data: BinaryIO, where: str) -> None:
        super().__init__(data)
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        dtype = getattr(torch, name, None) if module == "torch" else None
        if not isinstance(dtype, torch.dtype):
            raise InputError(
                f"{self._where}: its pickle asks for '{module}.{name}', expected nothing but dense tensors; refused and"
                " not run: save the weights as safetensors from a source you trust"
            )
        return dtype

    def persistent_load(self, pid: Any) -> tuple[Any, Any]:
        _, dtype, key, _, _ = pid
        return dtype, key


def _flat(where: str, state: Any) -> Mapping[str, Any]:
    if not isinstance(state, dict):
        raise InputError(
            f"{where}: expected a dictionary of tensors, received a {type(state).__name__}; save a state_dict"
        )
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, _View | torch.Tensor):
            kind = type(value).__name__
            raise InputError(
                f"{where}: expected tensors by name, received a {kind} at {name!r}; save the state_dict alone"
            )
    return state


def _slot(where: str, name: str, view: _View, records: Mapping[str, zipfile.ZipInfo]) -> Slot:
    sizes = counts(view.shape) and counts(view.stride) and counts([view.offset])
    if not sizes or len(view.shape) != len(view.stride) or not isinstance(view.dtype, torch.dtype):
        raise damaged(where, f"the description of tensor '{name}' is not valid")
    record = records.get(f"data/{view.key}")
    info = TensorInfo(view.dtype, tuple(view.shape))
    needed = (view.offset + extent(info.shape, view.stride)) * info.dtype.itemsize if info.bytes else 0
    if record is None or record.file_size < needed:
        found = "none" if record is None else f"{record.file_size} bytes"
        raise damaged(where, f"tensor '{name}' needs {needed} bytes of values, the archive has {found}")
    if record.compress_type != zipfile.ZIP_STORED:
        raise InputError(
            f"{where}: tensor '{name}' is compressed, expected a file written by torch.save; save it again"
        )
    return Slot(info, where, view.offset * info.dtype.itemsize, tuple(view.stride), record.header_offset)


def _legacy_slots(file: BinaryIO) -> dict[str, Slot]:
    file.seek(0)
    if file.read(2) == b"PK":
        raise damaged(file.name, "the directory at the end of the PyTorch archive is missing or broken")
    file.seek(0)
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is refused a moment later
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, AssertionError, *_MALFORMED) as error:
        cause = str(error).strip().partition("\n")[0] or type(error).__name__
        raise damaged(
            file.name, f"not a file of weights that torch.load(weights_only=True) accepts ({cause})"
        ) from error
    return {
        name: Slot(TensorInfo(tensor.dtype, tuple(tensor.shape)), file.name, 0, loaded=tensor.detach())
        for name, tensor in _flat(file.name, state).items()
    }
