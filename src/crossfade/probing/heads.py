"""Heads over whole clips, trained on cached means: SUPERB's linear head, exactly, and MARBLE's MLP.

SUPERB's utterance head is a softmax-weighted sum of layers, a linear projection of every frame, the mean over time and
a linear layer. The mean commutes with all that is linear before it, so the head on the mean of each layer is the head
on its frames: same loss, same gradient, same weights to rounding.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from crossfade.errors import InputError
from crossfade.probing.kinds import Choices, ClipTargets
from crossfade.probing.metrics import METRICS, Metric
from crossfade.probing.results import SweepPoint
from crossfade.probing.schema import DEFAULTS, Fold, Head
from crossfade.probing.training import Best, State, Training, fit, shuffled, sweep
from crossfade.progress import SILENT, Progress

_SCORED = 256
"""Clips that are scored at a time."""


@dataclass(frozen=True)
class HeadSettings:
    """What a head is made of.

    kind: `linear` is layers -> projection -> output (`frame`: the same for every frame), `mlp` is layers -> hidden ->
    ReLU -> output, `blstm` is layers -> projection -> LSTMs in both directions -> output. layers: a learned weighted
    sum, the last alone, or one by its number. projection: width, None for none. hidden: width of an MLP's hidden layer
    or of one direction of an LSTM. depth: LSTMs on top of each other. dropout: share of what lies before the output
    (LSTM: after each layer) that is left out in training.
    """

    kind: Head = "linear"
    layers: Literal["weighted", "last"] | int = "weighted"
    projection: int | None = 256
    hidden: int = 512
    depth: int = 2
    dropout: float = 0.0

    @property
    def between(self) -> int | None:
        """Width of what a linear head or an MLP has between features and output."""
        return self.hidden if self.kind == "mlp" else self.projection


def chosen_layers(features: Tensor, layers: Literal["weighted", "last"] | int, axis: int) -> Tensor:
    """The layers of `features` that a head sees, a view. Raises InputError for a layer that there is not."""
    seen = layers_seen(features.shape[axis], layers)
    return features.narrow(axis, seen.start, len(seen))


def layers_seen(count: int, layers: Literal["weighted", "last"] | int) -> range:
    """Numbers of the layers, of `count`, that a head sees. Raises InputError for a layer that there is not."""
    if layers == "weighted":
        return range(count)
    number = count - 1 if layers == "last" else layers
    if not 0 <= number < count:
        raise InputError(f"layers = {layers}: expected 'weighted', 'last' or a number from 0 to {count - 1}")
    return range(number, number + 1)


def fresh(settings: HeadSettings, layers: int, width: int, outputs: int, generator: torch.Generator) -> State:
    """A linear head's or MLP's weights as torch.nn.Linear draws them; all layers weigh the same."""
    sizes = {"inner": (width, settings.between), "output": (settings.between or width, outputs)}
    state = {"layers": torch.zeros(layers)}
    for name, (into, out) in sizes.items():
        if out is not None:
            bound = 1 / math.sqrt(into)
            state[f"{name}.weight"] = torch.empty(into, out).uniform_(-bound, bound, generator=generator)
            state[f"{name}.bias"] = torch.empty(1, out).uniform_(-bound, bound, generator=generator)
    return state


def embed(state: State, settings: HeadSettings, features: Tensor) -> Tensor:
    """What lies before the output (heads, rows, width), given features (layers, rows, width of the encoder)."""
    weights = state["layers"].softmax(-1)
    mixed = (weights @ features.flatten(1)).view(-1, *features.shape[1:])
    if "inner.weight" not in state:
        return mixed
    inner = torch.baddbmm(state["inner.bias"], mixed, state["inner.weight"])
    return torch.relu(inner) if settings.kind == "mlp" else inner


def composed(state: State) -> State:
    """A linear head without what lies between: what goes in and what comes out is the same, by fewer products."""
    inner, last = state["inner.weight"], state["output.weight"]
    bias = torch.baddbmm(state["output.bias"], state["inner.bias"], last)
    return {"layers": state["layers"], "output.weight": inner @ last, "output.bias": bias}


def output(state: State, between: Tensor) -> Tensor:
    """Scores (heads, rows, outputs) of what `embed` gives."""
    return torch.baddbmm(state["output.bias"], between, state["output.weight"])


def dropped(rows: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """`rows` (..., rows, width) with a share of all columns at zero and the others larger; the same for all heads."""
    if not share:
        return rows
    kept = torch.empty(rows.shape[-2:], device=rows.device).bernoulli_(1 - share, generator=generator)
    return rows * (kept / (1 - share))


def kept(state: State, heads: Sequence[int]) -> State:
    """Some of the heads, as leaves of their own."""
    return {name: value.detach()[[*heads]].requires_grad_() for name, value in state.items()}


def stacked(state: State, heads: int, device: torch.device | str) -> State:
    """The same head `heads` times, as leaves that gradients are taken of."""
    return {
        name: value.expand(heads, *value.shape).to(device).clone().requires_grad_() for name, value in state.items()
    }


@dataclass(frozen=True)
class Trained:
    """The best head of every seed: `state` has a leading axis (seeds,), `rates` are the learning rates that won.

    curve: every look at validation data on the way. sweep: the best look of every seed and rate.
    """

    settings: HeadSettings
    state: State
    rates: tuple[float, ...]
    curve: tuple[SweepPoint, ...]
    sweep: tuple[SweepPoint, ...]

    @classmethod
    def of(cls, settings: HeadSettings, best: Sequence[Best], metric: Metric) -> Self:
        """From the best of every seed, judged by `metric`."""
        curve = tuple(look for one in best for look in one.looks)
        chosen = [(one.looks[0].seed, one.rate) for one in best]
        tried = [look.model_copy(update={"chosen": (look.seed, look.rate) in chosen}) for look in sweep(curve, metric)]
        state = {name: torch.stack([one.state[name] for one in best]) for name in best[0].state}
        return cls(settings, state, tuple(one.rate for one in best), curve, tuple(tried))

    @property
    def layer_weights(self) -> Tensor:
        """What every layer weighs, (seeds, layers)."""
        return self.state["layers"].softmax(-1)


class Fitted(Trained):
    """Heads over clips."""

    @torch.inference_mode()
    def scores(self, features: Tensor) -> Tensor:
        """Scores (seeds, clips, outputs) of features (clips, layers, width)."""
        return torch.cat([output(self.state, rows) for rows in self._embedded(features)], dim=1)

    @torch.inference_mode()
    def embeddings(self, features: Tensor) -> Tensor:
        """What lies before the output, (seeds, clips, width): by this, clips are compared with each other."""
        return torch.cat([*self._embedded(features)], dim=1)

    def _embedded(self, features: Tensor) -> Iterator[Tensor]:
        return embedded(self.state, self.settings, chosen_layers(features, self.settings.layers, 1))


def embedded(state: State, settings: HeadSettings, features: Tensor) -> Iterator[Tensor]:
    """`embed` for features (clips, layers, width), some clips at a time."""
    for clips in torch.split(features, _SCORED):
        yield embed(state, settings, clips.transpose(0, 1).to(state["layers"].device))


class _Validation:
    """What heads are judged by: validation clips' features (clips, layers, width) and labels."""

    def __init__(self, features: Tensor, targets: ClipTargets, clips: Tensor, metric: Metric) -> None:
        self.features, self.targets, self.metric = features[clips], targets, metric
        self.labels: Sequence[Any] = [targets.labels[clip] for clip in clips.tolist()]
        if targets.kind == "verification":
            self.pairs = torch.triu_indices(len(clips), len(clips), 1)
            self.labels = [self.labels[a] == self.labels[b] for a, b in self.pairs.T.tolist()]
            if len(clips) and len({*self.labels}) < 2:
                raise InputError(
                    "validation: expected two clips of one speaker and two of different ones, there are none"
                )

    def values(self, state: State, settings: HeadSettings) -> list[float]:
        """The metric of every head, NaN where scores are not finite."""
        found = []
        between = torch.cat([*embedded(state, settings, self.features)], dim=1)
        for head in between if self.targets.kind == "verification" else output(state, between):
            found.append(self._value(head.cpu()) if head.isfinite().all() else math.nan)
        return found

    def _value(self, head: Tensor) -> float:
        """The metric of one head's scores (clips, outputs), or embeddings (clips, width) where pairs are compared."""
        if self.targets.kind == "verification":
            unit = normalize(head.double(), dim=-1)
            first, second = self.pairs
            return self.metric.value(self.labels, (unit @ unit.T)[first, second])
        return self.metric.value(self.labels, self.targets.decode(head))


