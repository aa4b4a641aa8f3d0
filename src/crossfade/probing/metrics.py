"""How predictions are judged: every metric the tasks use, as data.

A metric that is a function of sums over items says what each item adds (`parts`) and what the sums mean (`combine`), so
that thousands of bootstrap draws are one matrix product. The others are functions of how often each item counts.

Labels and predictions, one of each per item: names (accuracy, uar, key_score), tuples of names (slot_accuracy), tuples
of numbers (r2), the item's tags and a score for every tag by name (roc_auc, average_precision), whether a trial is of
one speaker and its score (eer), text (wer, cer, per), stretches `(start, end, name)` in seconds (frame_accuracy), times
in seconds (beat_f). Lists do for tuples, as in a results file.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor

from crossfade.errors import InputError

Values = Sequence[Any] | Tensor
Parts = Callable[[Values, Values], Tensor]
Resampled = Callable[[Values, Values, Tensor], Tensor]

FIFTH, RELATIVE, PARALLEL = 0.5, 0.3, 0.2
"""MIREX's credit for a key that is not the right one but related to it."""

SEMITONES = {"c": 0, "c#": 1, "db": 1, "d": 2, "d#": 3, "eb": 3, "e": 4, "f": 5, "f#": 6, "gb": 6, "g": 7, "g#": 8,
             "ab": 8, "a": 9, "a#": 10, "bb": 10, "b": 11}  # fmt: skip
TRIM = 5.0
"""Seconds from the start in which beats are not judged: a tracker may need them to settle (MIREX, mir_eval)."""


@dataclass(frozen=True)
class Metric:
    """One way to judge predictions; values are in percent where `percent`.

    parts(labels, predictions) -> (items, sums) and combine((..., sums)) -> (...) are both float64, or both None; then
    `resampled`(labels, predictions, weights (draws, items)) -> (draws,) does the work. NaN where there is no value.
    """

    name: str
    better: Literal["higher", "lower"] = "higher"
    percent: bool = True
    parts: Parts | None = None
    combine: Callable[[Tensor], Tensor] | None = None
    resampled: Resampled | None = None

    def rank(self, value: float | None) -> float:
        """What orders values from the worst to the best; first comes what is no number."""
        if value is None or not math.isfinite(value):
            return -math.inf
        return value if self.better == "higher" else -value

    def value(self, labels: Values, predictions: Values, weights: Tensor | Sequence[float] | None = None) -> float:
        """The metric, each item counted as often as `weights` (items,) says."""
        counts = torch.ones(len(labels)) if weights is None else torch.as_tensor(weights)
        return float(self.values(labels, predictions, counts[None])[0])

    def values(self, labels: Values, predictions: Values, weights: Tensor) -> Tensor:
        """The metric (draws,) float64 for every row of weights (draws, items)."""
        weights = weights.double()
        if self.parts is not None and self.combine is not None:
            return self.combine(weights @ self.parts(labels, predictions))
        assert self.resampled is not None
        return self.resampled(labels, predictions, weights)


def _ratio(sums: Tensor) -> Tensor:
    """The first sum in percent of the second."""
    return 100 * sums[..., 0] / sums[..., 1]


def _each(score: Callable[[Any, Any], float]) -> Parts:
    """Parts of a mean over items."""
    return lambda labels, predictions: torch.tensor(
        [(score(label, found), 1.0) for label, found in zip(labels, predictions, strict=True)], dtype=torch.float64
    )


# Classes ------------------------------------------------------------------------------------------------------------


def _same(label: str, found: str) -> float:
    return float(label == found)


def _all_slots(label: Sequence[str], found: Sequence[str]) -> float:
    return float(tuple(label) == tuple(found))


def _recalls(labels: Values, predictions: Values) -> Tensor:
    """Right items of every class, then items of every class."""
    classes = {name: column for column, name in enumerate(sorted(set(labels)))}
    member = torch.zeros(len(labels), len(classes), dtype=torch.float64)
    member[torch.arange(len(labels)), torch.tensor([classes[label] for label in labels])] = 1
    right = torch.tensor([_same(*pair) for pair in zip(labels, predictions, strict=True)], dtype=torch.float64)
    return torch.cat([member * right[:, None], member], dim=1)


