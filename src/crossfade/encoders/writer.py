"""Writing a folder of weights: tensor by tensor, and whole or not at all."""

import errno
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from crossfade.encoders.headers import TensorInfo, safetensors_header
from crossfade.errors import InputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MARKS = (
    "config.json",
    "adapter_config.json",
    "crossfade.json",
    "alignment.json",
    "results.json",
)  # a folder that holds one of these may be replaced
_HIDDEN = re.compile(r"\.(?P<name>.+)\.(?P<owner>[A-Za-z0-9-]+-(?P<pid>\d+))\.(?P<kind>partial|replaced)")


@dataclass(frozen=True)
class _Place:
    """Where a tensor goes."""

    file: FileIO
    offset: int
    info: TensorInfo


class CheckpointWriter:
    """Writes `model.safetensors`, or shards and their index where the tensors exceed `max_shard_bytes`.

    The headers are written first, from `infos`; tensors then go straight to their place, in any order, and none is
    kept. Each file is laid out as `safetensors.torch.save_file` lays it out. As a context manager it closes itself.

    Raises:
        InputError: the disk has no room for it.
        ValueError: a dtype that safetensors cannot store.
    """

    def __init__(
        self,
        folder: Path,
        infos: Mapping[str, TensorInfo],
        *,
        metadata: Mapping[str, str],
        max_shard_bytes: int = 5_000_000_000,
    ) -> None:
        self._folder = folder
        self._bytes = sum(info.bytes for info in infos.values())
        self._missing = set(infos)
        self._places: dict[str, _Place] = {}
        require_space(folder, self._bytes)
        shards = _shards(infos, max_shard_bytes)
        names = _file_names(len(shards))
        with _naming_full_disk(folder, self._bytes), ExitStack() as opened:
            for name, shard in zip(names, shards, strict=True):
                file = opened.enter_context(FileIO(folder / name, "w"))
                header, offsets = safetensors_header(shard, {"format": "pt", **metadata})
                _write_at(file, memoryview(header), 0)
                self._places |= {tensor: _Place(file, offsets[tensor], info) for tensor, info in shard.items()}
            if len(shards) > 1:
                weight_map = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
                index = {"metadata": {"total_size": self._bytes}, "weight_map": dict(sorted(weight_map.items()))}
                (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
            self._files = opened.pop_all()

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Put `tensor` in its place.

        Raises:
            ValueError: the name is unknown or already written, or dtype or shape differ from `infos`.
            InputError: the disk is full.
        """
        place = self._places.get(name)
        if place is None or name not in self._missing:
            raise ValueError(f"tensor '{name}' {'was not announced' if place is None else 'is already written'}")
        received = TensorInfo(tensor.dtype, tuple(tensor.shape))
        if received != place.info:
            raise ValueError(f"tensor '{name}': expected {place.info}, received {received}")
        values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        with _naming_full_disk(self._folder, self._bytes):
            _write_at(place.file, values.numpy().data, place.offset)
        self._missing.remove(name)

    def close(self) -> None:
        """Close the files.

        Raises:
            ValueError: a tensor was never written.
        """
        self._files.close()
        if self._missing:
            raise ValueError(f"{len(self._missing)} tensors were never written, '{min(self._missing)}' among them")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._files.close()


def require_space(folder: Path, needed: int) -> None:
    """Raise InputError if the file system of `folder` (which need not exist yet) has less than `needed` bytes free."""
    if _free(folder) < needed:
        raise _full_disk(folder, needed)


@contextmanager
def output_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A hidden folder beside `path` to write in; it becomes `path` at the end, and is removed on any exception.

    An existing `path` stays in place until then. A killed process cannot clean up: what it left is removed when the
    next run for the same `path` begins. To have SIGTERM clean up too, turn it into an exception (`sys.exit`).

    Raises:
        InputError: `path` exists and `overwrite` is false; it is a file; it is a folder that no model was ever saved
            in; it cannot be created; or the disk is full.
    """
    path = path.resolve()
    created = [folder for folder in path.parents if not folder.exists()]
    draft = path.with_name(f".{path.name}.{_owner(os.getpid())}.partial")
    try:
        if not created:
            _remove_leftovers(path)
        _check_target(path, overwrite)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
    except OSError as error:
        raise InputError(f"{path}: cannot be created ({error.strerror}); choose another output folder") from error
    try:
        with _naming_full_disk(path, None):
            yield draft
            _check_target(path, overwrite)
            _replace(path, draft)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        for folder in created:
            with suppress(OSError):  # somebody else may use it by now
                folder.rmdir()
        raise


def _check_target(path: Path, overwrite: bool) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(f"{path}: is a file, expected a folder to write to; choose another output folder")
    if not overwrite:
        raise InputError(f"{path}: already exists; pass --overwrite to replace it, or choose another output folder")
    if any(path.iterdir()) and not any((path / name).is_file() for name in _MARKS):
        raise InputError(
            f"{path}: not replaced: it is no model's folder (it holds no {' or '.join(_MARKS)}); choose another"
        )


def _replace(path: Path, draft: Path) -> None:
    """Rename `draft` to `path`; what was there is moved aside first, and comes back if that fails."""
    if not path.exists():
        draft.rename(path)
        return
    aside = draft.with_suffix(".replaced")
    path.rename(aside)
    try:
        draft.rename(path)
    except BaseException:
        aside.rename(path)
        raise
    shutil.rmtree(aside)


def _owner(pid: int) -> str:
    return f"{re.sub(r'[^A-Za-z0-9-]', '-', socket.gethostname())}-{pid}"


def _remove_leftovers(path: Path) -> None:
    """Remove what runs for `path` left that were killed on this machine; put back what one of them had moved aside."""
    for folder in sorted(path.parent.glob(".*")):
        match = _HIDDEN.fullmatch(folder.name)
        if match is None or match["name"] != path.name:
            continue
        pid = int(match["pid"])
        if match["owner"] != _owner(pid) or _is_alive(pid):
            continue
        if match["kind"] == "replaced" and not path.exists():
            folder.rename(path)
        else:
            shutil.rmtree(folder)


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():  # in containers every run may get the same number
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _shards(infos: Mapping[str, TensorInfo], limit: int) -> list[dict[str, TensorInfo]]:
    """`infos` in order, cut where a shard would exceed `limit` bytes; a larger tensor has a shard of its own."""
    shards: list[dict[str, TensorInfo]] = [{}]
    room = limit
    for name, info in infos.items():
        if info.bytes > room and shards[-1]:
            shards.append({})
            room = limit
        shards[-1][name] = info
        room -= info.bytes
    return shards


def _file_names(count: int) -> list[str]:
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def _write_at(file: FileIO, data: memoryview, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(file.fileno(), data[done:], offset + done)


@contextmanager
def _naming_full_disk(folder: Path, needed: int | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise _full_disk(folder, needed) from error


def _full_disk(folder: Path, needed: int | None) -> InputError:
    hidden = _HIDDEN.fullmatch(folder.name)
    shown = folder.with_name(hidden["name"]) if hidden else folder
    need = "more room is needed" if needed is None else f"{needed:,} bytes are needed"
    return InputError(
        f"{shown}: disk full: {need}, {_free(folder):,} are free; make room or choose another output folder"
    )


def _free(folder: Path) -> int:
    folder = folder.absolute()
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
