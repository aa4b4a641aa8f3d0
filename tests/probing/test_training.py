"""Heads in training, several pieces side by side: what of it progress tells."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest
import torch
from torch import Tensor

from crossfade.probing.metrics import METRICS
from crossfade.probing.training import State, Training, fit
from crossfade.progress import T, one


class Counted:
    """A progress that remembers what it was told; a generator, so it may not be told by two threads at once."""

    def __init__(self) -> None:
        self.totals: list[float | None] = []
        self.done = 0.0

    def track(
        self,
        iterable: Iterable[T],
        *,
        total: float | None = None,
        description: str = "",
        count: Callable[[T], float] = one,
    ) -> Iterator[T]:
        self.totals.append(total)
        for item in iterable:
            yield item
            self.done += count(item)


class Still:
    """Heads that never change, and diverge where `value` is none; they see how far progress has come."""

    validated = True

    def __init__(self, heads: int, value: float, watched: Counted) -> None:
        self.parameters: Sequence[Tensor] = [torch.zeros(heads, 1, requires_grad=True)]
        self.heads, self.value, self.watched = heads, value, watched
        self.seen: list[float] = []

    def backward(self) -> None:
        self.parameters[0].grad = torch.zeros(self.heads, 1)
        self.seen.append(self.watched.done)

    def judge(self) -> list[float]:
        return [self.value] * self.heads

    def state(self, head: int) -> State:
        return {"weight": self.parameters[0][head].detach().clone()}

    def keep(self, heads: Sequence[int]) -> None:
        raise AssertionError


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize("together", [1, 6])
def test_progress_counts_the_updates_of_all_pieces(together: int) -> None:
    watched, training = Counted(), Training(steps=200, checks=2)
    pieces: list[Still] = []

    def start(seed: int, heads: int) -> Still:
        pieces.append(Still(heads, 50.0, watched))
        return pieces[-1]

    fit(start, training, METRICS["accuracy"], together=together, progress=watched)
    assert len(pieces) == math.ceil(11 / together)
    assert watched.totals == [len(pieces) * 200]
    assert watched.done == len(pieces) * 200
    for piece in pieces:
        assert piece.seen == sorted(piece.seen)
        assert piece.seen[-1] >= piece.seen[0] + 199


def test_updates_that_a_diverged_piece_leaves_out_are_counted() -> None:
    watched, training = Counted(), Training(rates=(1e-3, 1e-2), steps=10, checks=5)
    values = iter([math.nan, 50.0])
    fit(lambda _, heads: Still(heads, next(values), watched), training, METRICS["accuracy"], together=1,
        progress=watched)  # fmt: skip
    assert watched.done == 20
