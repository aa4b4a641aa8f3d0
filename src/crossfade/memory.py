"""How much memory was taken, and how the C library keeps what was freed."""

import ctypes
import resource
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # names of glibc's mallopt(3)
KEPT_BYTES, LARGEST_BYTES = 256 << 20, 64 << 20


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
