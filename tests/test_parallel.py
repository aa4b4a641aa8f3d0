"""Work side by side: in order, with errors, and with torch's threads as they were."""

import threading
from collections.abc import Iterator

import pytest
import torch

from crossfade.parallel import ahead, side_by_side


def test_results_come_in_order_and_threads_are_restored() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        seen: set[int] = set()
        work = side_by_side(lambda item: (seen.add(torch.get_num_threads()), item * item)[1], range(50))
        assert list(work) == [item * item for item in range(50)]
        assert seen == {1}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_an_error_is_raised_here_and_the_rest_is_given_up() -> None:
    done: list[int] = []
    lock = threading.Lock()

    def work(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        with lock:
            done.append(item)
        return item

    with pytest.raises(ValueError, match="three"):
        list(side_by_side(work, range(1000)))
    assert len(done) < 20


def test_results_are_made_no_further_ahead_than_there_are_workers() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    for run in (ahead(str, items(), 3), side_by_side(str, items(), workers=3)):
        taken.clear()
        assert [next(run), next(run)] == ["0", "1"]
        assert len(taken) <= 5
        assert list(run) == [str(item) for item in range(2, 100)]