def _mean_recall(sums: Tensor) -> Tensor:
    """Over the classes that there are: a bootstrap draw may lack one."""
    right, count = sums.chunk(2, dim=-1)
    return 100 * (right / count).nanmean(-1)


def split_key(name: str) -> tuple[int, str]:
    """Semitones above C and mode of a key such as "Db minor"; InputError when it is not one."""
    tonic, _, mode = name.strip().partition(" ")
    if tonic.lower() not in SEMITONES or mode not in ("major", "minor"):
        raise InputError(f"key '{name}': expected a tonic from C to B and major or minor, as in 'F# minor'")
    return SEMITONES[tonic.lower()], mode


@cache
def key_score(label: str, found: str) -> float:
    """MIREX's score of an estimated key: 1, or what a fifth above, the relative or the parallel key is worth, or 0."""
    (tonic, mode), (found_tonic, found_mode) = split_key(label), split_key(found)
    up = (found_tonic - tonic) % 12
    if mode == found_mode:
        return {0: 1.0, 7: FIFTH}.get(up, 0.0)
    return {9 if mode == "major" else 3: RELATIVE, 0: PARALLEL}.get(up, 0.0)


# Numbers ------------------------------------------------------------------------------------------------------------


def _moments(labels: Values, predictions: Values) -> Tensor:
    """Squared errors, labels and their squares (around the mean, so that nothing cancels), and 1."""
    wanted, found = (torch.tensor([*rows], dtype=torch.float64).flatten(1) for rows in (labels, predictions))
    centred = wanted - wanted.mean(0)
    return torch.cat([(found - wanted).square(), centred, centred.square(), torch.ones(len(wanted), 1)], dim=1)


def _r2(sums: Tensor) -> Tensor:
    """Mean over outputs; an output that never changes has 1 where it is met exactly, else 0, as in scikit-learn."""
    errors, total, squares = sums[..., :-1].chunk(3, dim=-1)
    spread = squares - total.square() / sums[..., -1:]
    still = spread <= 1e-12 * squares
    return torch.where(still, (errors == 0).double(), 1 - errors / spread).mean(-1)


# Ranks --------------------------------------------------------------------------------------------------------------


