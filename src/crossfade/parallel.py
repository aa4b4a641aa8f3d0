"""Several pieces of work at a time, each on one thread of torch.

Threads that share one small operation mostly wait for memory and for each other, the more so when a core is taken.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import TypeVar

import torch

AT_MOST = 4
"""Pieces at a time: each takes memory, and memory is what more of them would wait for."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, stop: Event | None = None
) -> Iterator[Result]:
    """`work(item)` for every item, in order, in `workers` threads; results are made no further ahead than that.

    What `work` raises is raised here. `stop` is set when nobody wants the rest, so that long work can end early.
    """
    coming: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, "crossfade-work")
    try:
        for item in items:
            coming.append(pool.submit(work, item))
            if len(coming) > workers:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        if stop is not None:
            stop.set()
        pool.shutdown(cancel_futures=True)


def side_by_side(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None, stop: Event | None = None
) -> Iterator[Result]:
    """As `ahead`, while torch runs every operation on one thread.

    As many pieces at a time as torch had threads, `AT_MOST` at most, unless `workers` says how many.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from ahead(work, items, workers or min(threads, AT_MOST), stop)
    finally:
        torch.set_num_threads(threads)
