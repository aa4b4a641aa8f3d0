"""From labels to tensors and back, for every kind of task: what a head is trained towards and what its scores mean.

Two families: a head over clips gives scores (clips, outputs), a head over frames gives scores (frames, outputs) for
each clip. What is learned of the labels (classes, tokens, spread) is learned of the training items alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, ctc_loss, max_pool1d
from torch.nn.utils.rnn import pad_sequence

from crossfade.errors import InputError
from crossfade.probing.ctc import BLANK, TokenTable, Unit, beam_search, frames_needed, greedy, token_table
from crossfade.probing.metrics import SEMITONES, split_key
from crossfade.probing.schema import Kind, Label

UNSEEN = -1
"""The class of an item whose label no training item has: it can only be got wrong."""

_NEIGHBOUR = 0.5
"""What the frames beside a beat are trained towards, the beat's own being 1."""

_PEAK_SECONDS, _PEAK_SHARE = 0.15, 0.5
"""A beat is the highest frame this far to both sides, and has this share of the clip's highest activation."""


# Heads over clips ---------------------------------------------------------------------------------------------------


class ClipTargets(ABC):
    """Labels of all items as a head over clips sees them.

    wanted: (items, ...), what each item's scores are trained towards. dense: (items, outputs) float32, the same as the
    scores of a perfect head; zeros where nothing is known.
    """

    kind: Kind
    labels: tuple[Label, ...]
    outputs: int
    wanted: Tensor
    dense: Tensor

    @abstractmethod
    def loss(self, scores: Tensor, wanted: Tensor) -> Tensor:
        """Loss (heads, clips) of scores (heads, clips, outputs) against rows of `wanted` (clips, ...)."""

    @abstractmethod
    def decode(self, scores: Tensor) -> list[Any]:
        """Predictions of scores (clips, outputs), in the form that metrics take."""


class Choices(ClipTargets):
    """One of several names in each of one or more slots: softmax cross-entropy, summed over slots (as s3prl's IC).

    A prediction is a name, or a tuple of names where `several`.
    """

    def __init__(self, labels: Sequence[tuple[str, ...]], train: Sequence[int], several: bool) -> None:
        self.several = several
        self.slots = [sorted({labels[item][slot] for item in train}) for slot in range(len(labels[0]))]
        for slot, names in enumerate(self.slots):
            if len(names) < 2 and not several:
                raise InputError(f"label: all training items are '{names[0]}'; expected two classes or more")
            if not names:
                raise InputError(f"slot {slot}: no training item has a value")
        self.sizes = [len(names) for names in self.slots]
        self.outputs = sum(self.sizes)
        ids = [{name: number for number, name in enumerate(names)} for names in self.slots]
        rows = [[known.get(name, UNSEEN) for known, name in zip(ids, label, strict=True)] for label in labels]
        self.wanted = torch.tensor(rows)
        columns = torch.arange(self.outputs).split_with_sizes(self.sizes)
        self.dense = torch.cat(
            [(self.wanted[:, [slot]] == own - own[0]).float() for slot, own in enumerate(columns)], dim=1
        )

    def loss(self, scores: Tensor, wanted: Tensor) -> Tensor:
        heads, total = len(scores), scores.new_zeros(scores.shape[:2])
        for own, right in zip(scores.split_with_sizes(self.sizes, dim=-1), wanted.T, strict=True):
            total = total + cross_entropy(own.flatten(0, 1), right.repeat(heads), reduction="none").view_as(total)
        return total

    def decode(self, scores: Tensor) -> list[Any]:
        best = [own.argmax(-1).tolist() for own in scores.split_with_sizes(self.sizes, dim=-1)]
        named = [[names[number] for number in found] for names, found in zip(self.slots, best, strict=True)]
        return list(zip(*named, strict=True)) if self.several else named[0]