def _curve(scores: Tensor, positive: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weight of positives and of negatives (draws, distinct scores) at or above each score, from the highest down."""
    distinct, place = torch.unique(-scores, return_inverse=True)
    empty = weights.new_zeros(len(weights), len(distinct))
    return (
        empty.index_add(1, place, weights * positive).cumsum(1),
        empty.index_add(1, place, weights * ~positive).cumsum(1),
    )


def _area(above: Tensor, below: Tensor) -> Tensor:
    """Area under the ROC curve, ties counted half."""
    start = above.new_zeros(len(above), 1)
    hits, alarms = torch.cat([start, above], dim=1), torch.cat([start, below], dim=1)
    steps = alarms.diff(dim=1) * (hits[:, 1:] + hits[:, :-1]) / 2
    return steps.sum(1) / (above[:, -1] * below[:, -1])


def _average_precision(above: Tensor, below: Tensor) -> Tensor:
    """Mean precision at the positives: a sum over the curve's steps, nothing interpolated."""
    gained = above.diff(dim=1, prepend=above.new_zeros(len(above), 1))
    precision = (above / (above + below)).nan_to_num(0)
    return (gained * precision).sum(1) / above[:, -1]


def _macro(area: Callable[[Tensor, Tensor], Tensor], labels: Values, predictions: Values, weights: Tensor) -> Tensor:
    """Mean over the tags that some items have and some lack."""
    found = []
    for tag in predictions[0]:
        scores = torch.tensor([scores[tag] for scores in predictions], dtype=torch.float64)
        above, below = _curve(scores, torch.tensor([tag in tags for tags in labels]), weights)
        defined = (above[:, -1] > 0) & (below[:, -1] > 0)
        found.append(torch.where(defined, area(above, below), math.nan))
    return torch.stack(found).nanmean(0)


def _equal_error(labels: Values, predictions: Values, weights: Tensor) -> Tensor:
    """Where misses and false alarms are equally frequent, in a line between the two thresholds around it."""
    scores = torch.as_tensor(predictions, dtype=torch.float64)
    above, below = _curve(scores, torch.as_tensor(labels, dtype=torch.bool), weights)
    alarms, misses = below / below[:, -1:], 1 - above / above[:, -1:]
    alarms, misses = (torch.nn.functional.pad(rate, (1, 0), value=first) for rate, first in ((alarms, 0), (misses, 1)))
    gap = alarms - misses
    after = (gap >= 0).double().argmax(1, keepdim=True).clamp_min(1)
    low, high = gap.gather(1, after - 1), gap.gather(1, after)
    share = low / (low - high)
    before = alarms.gather(1, after - 1)
    return 100 * (before + share * (alarms.gather(1, after) - before))[:, 0]


# Sequences ----------------------------------------------------------------------------------------------------------


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(f"this metric needs {name}, which is not installed: pip install 'crossfade[probe]'") from error


def _edits(count: str, labels: Values, predictions: Values) -> Tensor:
    """Edits from each label to its prediction, and the label's length; jiwer counts."""
    jiwer = _module("jiwer")
    aligned = getattr(jiwer, f"process_{count}")([*labels], [*predictions])
    edits = [
        sum(
            max(part.ref_end_idx - part.ref_start_idx, part.hyp_end_idx - part.hyp_start_idx)
            for part in parts
            if part.type != "equal"
        )
        for parts in aligned.alignments
    ]
    pairs = [(edit, len(tokens)) for edit, tokens in zip(edits, aligned.references, strict=True)]
    return torch.tensor(pairs, dtype=torch.float64)


def _overlap(label: Sequence[Any], found: Sequence[Any]) -> tuple[float, float]:
    """Labelled seconds that are named right, and all of them; stretches are in order and do not overlap."""
    ends = [stop for _, stop, _ in found]
    right = 0.0
    for start, end, name in label:
        for begin, stop, guess in islice(found, bisect_right(ends, start), None):
            if begin >= end:
                break
            if guess == name:
                right += min(end, stop) - max(start, begin)
    return right, sum(end - start for start, end, _ in label)


def _frames(labels: Values, predictions: Values) -> Tensor:
    return torch.tensor([_overlap(*pair) for pair in zip(labels, predictions, strict=True)], dtype=torch.float64)


def _beats(trim: float, label: Sequence[float], found: Sequence[float]) -> float:
    """F-measure of beats within 70 ms; 0 where there are none to find or none was found."""
    wanted, guessed = (torch.tensor([time for time in times if time >= trim]).double() for times in (label, found))
    if not len(wanted) or not len(guessed):
        return 0.0
    return float(_module("mir_eval.beat").f_measure(wanted.numpy(), guessed.numpy()))


_ALL = (
    Metric("accuracy", parts=_each(_same), combine=_ratio),
    Metric("uar", parts=_recalls, combine=_mean_recall),
    Metric("slot_accuracy", parts=_each(_all_slots), combine=_ratio),
    Metric("key_score", parts=_each(key_score), combine=_ratio),
    Metric("r2", percent=False, parts=_moments, combine=_r2),
    Metric("roc_auc", percent=False, resampled=partial(_macro, _area)),
    Metric("average_precision", percent=False, resampled=partial(_macro, _average_precision)),
    Metric("eer", better="lower", resampled=_equal_error),
    Metric("wer", better="lower", parts=partial(_edits, "words"), combine=_ratio),
    Metric("cer", better="lower", parts=partial(_edits, "characters"), combine=_ratio),
    Metric("per", better="lower", parts=partial(_edits, "words"), combine=_ratio),
    Metric("frame_accuracy", parts=_frames, combine=_ratio),
    Metric("beat_f", parts=_each(partial(_beats, TRIM)), combine=_ratio),
    Metric("beat_f_untrimmed", parts=_each(partial(_beats, 0.0)), combine=_ratio),
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}
"""uar: mean recall of the classes (unweighted average recall). per: words are phones. beat_f leaves out the first five
seconds, beat_f_untrimmed does not: for clips that are short. frame_accuracy: share of the labelled time named right."""
