"""Features on disk under what they were computed from, shared by runs and processes.

`FOLDER/<key of the upstream>/<pool>-<random>.safetensors` holds entries, each under the key of its clip. A shard is
written whole under another name and then renamed, and nobody writes to it again: a run that is killed loses what it had
not flushed, and two runs never meet. Every entry has a checksum; what does not match is computed again.
"""

import os
import re
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from uuid import uuid4

import torch
from safetensors.torch import save_file
from torch import Tensor

from crossfade.encoders.headers import Slot, safetensors_slots
from crossfade.errors import InputError

Pool = Literal["mean", "frames", "codes"]
DTYPES: Mapping[Pool, torch.dtype] = {"mean": torch.float32, "frames": torch.float16, "codes": torch.uint8}
"""Means over time (layers, width) are kept exactly, frames (layers, frames, width) in half precision or in a byte each
(see `codes`)."""

FLUSH_BYTES, FLUSH_SECONDS = 64 << 20, 60.0
"""A shard is written when so much waits, or for so long: more is lost by a kill, less makes more shards."""

ABANDONED_SECONDS = 86400.0
"""An unfinished shard that is older than this was left by a run that was killed."""

FOLDER = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "crossfade" / "features"
"""Where features are kept, unless the environment's CROSSFADE_CACHE or the caller says otherwise."""

_OURS = re.compile(r"[0-9a-f]{32}/((mean|frames|codes)-[0-9a-f]{32}\.safetensors|\.[0-9a-f]{32}\.tmp)")


def open_cache(folder: str | Path | None = None, limit_bytes: int | None = None) -> "Cache":
    """The cache in this folder; without one in that of the environment's CROSSFADE_CACHE, else in `FOLDER`."""
    return Cache(folder or os.environ.get("CROSSFADE_CACHE") or FOLDER, limit_bytes)


class Cache:
    """A folder of features of at most `limit_bytes` (None: no limit), made when it is first written to.

    Before and after features are computed, the shards that were not used for longest are deleted until the limit holds;
    those in `used` stay. Nothing else in the folder is ever touched. Raises InputError for a folder that is a file and
    a limit below 0.
    """

    def __init__(self, folder: Path | str, limit_bytes: int | None = None) -> None:
        self.folder, self.limit_bytes = Path(folder).expanduser(), limit_bytes
        self.used: set[Path] = set()
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder}: is a file, expected a folder for cached features; give another")
        if limit_bytes is not None and limit_bytes < 0:
            raise InputError(f"cache size: expected at least 0 bytes, got {limit_bytes}; leave it out for no limit")

    def shelf(self, key: str, pool: Pool) -> "Shelf":
        """The entries of the upstream with this key."""
        return Shelf(self, self.folder / key, pool)

    def make_room(self, coming: int) -> None:
        """Delete shards so that `coming` bytes more can be kept.

        Raises InputError, and deletes nothing, when what is in use leaves no room for them.
        """
        needed = coming + sum(size for _, size, path in self._shards() if path in self.used)
        if self.limit_bytes is not None and needed > self.limit_bytes:
            raise InputError(
                f"cache size: what is measured now needs about {needed / 1e6:.3g} MB of features, the limit is "
                f"{self.limit_bytes / 1e6:.3g} MB; raise it or leave it out"
            )
        self.prune(coming)

    def prune(self, coming: int = 0) -> None:
        """Delete shards until the limit holds with `coming` bytes more, the least recently used first.

        Other runs may do the same meanwhile.
        """
        shards = self._shards()
        held = coming + sum(size for _, size, _ in shards)
        for _, size, path in shards:
            if self.limit_bytes is None or held <= self.limit_bytes:
                return
            if path not in self.used:
                path.unlink(missing_ok=True)
                held -= size

    def _shards(self) -> list[tuple[float, int, Path]]:
        """When each shard was used last, from the oldest on, its size and path; what runs abandoned is cleared away."""
        shards: list[tuple[float, int, Path]] = []
        for path in self.folder.glob("*/*"):
            with suppress(FileNotFoundError):  # another run was faster
                about = path.stat()
                if not _OURS.fullmatch(f"{path.parent.name}/{path.name}"):
                    continue
                if path.suffix != ".tmp":
                    shards.append((about.st_mtime, about.st_size, path))
                elif about.st_mtime < time.time() - ABANDONED_SECONDS:
                    path.unlink()
        return sorted(shards)


