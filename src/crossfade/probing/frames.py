"""Heads over frames: text by CTC, a name for every frame, beats; linear (SUPERB's phonemes) or BLSTM (SUPERB's ASR).

Clips of like length share a batch, as in s3prl. A batch is heard in portions that fit in memory; nothing of it depends
on the others, so the gradient is that of the whole.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.checkpoint import checkpoint

from crossfade.errors import InputError
from crossfade.probing.heads import (
    HeadSettings,
    Trained,
    chosen_layers,
    composed,
    dropped,
    embed,
    fresh,
    kept,
    output,
    stacked,
)
from crossfade.probing.kinds import FrameTargets
from crossfade.probing.metrics import METRICS, Metric
from crossfade.probing.schema import DEFAULTS, Fold
from crossfade.probing.training import TOGETHER, State, Training, fit
from crossfade.progress import SILENT, Progress

_PORTION = 1 << 23
"""Numbers that a portion of a batch takes in memory at most, unless one clip alone takes more: 32 MB, near the core.
LSTMs, which gain from clips side by side, take as much as `_ABREAST` portions."""
_ABREAST = 4

Clips = Sequence[Tensor]
"""Features (layers, frames, width) of several clips, of any length."""


class FrameFeatures(Protocol):
    """Where frames come from: `probing.features.Features`."""

    def frames(self, index: int, /) -> Tensor:
        """(layers, frames, width) of clip `index`."""
        ...


class Model(Protocol):
    """Heads in training: `parameters` are leaves with a leading axis (heads,), or those of one head."""

    @property
    def parameters(self) -> list[Tensor]: ...
    @property
    def heads(self) -> int: ...

    def scores(self, clips: Clips, generator: torch.Generator | None) -> list[Tensor]:
        """Scores (heads, frames, outputs) of every clip; with a generator, dropout is on."""
        ...

    def state(self, head: int) -> State: ...
    def keep(self, heads: Sequence[int]) -> None: ...


class Linear:
    """Linear heads or MLPs: frames of all clips in a row, nothing is padded."""

    def __init__(self, settings: HeadSettings, state: State) -> None:
        self.settings, self.weights = settings, state

    @property
    def parameters(self) -> list[Tensor]:
        return [*self.weights.values()]

    @property
    def heads(self) -> int:
        return len(self.weights["layers"])

    def scores(self, clips: Clips, generator: torch.Generator | None) -> list[Tensor]:
        rows = torch.cat([*clips], dim=1).to(self.weights["layers"])
        weights = self._shortest(rows.shape[1], whole=generator is None or not self.settings.dropout)
        between = embed(weights, self.settings, rows)
        if generator is not None:
            between = dropped(between, self.settings.dropout, generator)
        return [*output(weights, between).split_with_sizes([clip.shape[1] for clip in clips], dim=1)]

    def _shortest(self, rows: int, *, whole: bool) -> State:
        """The weights, or `composed` ones where that takes fewer products and the head is linear and `whole`."""
        if self.settings.kind == "mlp" or "inner.weight" not in self.weights or not whole:
            return self.weights
        _, width, inner = self.weights["inner.weight"].shape
        outputs = self.weights["output.weight"].shape[-1]
        plain, short = rows * inner * (width + outputs), width * outputs * (inner + rows)
        return composed(self.weights) if short < plain else self.weights

    def state(self, head: int) -> State:
        return {name: value[head].detach().clone() for name, value in self.weights.items()}

    def keep(self, heads: Sequence[int]) -> None:
        self.weights = kept(self.weights, heads)


class Blstm(nn.Module):
    """SUPERB's ASR head: layers -> projection -> LSTMs in both directions, dropout after each -> output."""

    def __init__(self, settings: HeadSettings, layers: int, width: int, outputs: int) -> None:
        super().__init__()
        inner = settings.projection or width
        self.dropout = settings.dropout
        self.layers = nn.Parameter(torch.zeros(layers))
        self.projection = nn.Linear(width, inner) if settings.projection else nn.Identity()
        sizes = [inner] + [2 * settings.hidden] * (settings.depth - 1)
        self.lstms = nn.ModuleList(
            nn.LSTM(size, settings.hidden, batch_first=True, bidirectional=True) for size in sizes
        )
        self.output = nn.Linear(2 * settings.hidden, outputs)

    def reset(self, generator: torch.Generator) -> None:
        """Weights as torch draws them for these layers, but from `generator`."""
        self.layers.data.zero_()
        for part in (self.projection, *self.lstms, self.output):
            for value in part.parameters():
                bound = 1 / math.sqrt(part.hidden_size if isinstance(part, nn.LSTM) else part.in_features)
                value.data.copy_(torch.empty(value.shape).uniform_(-bound, bound, generator=generator))

    def forward(self, clips: Clips, generator: torch.Generator | None) -> list[Tensor]:
        """Scores (1, frames, outputs) of every clip."""
        weights, lengths = self.layers.softmax(-1), torch.tensor([clip.shape[1] for clip in clips])
        mixed = [checkpoint(_mix, weights, clip.to(weights.device), use_reentrant=False) for clip in clips]
        rows = self.projection(pad_sequence(mixed, batch_first=True))
        for lstm in self.lstms:
            packed = pack_padded_sequence(rows, lengths, batch_first=True, enforce_sorted=False)
            rows = pad_packed_sequence(lstm(packed)[0], batch_first=True)[0]
            if generator is not None:
                rows = dropped(rows, self.dropout, generator)
        return [own[None, :length] for own, length in zip(self.output(rows), lengths.tolist(), strict=True)]


