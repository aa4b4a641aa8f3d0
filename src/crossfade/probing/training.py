"""Training many heads at once: own Adam with a rate for each head, the best seen on validation data kept in memory.

Heads that differ in their learning rate alone hear the same batches, so they are one model with a leading axis `heads`.
What can be said of s3prl's runner is followed: gradients clipped to norm 1, best validation checkpoint, a schedule that
warms up and then falls to zero in a line.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from itertools import islice
from threading import Event, Lock
from typing import Protocol

import torch
from torch import Tensor

from crossfade.errors import InputError
from crossfade.parallel import side_by_side
from crossfade.probing.metrics import Metric
from crossfade.probing.results import SweepPoint
from crossfade.progress import SILENT, Progress

RATES = tuple(10 ** (-5 + 0.4 * step) for step in range(11))
"""Eleven learning rates from 1e-5 to 1e-1."""

TOGETHER = 6
"""Heads in one batched model at most; further ones are trained beside it. Fixed, so that no number depends on cores."""

_BETAS, _EPSILON = (0.9, 0.999), 1e-8
_BLOCK = 1 << 18  # weights that Adam works on at a time: they and what belongs to them stay in the processor's cache

State = dict[str, Tensor]


@dataclass(frozen=True)
class Training:
    """How heads are trained.

    rates: learning rates, each trained by itself, the best on validation data wins; seeds: one head is kept for each.
    steps: updates; each hears `accumulate` batches of `batch` clips. checks: how often validation data is looked at,
    evenly, the last time after the last step. warmup: updates in which the rate grows from 0 in a line, after which it
    falls to 0 in a line until the last (transformers' linear schedule); 0 keeps it constant. mixup: alpha of the Beta
    distribution that mixes pairs of clips, 0 for none. clip: largest norm of a head's gradient, None for no limit.
    balanced: draw clips so that every class is heard as often, as s3prl does for keyword spotting.

    Raises InputError for values out of range.
    """

    rates: tuple[float, ...] = RATES
    steps: int = 1000
    batch: int = 32
    seeds: tuple[int, ...] = (0,)
    checks: int = 10
    warmup: int = 0
    mixup: float = 0.0
    accumulate: int = 1
    clip: float | None = 1.0
    balanced: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "checks", "accumulate"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}: expected at least 1")
        if not self.rates or not all(0 < rate < math.inf for rate in self.rates):
            raise InputError(f"rates = {self.rates}: expected at least one learning rate, each above 0")
        if not self.seeds:
            raise InputError("seeds: expected at least one")
        if not 0 <= self.warmup < self.steps:
            raise InputError(f"warmup = {self.warmup}: expected 0 or more, and less than the {self.steps} steps")
        if not 0 <= self.mixup < math.inf:
            raise InputError(f"mixup = {self.mixup}: expected 0 (none) or more")

    def check(self, valid: int) -> None:
        """InputError where there is a rate to choose and no validation clip (`valid` of them) to choose by."""
        if not valid and len(self.rates) > 1:
            raise InputError(f"{len(self.rates)} learning rates and no validation clips to choose by; give one rate")

    def looks(self) -> set[int]:
        """Numbers of updates after which validation data is looked at."""
        return {math.ceil(self.steps * (check + 1) / self.checks) for check in range(self.checks)}

    def pace(self, step: int) -> float:
        """What the rates are multiplied by in update `step`, counted from 0."""
        if not self.warmup:
            return 1.0
        if step < self.warmup:
            return step / self.warmup
        return (self.steps - step) / (self.steps - self.warmup)


def sweep(looks: Sequence[SweepPoint], metric: Metric) -> list[SweepPoint]:
    """The learning-rate sweep: the best look of every seed and rate, the earlier where two are equal."""
    best: dict[tuple[int, float | None], SweepPoint] = {}
    for look in looks:
        known = best.setdefault((look.seed, look.rate), look)
        if metric.rank(look.valid) > metric.rank(known.valid):
            best[look.seed, look.rate] = look
    return list(best.values())


class Learner(Protocol):
    """Heads in training that share their batches."""

    @property
    def parameters(self) -> Sequence[Tensor]:
        """Leaves whose values go heads first: (heads, ...), or of any shape for one head alone."""
        ...

    @property
    def validated(self) -> bool:
        """Whether there is validation data."""
        ...

    def backward(self) -> None:
        """Add every head's gradient on the next batch to its parameters."""

    def judge(self) -> list[float]:
        """Metric of each head on validation data, any number where there is none; NaN for a head that diverged."""
        ...

    def state(self, head: int) -> State:
        """A copy of one head's weights."""
        ...

    def keep(self, heads: Sequence[int]) -> None:
        """Go on with these heads alone, of which there is one at least and one fewer than there were at most."""


@dataclass(frozen=True)
class Best:
    """The best head of one seed: its weights, its rate, what it reached after which update, and every look on the way.

    `value` is the metric's rank; without a head (all diverged) it is minus infinity.
    """

    state: State
    rate: float
    value: float
    step: int
    looks: tuple[SweepPoint, ...]


class Adam:
    """Adam (1412.6980) as torch.optim.Adam does it, with a learning rate for each head."""

    def __init__(self, parameters: Sequence[Tensor], heads: int) -> None:
        self.steps = 0
        self.moments = [(torch.zeros_like(own), torch.zeros_like(own)) for own in _rows(parameters, heads)]
        self.follow(parameters, range(heads))

    def follow(self, parameters: Sequence[Tensor], kept: Sequence[int]) -> None:
        """Go on with other leaves: those of the `kept` heads."""
        self.heads = len(kept)
        self.moments = [(mean[[*kept]], square[[*kept]]) for mean, square in self.moments]
        self.blocks: list[tuple[int, slice, Tensor, Tensor, Tensor]] = []
        for number, (own, (mean, square)) in enumerate(zip(_rows(parameters, self.heads), self.moments, strict=True)):
            many = max(1, _BLOCK // own.shape[1])
            for part in (slice(start, start + many) for start in range(0, self.heads, many)):
                self.blocks.append((number, part, own[part], mean[part], square[part]))

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rates: Tensor) -> None:
        """Update the parameters by gradients of their shapes; rates (heads,)."""
        self.steps += 1
        first, second = _BETAS
        pace = (rates / (1 - first**self.steps))[:, None]
        scale = math.sqrt(1 - second**self.steps)
        rows = _rows(gradients, self.heads)
        for number, part, value, mean, square in self.blocks:
            slope = rows[number][part]
            mean.lerp_(slope, 1 - first)
            square.mul_(second).addcmul_(slope, slope, value=1 - second)
            spread = square.sqrt().div_(scale).add_(_EPSILON)
            value.addcdiv_(mean * pace[part], spread, value=-1)


def _rows(tensors: Sequence[Tensor], heads: int) -> list[Tensor]:
    return [tensor.detach().view(heads, -1) for tensor in tensors]


@torch.no_grad()
def clip_gradients(gradients: Sequence[Tensor], heads: int, norm: float) -> None:
    """Scale each head's gradient to `norm` where it is longer, as torch.nn.utils.clip_grad_norm_."""
    rows = [gradient.view(heads, -1) for gradient in gradients]
    lengths = torch.stack([torch.linalg.vector_norm(row, dim=1) for row in rows]).square().sum(0, keepdim=True).sqrt()
    scale = (norm / (lengths.T + 1e-6)).clamp(max=1)
    if not (scale == 1).all():
        for row in rows:
            row *= scale


def shuffled(items: Tensor, size: int, generator: torch.Generator, weights: Tensor | None = None) -> Iterator[Tensor]:
    """Batches (size,) of `items` without end: epoch after epoch in random order, a batch may lie in two of them.

    No batch is larger than the items are many. With weights (items,), items are drawn by them instead.
    """
    size = min(size, len(items))
    left = items[:0]
    while True:
        while len(left) < size:
            order = (
                torch.randperm(len(items), generator=generator)
                if weights is None
                else torch.multinomial(weights, len(items), replacement=True, generator=generator)
            )
            left = torch.cat([left, items[order]])
        yield left[:size]
        left = left[size:]


def train(
    learner: Learner,
    seed: int,
    rates: Sequence[float],
    training: Training,
    metric: Metric,
    passed: Callable[[int], None],
    stop: Event,
) -> Best:
    """Train one head for every rate, unless `stop` is set; `passed` is told of updates as they are done or left out.

    Without validation data the head of the first rate is taken after the last step. Ties go to the earlier look, then
    to the earlier rate. A head that diverged is trained no further.
    """
    optimiser, live = Adam(learner.parameters, len(rates)), [*rates]
    numbers = training.looks() if learner.validated else {training.steps}
    speeds = torch.tensor(live, device=learner.parameters[0].device)
    best, looks = Best({}, math.nan, -math.inf, 0, ()), list[SweepPoint]()
    for step in range(training.steps):
        if stop.is_set():
            raise CancelledError
        learner.backward()
        gradients = [parameter.grad for parameter in learner.parameters if parameter.grad is not None]
        if training.clip is not None:
            clip_gradients(gradients, len(live), training.clip)
        optimiser.step(gradients, speeds * training.pace(step))
        for parameter in learner.parameters:
            parameter.grad = None
        passed(1)
        if step + 1 not in numbers:
            continue
        values = learner.judge()
        for head, (rate, value) in enumerate(zip(live, values, strict=True)):
            known = value if learner.validated else None
            looks.append(SweepPoint(seed=seed, rate=rate, step=step + 1, valid=known))
            if metric.rank(value) > best.value:
                best = Best(learner.state(head), rate, metric.rank(value), step + 1, ())
        kept = [head for head, value in enumerate(values) if math.isfinite(value)]
        if not kept:
            passed(training.steps - step - 1)
            break
        if len(kept) < len(live):
            learner.keep(kept)
            optimiser.follow(learner.parameters, kept)
            live, speeds = [live[head] for head in kept], speeds[kept]
    return replace(best, looks=tuple(looks))


def fit(
    start: Callable[[int, int], Learner],
    training: Training,
    metric: Metric,
    *,
    together: int = TOGETHER,
    progress: Progress = SILENT,
) -> list[Best]:
    """The best head of every seed. `start(seed, heads)` gives fresh heads, all alike; the same for the same seed.

    Learning rates are spread over batched models of at most `together` heads, which are trained side by side; progress
    counts the updates of all of them, from whichever thread has done one, one at a time.
    Raises InputError where every head of a seed diverged.
    """
    count = math.ceil(len(training.rates) / together)
    stop = Event()
    work = [(seed, training.rates[part::count]) for seed in training.seeds for part in range(count)]
    total, lock = len(work) * training.steps, Lock()
    watched = progress.track(range(total), total=total, description="training heads")

    def passed(updates: int) -> None:
        with lock:
            deque(islice(watched, updates), maxlen=0)

    def run(piece: tuple[int, tuple[float, ...]]) -> Best:
        seed, rates = piece
        return train(start(seed, len(rates)), seed, rates, training, metric, passed, stop)

    passed(1)  # one is under way: it counts once the next is asked for
    trained = list(side_by_side(run, work, stop=stop))
    return [_best(trained[first : first + count], training.rates) for first in range(0, len(work), count)]


def _best(found: Sequence[Best], rates: Sequence[float]) -> Best:
    """The best of one seed's, with the looks of all of them."""
    looks = sorted(
        (look for one in found for look in one.looks), key=lambda look: (look.step, rates.index(look.rate or 0.0))
    )
    alive = [one for one in found if one.step]
    if not alive:
        tried = ", ".join(f"{rate:g}" for rate in rates)
        raise InputError(f"every head diverged (learning rates {tried}): give lower rates, or features of usual size")
    winner = max(alive, key=lambda one: (one.value, -one.step, -rates.index(one.rate)))
    return replace(winner, looks=tuple(looks))