class Tags(ClipTargets):
    """Any number of tags: binary cross-entropy, mean over tags. A prediction is a probability for each tag by name."""

    def __init__(self, labels: Sequence[tuple[str, ...]], train: Sequence[int]) -> None:
        self.tags = sorted({tag for item in train for tag in labels[item]})
        if not self.tags:
            raise InputError("label: no training item has a tag")
        self.outputs = len(self.tags)
        self.wanted = self.dense = torch.tensor([[float(tag in tags) for tag in self.tags] for tags in labels])

    def loss(self, scores: Tensor, wanted: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(scores, wanted.expand_as(scores), reduction="none").mean(-1)

    def decode(self, scores: Tensor) -> list[Any]:
        return [dict(zip(self.tags, row, strict=True)) for row in scores.sigmoid().tolist()]


class Numbers(ClipTargets):
    """Numbers, brought to mean 0 and deviation 1 over the training items: mean squared error over outputs.

    A prediction is a tuple of numbers in the labels' own units.
    """

    def __init__(self, labels: Sequence[tuple[float, ...]], train: Sequence[int]) -> None:
        values = torch.tensor(labels, dtype=torch.float64)
        self.mean = values[list(train)].mean(0)
        spread = values[list(train)].std(0, correction=0)
        if not spread.all():
            raise InputError("label: all training items have the same number; expected some that differ")
        self.deviation, self.outputs = spread, values.shape[1]
        self.wanted = self.dense = ((values - self.mean) / self.deviation).float()

    def loss(self, scores: Tensor, wanted: Tensor) -> Tensor:
        return (scores - wanted).square().mean(-1)

    def decode(self, scores: Tensor) -> list[Any]:
        values = scores.double().cpu() * self.deviation + self.mean
        return [tuple(row) for row in values.tolist()]


def _one(labels: Sequence[Any], train: Sequence[int]) -> ClipTargets:
    return Choices([(label,) for label in labels], train, several=False)


def _slots(labels: Sequence[Any], train: Sequence[int]) -> ClipTargets:
    return Choices(labels, train, several=True)


def _keys(labels: Sequence[Any], train: Sequence[int]) -> ClipTargets:
    """Keys by one spelling each, so that C# minor and Db minor are one class."""
    spelling = {tone: name.capitalize() for name, tone in reversed(SEMITONES.items())}
    keys = [split_key(label) for label in labels]
    return _one([f"{spelling[tone]} {mode}" for tone, mode in keys], train)


CLIP_KINDS: Mapping[Kind, Callable[[Sequence[Any], Sequence[int]], ClipTargets]] = {
    "classification": _one,
    "key": _keys,
    "verification": _one,
    "slots": _slots,
    "tagging": Tags,
    "regression": Numbers,
}
"""Kinds whose heads look at whole clips."""


def encode_clips(kind: Kind, labels: Sequence[Label], train: Tensor | None = None) -> ClipTargets:
    """Labels of all items for a kind of CLIP_KINDS; `train` are the items to learn classes from, None for all.

    Raises InputError: one class only, no tags, numbers that never differ, a key that is none.
    """
    targets = CLIP_KINDS[kind](labels, range(len(labels)) if train is None else train.tolist())
    targets.kind, targets.labels = kind, tuple(labels)
    return targets


def trial_scores(embeddings: Tensor, trials: Sequence[tuple[int, int, bool]]) -> list[float]:
    """Cosine of the two clips' embeddings (clips, width) for every trial (clip, clip, same)."""
    unit = torch.nn.functional.normalize(embeddings.double(), dim=-1)
    first, second = (torch.tensor([trial[side] for trial in trials], dtype=torch.int64) for side in (0, 1))
    scores: list[float] = (unit[first] * unit[second]).sum(-1).tolist()
    return scores


# Heads over frames --------------------------------------------------------------------------------------------------


class FrameTargets(ABC):
    """Labels of all items as a head over frames sees them; `rate` is frames a second."""

    kind: Kind
    labels: tuple[Label, ...]
    outputs: int
    rate: float

    @abstractmethod
    def loss(self, scores: Sequence[Tensor], clips: Sequence[int]) -> Tensor:
        """Loss (heads, clips) of each clip's scores (heads, frames, outputs) against its label."""

    @abstractmethod
    def decode(self, scores: Tensor, beam: int = 1) -> Any:
        """A clip's prediction from scores (frames, outputs); `beam` is the width of the search where there is one."""

    def check(self, clip: int, frames: int, name: str) -> None:  # noqa: B027  # most labels fit any number of frames
        """InputError when `frames` cannot carry the label of item `clip`, called `name`."""


class Text(FrameTargets):
    """Text by connectionist temporal classification: loss over its tokens' number, as torch's and s3prl's mean."""

    def __init__(self, labels: Sequence[str], train: Sequence[int], rate: float, unit: Unit) -> None:
        self.table: TokenTable = token_table([labels[item] for item in train], unit)
        self.ids = [self.table.encode(label) for label in labels]
        self.outputs, self.rate = len(self.table), rate

    def loss(self, scores: Sequence[Tensor], clips: Sequence[int]) -> Tensor:
        heads = scores[0].shape[0]
        frames = pad_sequence([clip.transpose(0, 1) for clip in scores])  # (frames, clips, heads, outputs)
        ids = [self.ids[clip] for clip in clips]
        lengths, sizes = torch.tensor([clip.shape[1] for clip in scores]), torch.tensor([len(own) for own in ids])
        losses = ctc_loss(
            frames.log_softmax(-1).flatten(1, 2),
            pad_sequence(ids, batch_first=True).repeat_interleave(heads, 0).to(frames.device),
            lengths.repeat_interleave(heads),
            sizes.repeat_interleave(heads),
            blank=BLANK,
            reduction="none",
            zero_infinity=True,
        )
        return losses.view(len(clips), heads).T / sizes.clamp_min(1).to(losses.device)

    def decode(self, scores: Tensor, beam: int = 1) -> str:
        return self.table.decode(greedy(scores) if beam == 1 else beam_search(scores, beam))

    def check(self, clip: int, frames: int, name: str) -> None:
        needed = frames_needed(self.ids[clip])
        if not len(self.ids[clip]):
            raise InputError(f"{name}: the transcript is empty; expected text")
        if frames < needed:
            raise InputError(
                f"{name}: its transcript of {len(self.ids[clip])} {self.table.unit} needs {needed} frames, the clip "
                f"has {frames}; leave it out, or check that sound and text belong together"
            )


class Segments(FrameTargets):
    """A name for every frame by its middle: softmax cross-entropy, mean over a clip's frames that have a name.

    A prediction is a tuple of stretches `(start, end, name)` in seconds that covers the clip.
    """

    def __init__(self, labels: Sequence[Any], train: Sequence[int], rate: float, unit: Unit) -> None:
        self.classes = sorted({name for item in train for _, _, name in labels[item]})
        if len(self.classes) < 2:
            raise InputError(f"label: training items have the names {self.classes}; expected two or more")
        self.ids, self.stretches = {name: number for number, name in enumerate(self.classes)}, labels
        self.outputs, self.rate = len(self.classes), rate

    def frames(self, clip: int, count: int) -> Tensor:
        """Ids (count,) of an item's frames, UNSEEN where it has no name or one that no training item has."""
        middles = (torch.arange(count) + 0.5) / self.rate
        ids = torch.full((count,), UNSEEN)
        for start, end, name in self.stretches[clip]:
            ids[(middles >= start) & (middles < end)] = self.ids.get(name, UNSEEN)
        return ids

    def loss(self, scores: Sequence[Tensor], clips: Sequence[int]) -> Tensor:
        losses = []
        for own, clip in zip(scores, clips, strict=True):
            right = self.frames(clip, own.shape[1]).to(own.device).expand(own.shape[:2])
            each = cross_entropy(own.transpose(1, 2), right, ignore_index=UNSEEN, reduction="none")
            losses.append(each.sum(1) / (right[0] != UNSEEN).sum().clamp_min(1))
        return torch.stack(losses, dim=1)

    def decode(self, scores: Tensor, beam: int = 1) -> tuple[tuple[float, float, str], ...]:
        found, start = [], 0
        for number, same in groupby(scores.argmax(-1).tolist()):
            end = start + len([*same])
            found.append((start / self.rate, end / self.rate, self.classes[number]))
            start = end
        return tuple(found)


class Beats(FrameTargets):
    """Whether a frame is a beat: binary cross-entropy against 1 on a beat's frame and a half on both sides of it.

    A prediction is the middles of the frames, in seconds, whose activation is the highest within 0.15 s to both sides
    and at least half of the clip's highest. (MARBLE puts madmom's dynamic Bayesian network there; this is our reading.)
    """

    def __init__(self, labels: Sequence[Any], train: Sequence[int], rate: float, unit: Unit) -> None:
        if not any(labels[item] for item in train):
            raise InputError("label: no training item has a beat")
        self.times, self.outputs, self.rate = labels, 1, rate

    def activation(self, clip: int, count: int) -> Tensor:
        """What an item's frames (count,) are trained towards."""
        frames = (torch.tensor(self.times[clip], dtype=torch.float64) * self.rate).long()
        wanted = torch.zeros(count)
        for shift, height in ((-1, _NEIGHBOUR), (1, _NEIGHBOUR), (0, 1.0)):
            near = frames + shift
            wanted[near[(near >= 0) & (near < count)]] = height
        return wanted

    def loss(self, scores: Sequence[Tensor], clips: Sequence[int]) -> Tensor:
        losses = []
        for own, clip in zip(scores, clips, strict=True):
            wanted = self.activation(clip, own.shape[1]).to(own.device).expand(own.shape[:2])
            losses.append(binary_cross_entropy_with_logits(own[..., 0], wanted, reduction="none").mean(1))
        return torch.stack(losses, dim=1)

    def decode(self, scores: Tensor, beam: int = 1) -> tuple[float, ...]:
        height, reach = scores[:, 0].double(), round(_PEAK_SECONDS * self.rate)
        highest = max_pool1d(height[None, None], 2 * reach + 1, stride=1, padding=reach)[0, 0]
        peaks = (height == highest) & (height.sigmoid() >= _PEAK_SHARE * height.max().sigmoid())
        return tuple(((peaks.nonzero()[:, 0] + 0.5) / self.rate).tolist())


FRAME_KINDS: Mapping[Kind, Callable[[Sequence[Any], Sequence[int], float, Unit], FrameTargets]] = {
    "ctc": Text,
    "frames": Segments,
    "beat": Beats,
}
"""Kinds whose heads look at every frame."""


def encode_frames(
    kind: Kind, labels: Sequence[Label], rate: float, train: Tensor | None = None, tokens: Unit = "characters"
) -> FrameTargets:
    """Labels of all items for a kind of FRAME_KINDS, at `rate` frames a second; `train` as for `encode_clips`.

    `tokens` is what a transcript is made of. Raises InputError: no text, one name only, no beat.
    """
    targets = FRAME_KINDS[kind](labels, range(len(labels)) if train is None else train.tolist(), rate, tokens)
    targets.kind, targets.labels = kind, tuple(labels)
    return targets