@dataclass(frozen=True)
class _Place:
    path: Path
    slot: Slot
    checksum: str


@dataclass
class Shelf:
    """One upstream's entries of one kind. `damaged` counts the shards and entries that could not be trusted."""

    cache: Cache
    folder: Path
    pool: Pool
    damaged: int = field(default=0, init=False)
    _places: dict[str, list[_Place]] = field(default_factory=dict, init=False)
    _trusted: dict[str, Tensor] = field(default_factory=dict, init=False)
    _maps: dict[Path, Tensor] = field(default_factory=dict, init=False)
    _waiting: dict[str, Tensor] = field(default_factory=dict, init=False)
    _waiting_bytes: int = field(default=0, init=False)
    _flushed: float = field(default_factory=time.monotonic, init=False)

    def __post_init__(self) -> None:
        for path in sorted(self.folder.glob(f"{self.pool}-*.safetensors")):
            self._register(path, path)

    def get(self, entry: str) -> Tensor | None:
        """The entry, mapped into memory and read only when it is used; None where there is none that can be trusted."""
        places = self._places.get(entry, [])
        while places and entry not in self._trusted:
            found = self._read(entry, places.pop(0))
            if found is not None:
                self._trusted[entry] = found
        return self._trusted.get(entry)

    def put(self, entry: str, features: Tensor) -> None:
        """Keep an entry, (layers, width) or (layers, frames, width); on disk at the latest after the next `flush`."""
        self._waiting[entry] = features.to(DTYPES[self.pool]).contiguous()
        self._waiting_bytes += self._waiting[entry].nbytes
        if self._waiting_bytes > FLUSH_BYTES or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits. Raises InputError when the folder cannot be written to."""
        self._flushed = time.monotonic()
        if not self._waiting:
            return
        name = uuid4().hex
        path, unfinished = self.folder / f"{self.pool}-{name}.safetensors", self.folder / f".{name}.tmp"
        checksums = {entry: _checksum(entry, tensor) for entry, tensor in self._waiting.items()}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(self._waiting, unfinished, metadata=checksums)
            self._register(unfinished, path)  # before it has its name, because another run may prune it then
            self._maps[path] = _mapped(unfinished)
            self.cache.used.add(path)
            unfinished.rename(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise InputError(
                f"{path}: cannot be written ({error.strerror or error}); free space or give another cache folder"
            ) from error
        self._waiting, self._waiting_bytes = {}, 0

    def _register(self, file: Path, path: Path) -> None:
        """Take note of what `file`, which is or will be `path`, holds."""
        try:
            with file.open("rb") as stream:
                slots, checksums = safetensors_slots(stream)
        except FileNotFoundError:  # pruned by another run
            return
        except InputError:
            self.damaged += 1
            file.unlink(missing_ok=True)
            return
        for entry, slot in slots.items():
            self._places.setdefault(entry, []).append(_Place(path, slot, checksums.get(entry, "")))

    def _read(self, entry: str, place: _Place) -> Tensor | None:
        content = self._content(place.path)
        info = place.slot.info
        if content is None or len(content) < place.slot.offset + info.bytes:
            return None
        values = content[place.slot.offset :][: info.bytes].view(info.dtype).view(info.shape)
        if info.dtype != DTYPES[self.pool] or _checksum(entry, values) != place.checksum:
            self.damaged += 1
            return None
        return values

    def _content(self, path: Path) -> Tensor | None:
        """The shard's bytes; None where another run has pruned it. What is mapped stays readable after that."""
        if path not in self._maps:
            with suppress(OSError, RuntimeError):
                self._maps[path] = _mapped(path)
                self.cache.used.add(path)
                os.utime(path)
        return self._maps.get(path)


def _mapped(path: Path) -> Tensor:
    return torch.from_file(str(path), size=path.stat().st_size, dtype=torch.uint8)


def _checksum(entry: str, tensor: Tensor) -> str:
    """CRC-32 over the entry's key, its shape and its values."""
    start = zlib.crc32(f"{entry} {list(tensor.shape)}".encode())
    return f"{zlib.crc32(tensor.view(torch.uint8).numpy().data, start):08x}"