def _mix(weights: Tensor, clip: Tensor) -> Tensor:
    """Weighted sum of a clip's layers; computed again going back, so that no float32 copy of all layers is kept."""
    return (weights @ clip.float().flatten(1)).view(clip.shape[1:])


class Recurrent:
    """One BLSTM head in training."""

    heads = 1

    def __init__(self, net: Blstm) -> None:
        self.net = net
        self.parameters: list[Tensor] = [*net.parameters()]

    def scores(self, clips: Clips, generator: torch.Generator | None) -> list[Tensor]:
        found: list[Tensor] = self.net(clips, generator)
        return found

    def state(self, head: int) -> State:
        return {name: value.detach().clone() for name, value in self.net.named_parameters()}

    def keep(self, heads: Sequence[int]) -> None:
        """There is one."""


def bucketed(clips: Tensor, lengths: Sequence[int], size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Batches of `size` of the clips without end: those of like length together, in another order every epoch."""
    order = clips[torch.tensor(lengths).argsort(stable=True)].tolist()
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    while True:
        for number in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[number]


@dataclass(frozen=True)
class Source:
    """The layers of `features` that a head sees, clip by clip."""

    features: FrameFeatures
    settings: HeadSettings

    def __getitem__(self, clip: int) -> Tensor:
        return chosen_layers(self.features.frames(clip), self.settings.layers, 0)

    def portions(self, clips: Sequence[int], heads: int) -> Iterator[tuple[list[int], list[Tensor]]]:
        """Clips and their features, as many at a time as fit in memory."""
        held: tuple[list[int], list[Tensor]] = ([], [])
        taken, most = 0, _PORTION * (_ABREAST if self.settings.kind == "blstm" else 1)
        for clip in clips:
            layers, frames, width = (own := self[clip]).shape
            size = frames * (layers * width + 2 * heads * max(width, self.settings.between or 0))
            if held[0] and taken + size > most:
                yield held
                held, taken = ([], []), 0
            held[0].append(clip)
            held[1].append(own)
            taken += size
        if held[0]:
            yield held


class _FrameLearner:
    """Heads on frames that differ in their learning rates alone."""

    def __init__(
        self,
        source: Source,
        targets: FrameTargets,
        fold: Fold,
        training: Training,
        metric: Metric,
        model: Model,
        generator: torch.Generator,
    ) -> None:
        self.source, self.targets, self.training, self.metric, self.model = source, targets, training, metric, model
        self.valid = fold.valid.tolist()
        self.validated = bool(self.valid)
        lengths = [source[clip].shape[1] for clip in fold.train.tolist()]
        self.batches = bucketed(fold.train, lengths, training.batch, generator)
        self.dropout = torch.Generator(self.parameters[0].device).manual_seed(generator.initial_seed())

    @property
    def parameters(self) -> list[Tensor]:
        return self.model.parameters

    def backward(self) -> None:
        for _ in range(self.training.accumulate):
            batch = next(self.batches)
            for clips, features in self.source.portions(batch, self.model.heads):
                loss = self.targets.loss(self.model.scores(features, self.dropout), clips)
                torch.autograd.backward(loss.sum() / (len(batch) * self.training.accumulate))

    @torch.no_grad()
    def judge(self) -> list[float]:
        found: list[list[Any]] = [[] for _ in range(self.model.heads)]
        alive = torch.ones(self.model.heads, dtype=torch.bool)
        for _, features in self.source.portions(self.valid or next(self.batches)[:1], self.model.heads):
            for scores in self.model.scores(features, None):
                alive &= scores.isfinite().all(-1).all(-1).cpu()
                for head, own in enumerate(scores.cpu()):
                    found[head].append(self.targets.decode(own))
        labels = [self.targets.labels[clip] for clip in self.valid]
        values = [self.metric.value(labels, one) if labels else 0.0 for one in found]
        return [value if well else math.nan for value, well in zip(values, alive.tolist(), strict=True)]

    def state(self, head: int) -> State:
        return self.model.state(head)

    def keep(self, heads: Sequence[int]) -> None:
        self.model.keep(heads)


class FittedFrames(Trained):
    """Heads over frames."""

    @torch.no_grad()
    def scores(self, features: FrameFeatures, clips: Sequence[int]) -> list[list[Tensor]]:
        """For every seed, scores (frames, outputs) of each of the clips."""
        models = self._models()
        found: list[list[Tensor]] = [[] for _ in self.rates]
        for _, held in Source(features, self.settings).portions(clips, len(self.rates)):
            for parts in zip(*(model.scores(held, None) for model in models), strict=True):
                for own, scores in zip(found, torch.cat(parts).cpu(), strict=True):
                    own.append(scores)
        return found

    def _models(self) -> list[Model]:
        if self.settings.kind != "blstm":
            return [Linear(self.settings, self.state)]
        return [self._recurrent(seed) for seed in range(len(self.rates))]

    def _recurrent(self, seed: int) -> Model:
        own = {name: value[seed] for name, value in self.state.items()}
        width = (own["projection.weight"] if self.settings.projection else own["lstms.0.weight_ih_l0"]).shape[1]
        with torch.device("meta"):
            net = Blstm(self.settings, len(own["layers"]), width, len(own["output.bias"]))
        net.load_state_dict(own, assign=True)
        return Recurrent(net)


def _start(
    settings: HeadSettings, layers: int, width: int, outputs: int, heads: int, generator: torch.Generator, device: Any
) -> Model:
    if settings.kind != "blstm":
        return Linear(settings, stacked(fresh(settings, layers, width, outputs, generator), heads, device))
    with torch.device("meta"):
        net = Blstm(settings, layers, width, outputs)
    net = net.to_empty(device=device)
    net.reset(generator)
    return Recurrent(net)


def fit_frames(
    features: FrameFeatures,
    targets: FrameTargets,
    fold: Fold,
    settings: HeadSettings,
    training: Training,
    *,
    names: Sequence[str] | None = None,
    metric: Metric | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> FittedFrames:
    """Train heads on the frames of each clip, and keep the best.

    As `fit_heads`, but `training.batch` clips of like length make a batch. BLSTMs are trained one learning rate at a
    time, as many side by side as there are threads; the others at once. `names` of all items are for error messages.

    Raises InputError: a transcript that is longer than its clip has frames, a rate to choose without validation clips,
    a layer that there is not, mixup or balance (which are for whole clips), and where every head diverged.
    """
    training.check(len(fold.valid))
    if training.mixup or training.balanced:
        raise InputError("mixup and balanced: expected neither for a task over frames; leave them out")
    source = Source(features, settings)
    for clip in fold.train.tolist():
        targets.check(clip, source[clip].shape[1], names[clip] if names else f"clip {clip}")
    metric = metric or METRICS[DEFAULTS[targets.kind][0]]
    layers, _, width = source[int(fold.train[0])].shape

    def start(seed: int, heads: int) -> _FrameLearner:
        generator = torch.Generator().manual_seed(seed)
        model = _start(settings, layers, width, targets.outputs, heads, generator, device)
        return _FrameLearner(source, targets, fold, training, metric, model, generator)

    best = fit(start, training, metric, together=1 if settings.kind == "blstm" else TOGETHER, progress=progress)
    return FittedFrames.of(settings, best, metric)
