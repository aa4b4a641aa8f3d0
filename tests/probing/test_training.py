"""Heads in training: what of it progress tells, the optimiser against torch's, batches and paces."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import get_linear_schedule_with_warmup

from crossfade.probing import training as training_module
from crossfade.probing.metrics import METRICS
from crossfade.probing.training import Adam, State, Training, clip_gradients, fit, shuffled
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


# Adam ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 40, 1 << 18])
def test_adam_is_torchs_with_a_rate_for_each_head(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_module, "_BLOCK", block)
    generator, rates = torch.Generator().manual_seed(0), torch.tensor([1e-4, 1e-2, 1.0])
    ours = [torch.randn(3, *shape, generator=generator) for shape in ((4, 5), (2,))]
    theirs = [[nn.Parameter(value[head].clone()) for value in ours] for head in range(3)]
    peers = [torch.optim.Adam(own, lr=float(rate)) for own, rate in zip(theirs, rates, strict=True)]
    adam = Adam(ours, 3)
    for step in range(30):
        gradients = [torch.randn(value.shape, generator=generator) * 0.1**step for value in ours]
        adam.step(gradients, rates)
        for head, peer in enumerate(peers):
            for parameter, gradient in zip(theirs[head], gradients, strict=True):
                parameter.grad = gradient[head].clone()
            peer.step()
    for head, own in enumerate(theirs):
        for value, parameter in zip(ours, own, strict=True):
            torch.testing.assert_close(value[head], parameter.detach(), atol=1e-6, rtol=1e-6)


def test_adam_follows_the_heads_that_are_kept() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 4, generator=generator)
    gradients = torch.randn(6, 3, 4, generator=generator)
    rates = torch.tensor([1e-3, 1e-2, 1e-1])
    whole, parted = values.clone(), values.clone()
    peer, adam = Adam([whole], 3), Adam([parted], 3)
    for step, gradient in enumerate(gradients):
        peer.step([gradient], rates)
        if step == 3:
            parted = parted[[0, 2]]
            adam.follow([parted], [0, 2])
        kept = [0, 1, 2] if step < 3 else [0, 2]
        adam.step([gradient[kept]], rates[kept])
    assert torch.equal(parted, whole[[0, 2]])


@given(st.integers(0, 99), st.floats(0.01, 100))
def test_gradients_are_clipped_head_by_head(seed: int, norm: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    ours = [torch.randn(3, *shape, generator=generator) * torch.tensor([0.1, 1, 10]).view(3, *[1] * len(shape))
            for shape in ((4, 5), (2,))]  # fmt: skip
    theirs = [[nn.Parameter(torch.zeros_like(value[head])) for value in ours] for head in range(3)]
    for head, own in enumerate(theirs):
        for parameter, value in zip(own, ours, strict=True):
            parameter.grad = value[head].clone()
        nn.utils.clip_grad_norm_(own, norm)
    clip_gradients(ours, 3, norm)
    for head, own in enumerate(theirs):
        for parameter, value in zip(own, ours, strict=True):
            torch.testing.assert_close(parameter.grad, value[head])


# Batches and paces --------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.integers(1, 20), st.integers(1, 30))
def test_every_epoch_hears_every_clip_once(count: int, size: int) -> None:
    items = torch.arange(100, 100 + count)
    batches = shuffled(items, size, torch.Generator().manual_seed(0))
    heard = torch.cat([next(batches) for _ in range(3 * count)])
    assert len(heard) == 3 * count * min(size, count)
    for epoch in torch.split(heard, count):
        assert sorted(epoch.tolist()) == items.tolist()[: len(epoch)] or len(epoch) < count


def test_warm_up_is_transformers() -> None:
    training = Training(steps=12, warmup=4)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = get_linear_schedule_with_warmup(optimiser, 4, 12)
    for step in range(12):
        assert training.pace(step) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert {Training(steps=5).pace(step) for step in range(5)} == {1.0}