class _ClipLearner:
    """Heads on features (clips, layers, width) that differ in their learning rates alone."""

    def __init__(
        self,
        features: Tensor,
        targets: ClipTargets,
        train: Tensor,
        settings: HeadSettings,
        training: Training,
        validation: _Validation,
        state: State,
        generator: torch.Generator,
    ) -> None:
        self.features, self.targets, self.settings, self.training = features, targets, settings, training
        self.validation, self.validated = validation, len(validation.features) > 0
        self.heads, self.parameters = state, [*state.values()]
        weights = _class_weights(targets, train) if training.balanced else None
        self.generator = generator
        self.batches = shuffled(train, training.batch * training.accumulate, generator, weights)
        self.mixing = np.random.default_rng(generator.initial_seed())
        self.dropout = torch.Generator(self.parameters[0].device).manual_seed(generator.initial_seed())

    def backward(self) -> None:
        """Batches that are accumulated are heard as one: the mean of their means is the mean of all."""
        clips, device = next(self.batches), self.parameters[0].device
        features, wanted = self.features.transpose(0, 1)[:, clips].to(device), self.targets.wanted[clips].to(device)
        if alpha := self.training.mixup:
            share = torch.from_numpy(self.mixing.beta(alpha, alpha, len(clips))).float().to(device)
            other = torch.randperm(len(clips), generator=self.generator)
            features = torch.lerp(features[:, other], features, share[:, None])
        between = embed(self.heads, self.settings, features)
        scores = output(self.heads, dropped(between, self.settings.dropout, self.dropout))
        loss = self.targets.loss(scores, wanted)
        if alpha:
            loss = torch.lerp(self.targets.loss(scores, wanted[other]), loss, share)
        torch.autograd.backward(loss.mean(1).sum())

    @torch.no_grad()
    def judge(self) -> list[float]:
        if self.validated:
            return self.validation.values(self.heads, self.settings)
        return [0.0 if all(part[head].isfinite().all() for part in self.parameters) else math.nan
                for head in range(len(self.parameters[0]))]  # fmt: skip

    def state(self, head: int) -> State:
        return {name: value[head].detach().clone() for name, value in self.heads.items()}

    def keep(self, heads: Sequence[int]) -> None:
        self.heads = kept(self.heads, heads)
        self.parameters = [*self.heads.values()]


