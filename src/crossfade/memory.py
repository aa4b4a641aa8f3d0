"""How much memory was taken, how much is free, and how the C library keeps what was freed."""

import ctypes
import os
import resource
import sys
from pathlib import Path

from crossfade.errors import InputError

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # names of glibc's mallopt(3)
KEPT_BYTES, LARGEST_BYTES = 256 << 20, 64 << 20

MEMINFO = Path("/proc/meminfo")


def keep_freed_memory() -> None:
    """Use freed memory again, up to `KEPT_BYTES` of it, in blocks of up to `LARGEST_BYTES`.

    glibc gives a large tensor's memory back to the system at once, which then clears it, page by page, for the next
    tensor: half the page faults of a merge, which makes and frees a thousand of them. Other C libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST_BYTES)
        mallopt(TRIM_THRESHOLD, KEPT_BYTES)


def peak_memory() -> int:
    """The most bytes that this process has taken so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def free_memory() -> int:
    """Bytes that can still be had: on Linux with what its file cache would give back, elsewhere all there are."""
    if MEMINFO.is_file():
        lines = (line.split() for line in MEMINFO.read_text().splitlines())
        kilobytes = {words[0]: int(words[1]) for words in lines}
        if "MemAvailable:" in kilobytes:
            return 1024 * kilobytes["MemAvailable:"]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def require_memory(needed: int, what: str) -> None:
    """Raise InputError, which begins with `what`, where less than `needed` bytes are free."""
    free = free_memory()
    if needed > free:
        raise InputError(f"{what} {needed:,} bytes of memory, {free:,} are free; give fewer")
