"""What the hub holds: a model's files fetched whole, or only the headers of its weights."""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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

from crossfade.encoders.checkpoint import WEIGHTS, TensorInfo, read_headers
from crossfade.encoders.headers import damaged
from crossfade.encoders.pickle_checkpoint import is_archive
from crossfade.errors import InputError

_BLOCK = 32 << 10  # bytes fetched at a time


def no_weights(name: str) -> InputError:
    """The error for a model without weights on the hub."""
    return InputError(f"{name}: no weights on the hub; expected one of {', '.join(WEIGHTS)}")


def fetch(name: str, patterns: list[str]) -> Path:
    """The snapshot of model `name[@revision]` in the cache, with the files that match `patterns`. Raises InputError."""
    repository, _, revision = name.partition("@")
    with _naming_hub_errors(name):
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=patterns))


def fetch_infos(name: str, revision: str | None) -> tuple[Mapping[str, TensorInfo], int]:
    """The tensors of model `name` from the headers of its weight files, and how many bytes that took.

    Raises:
        InputError: no weights, a damaged file, no hub, or a `pytorch_model.bin` in the format before torch 1.6.
    """
    repository = name.partition("@")[0]
    opened: list[_RangeFile] = []

    def open_file(file_name: str) -> BinaryIO:
        if file_name not in sizes:
            raise InputError(
                f"{name}/{file_name}: missing on the hub, though the index names it; choose another revision"
            )
        url = hf_hub_url(repository, file_name, revision=revision)
        opened.append(_RangeFile(name, file_name, url, sizes[file_name]))
        file = cast(BinaryIO, opened[-1])
        if file_name.endswith(".bin") and not is_archive(file):
            raise InputError(
                f"{name}/{file_name}: is in the format before torch 1.6, which has no header to read apart; download"
                " the model and pass its folder"
            )
        return file

    with _naming_hub_errors(name):
        siblings = HfApi().model_info(repository, revision=revision, files_metadata=True).siblings or []
        sizes = {sibling.rfilename: sibling.size or 0 for sibling in siblings}
    entry = next((file_name for file_name in WEIGHTS if file_name in sizes), None)
    if entry is None:
        raise no_weights(name)
    slots, _ = read_headers(entry, open_file)
    return {tensor: slot.info for tensor, slot in slots.items()}, sum(file.fetched for file in opened)


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