def _class_weights(targets: ClipTargets, train: Tensor) -> Tensor:
    """How often each training clip is drawn so that classes are drawn equally often."""
    if not isinstance(targets, Choices) or targets.several:
        raise InputError("balanced: only a task of one class for each clip can be balanced")
    classes = targets.wanted[train, 0]
    return 1 / classes.bincount()[classes].double()


def fit_heads(
    features: Tensor,
    targets: ClipTargets,
    fold: Fold,
    settings: HeadSettings,
    training: Training,
    *,
    metric: Metric | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> Fitted:
    """Train heads on features (clips, layers, width) float32, each layer's mean over time, and keep the best.

    Learning rates and early stops are chosen by `metric` (the kind's own by default) on the fold's validation clips;
    for verification by the equal error rate over all pairs of them. Without validation clips there may be one rate, and
    the last step is taken. The same seed gives the same head, whatever the other rates and seeds are, to rounding.

    Raises InputError: features that are not finite, a rate to choose without validation clips, a BLSTM (which needs
    frames), a layer that there is not, and where every head diverged.
    """
    if settings.kind == "blstm":
        raise InputError("head blstm: expected linear or mlp for a task over whole clips; a BLSTM needs frames")
    training.check(len(fold.valid))
    finite = features.flatten(1).sum(1).isfinite()  # a sum is finite only if every term is: one pass, no mask
    if not finite.all():
        bad = (~finite).nonzero()[:, 0].tolist()
        raise InputError(
            f"features of {len(bad)} of {len(finite)} clips hold NaN or Inf, those of clip {bad[0]} first; "
            "check the encoder's weights and the sound"
        )
    metric = metric or METRICS[DEFAULTS[targets.kind][0]]
    features = chosen_layers(features, settings.layers, 1)
    validation = _Validation(features, targets, fold.valid, metric)

    def start(seed: int, heads: int) -> _ClipLearner:
        generator = torch.Generator().manual_seed(seed)
        one = fresh(settings, features.shape[1], features.shape[2], targets.outputs, generator)
        state = stacked(one, heads, device)
        return _ClipLearner(features, targets, fold.train, settings, training, validation, state, generator)

    return Fitted.of(settings, fit(start, training, metric, progress=progress), metric)
