"""From a model's name to its files: a local folder, or a hub id `name[@revision]`."""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from huggingface_hub import HfApi, constants, hf_hub_url, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError: the HTTP library's own
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]

from crossfade.encoders.checkpoint import WEIGHTS, TensorInfo, open_checkpoint, read_headers
from crossfade.encoders.headers import damaged
from crossfade.encoders.pickle_checkpoint import is_archive
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
_BLOCK = 32 << 10  # bytes fetched at a time


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
    files = _snapshot(name, _SIDECARS + _SAFETENSORS)
    if not _has_weights(files.folder):
        files = _snapshot(name, _PICKLES)
    if not _has_weights(files.folder):
        raise _no_weights(name)
    return files


def locate_headers(name: str) -> ModelHeaders:
    """The small files of model `name`, and its tensors from the headers of its weight files, which are not fetched.

    Raises:
        InputError: as `locate`, and for a `pytorch_model.bin` in the format before torch 1.6, which has no header.
    """
    if folder := _local(name):
        return ModelHeaders(name, folder, None, open_checkpoint(folder).infos, 0)
    files = _snapshot(name, _SIDECARS)
    try:
        infos, fetched = open_checkpoint(files.folder).infos, 0
    except InputError:  # not in the cache, or not all of it
        infos, fetched = _remote_infos(files)
    return ModelHeaders(name, files.folder, files.revision, infos, fetched)


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


def _no_weights(name: str) -> InputError:
    return InputError(f"{name}: no weights on the hub; expected one of {', '.join(WEIGHTS)}")


def _snapshot(name: str, patterns: list[str]) -> ModelFiles:
    repository, _, revision = name.partition("@")
    with _naming_hub_errors(name):
        folder = Path(snapshot_download(repository, revision=revision or None, allow_patterns=patterns))
    return ModelFiles(name, folder, folder.name)  # the cache names a snapshot by its commit


def _remote_infos(files: ModelFiles) -> tuple[Mapping[str, TensorInfo], int]:
    repository = files.name.partition("@")[0]
    opened: list[_RangeFile] = []

    def open_file(name: str) -> BinaryIO:
        if name not in sizes:
            raise InputError(
                f"{files.name}/{name}: missing on the hub, though the index names it; choose another revision"
            )
        url = hf_hub_url(repository, name, revision=files.revision)
        opened.append(_RangeFile(files.name, name, url, sizes[name]))
        file = cast(BinaryIO, opened[-1])
        if name.endswith(".bin") and not is_archive(file):
            raise InputError(
                f"{files.name}/{name}: is in the format before torch 1.6, which has no header to read apart; download"
                " the model and pass its folder"
            )
        return file

    with _naming_hub_errors(files.name):
        siblings = HfApi().model_info(repository, revision=files.revision, files_metadata=True).siblings or []
        sizes = {sibling.rfilename: sibling.size or 0 for sibling in siblings}
    entry = next((name for name in WEIGHTS if name in sizes), None)
    if entry is None:
        raise _no_weights(files.name)
    slots, _ = read_headers(entry, open_file)
    return {name: slot.info for name, slot in slots.items()}, sum(file.fetched for file in opened)


class _RangeFile(io.RawIOBase):
    """A file on the hub, read by HTTP ranges; `fetched` counts the bytes received."""

    def __init__(self, model: str, name: str, url: str, size: int) -> None:
        self.name = f"{model}/{name}"
        self.fetched = 0
        self._model = model
        self._url = url
        self._size = size
        self._position = 0
        self._blocks: dict[int, bytes] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"seek to {start + offset}")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        stop = min(self._position + len(buffer), self._size)
        done = 0
        while self._position < stop:
            block, skipped = divmod(self._position, _BLOCK)
            if block not in self._blocks:
                self._fetch(block, -(-stop // _BLOCK))
            piece = self._blocks[block][skipped : skipped + stop - self._position]
            buffer[done : done + len(piece)] = piece
            done += len(piece)
            self._position += len(piece)
        return done

    def _fetch(self, first: int, end: int) -> None:
        """Fetch blocks `first` up to `end`, or up to one that is there, by one request."""
        last = next((block for block in range(first, end) if block in self._blocks), end)
        begin, stop = first * _BLOCK, min(last * _BLOCK, self._size)
        headers = {**build_hf_headers(), "Range": f"bytes={begin}-{stop - 1}", "Accept-Encoding": "identity"}
        with _naming_hub_errors(self._model):
            response = get_session().get(self._url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
            hf_raise_for_status(response)
        content = response.content
        self.fetched += len(content)
        if response.status_code == 200:  # a server that ignores ranges sends everything
            content = content[begin:stop]
        if len(content) != stop - begin:
            raise damaged(self.name, f"expected {stop - begin} bytes from the hub, received {len(content)}")
        for block in range(first, last):
            self._blocks[block] = content[(block - first) * _BLOCK : (block - first + 1) * _BLOCK]


_OFFLINE = "cannot be reached (no connection, or HF_HUB_OFFLINE is set); connect, or pass a folder"


@contextmanager
def _naming_hub_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (HTTPError, HFValidationError, EntryNotFoundError, OSError) as error:
        raise InputError(f"{name}: {_reason(name, error)}") from error


def _reason(name: str, error: Exception) -> str:
    """What happened and how to mend it, for one line."""
    repository, _, revision = name.partition("@")
    match error:
        case GatedRepoError():
            return f"gated; ask for access at {constants.ENDPOINT}/{repository}, then run 'hf auth login'"
        case RepositoryNotFoundError():
            return "no folder of that name here and no model on the hub; check it, or 'hf auth login' if it is private"
        case RevisionNotFoundError():
            return f"no revision '{revision or 'main'}' on the hub; expected a branch, tag or commit of {repository}"
        case HFValidationError():
            return "neither a folder here nor a valid hub id; expected owner/name[@revision]"
        case LocalEntryNotFoundError() if isinstance(error.__cause__, HfHubHTTPError):
            return _reason(name, error.__cause__)
        case LocalEntryNotFoundError() | OfflineModeIsEnabled() | ConnectionError():
            return f"no folder of that name here, not whole in the cache, and the hub {_OFFLINE}"
        case HfHubHTTPError():
            return f"the hub answered: {_first_line(error)}; try again later, or pass a folder"
        case OSError():
            return f"cannot be fetched ({_first_line(error)}); mend that, or pass a folder"
        case _:
            return f"the hub {_OFFLINE} ({_first_line(error)})"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
