"""Several pieces of work at a time, each on one thread of torch.

Threads that share one small operation mostly wait for memory and for each other, the more so when a core is taken.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

AT_MOST = 4
"""Pieces at a time: each takes memory, and memory is what more of them would wait for."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`work(item)` for every item, in order; as many at a time as torch has threads, `AT_MOST` at most.

    Results are made no further ahead than that. What `work` raises is raised here.
    """
    threads = torch.get_num_threads()
    workers = min(threads, AT_MOST)
    coming: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, "crossfade-work")
    torch.set_num_threads(1)
    try:
        for item in items:
            coming.append(pool.submit(work, item))
            if len(coming) > workers:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
