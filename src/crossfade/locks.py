"""A folder that one process at a time may write in, and that goes where nothing came of it."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossfade.errors import InputError


@contextmanager
def held(folder: Path, busy: str) -> Iterator[None]:
    """`folder`, made where there is none, is ours meanwhile; however this process ends, the lock goes with it.

    Raises InputError, which says what is `busy` there, where another process holds it.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if folder.exists() and os.path.samestat(os.fstat(lock), folder.stat()):
                break  # else its last owner removed it before we had it
        except BlockingIOError:
            os.close(lock)
            raise InputError(f"{folder}: {busy}; wait for it or stop it") from None
        os.close(lock)
    try:
        yield
    finally:
        os.close(lock)


@contextmanager
def leaving_nothing(folder: Path) -> Iterator[None]:
    """What is refused inside leaves no `folder` in which nothing was before."""
    there = folder.exists() and any(folder.iterdir())
    try:
        yield
    except InputError:
        if not there:
            shutil.rmtree(folder, ignore_errors=True)
        raise
