"""What a distillation makes small: pure functions of what the student predicts and what a teacher wants.

Both are tensors (batch, layers, frames, width). Losses are means over all of that, so that their weights mean the same
for every teacher; they are computed in float32 (float64 stays), under autocast too.
"""

import math
from importlib import import_module

import torch
from torch import Tensor
from torch.linalg import vecdot, vector_norm
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, l1_loss, logsigmoid

from crossfade.errors import InputError

EPSILON = 1e-5
"""Added to variances over a batch, as in the authors' code (2312.12153)."""

SNR_RANGE = (10.0, 20.0)
"""Decibels in which the SNR heuristic runs from 1 to 100."""

MISMATCH = 2.0
"""Frames by which teacher and student may end apart: centred ones are up to two more than windows that must fit."""


# Imitation ----------------------------------------------------------------------------------------------------------


def l1_cosine(predicted: Tensor, wanted: Tensor, l1: float = 1.0, cosine: float = 1.0) -> Tensor:
    """l1 · mean|z - y| + cosine · mean(-log sigmoid cos(z, y)), DistilHuBERT's loss (2110.01900), of (..., width).

    The first mean is over every number, the second over every frame of every layer; a term of weight 0 is left out.
    The cosine's least is log(1 + 1/e) = 0.313, where directions are the same.
    """
    with _full_precision(predicted):
        z, y = _full(predicted), _full(wanted)
        loss = z.new_zeros(())
        if l1:
            loss = loss + l1 * l1_loss(z, y)
        if cosine:
            # cosine_similarity says the same in more than twice the time.
            lengths = vector_norm(z, dim=-1) * vector_norm(y, dim=-1)
            loss = loss - cosine * logsigmoid(vecdot(z, y) / lengths.clamp(min=1e-8)).mean()
    return loss


def correlation_loss(
    predicted: Tensor,
    wanted: Tensor,
    *,
    cross: float,
    self_: float,
    diagonal_scale: float,
    cross_scale: float,
    self_scale: float,
    frames: int | None,
    weights: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """on + cross · offC + self · offS: correlations over a batch (2312.12153), of (batch, layers, frames, width).

    Time is reduced to `frames` by adaptive average pooling (fewer frames stay as they are; None: the mean over time).
    Every channel of every layer and frame is standardised over the B clips that one process has, with the unbiased
    variance plus `EPSILON`. Of C = zᵀy / (B - 1) and S = zᵀz / (B - 1), (width, width), are taken, as means over layers
    and frames,

        on   = sum_i (C_ii - 1)² / diagonal_scale
        offC = sum_{i != j} C_ij² / cross_scale
        offS = sum_{i != j} S_ij² / self_scale

    The published form for whole utterances has no scales: give 1 with `frames` None. The paper adds a cosine term,
    which is `l1_cosine` with l1 = 0.

    `weights`, the student's and the teacher's `snr_coefficient` (batch,), turn the sums of offC and offS into means
    over clips b of sum_{i != j} (z_bi y_bj)² / teacher_b and sum_{i != j} (z_bi z_bj)² / student_b: squares are taken
    before the mean. This is our reading of the authors' code, which calls it unfinished; the paper's formula is not
    confirmed.

    Raises InputError for a batch of one clip.
    """
    batch = len(predicted)
    if batch < 2:
        raise InputError(
            f"correlation loss: clips of a batch are correlated, expected at least 2, received {batch}: raise "
            "training.batch_seconds or lower training.crop_seconds"
        )
    with _full_precision(predicted):
        z, y = (_standardised(_pooled(_full(side), frames)) for side in (predicted, wanted))
        loss = (_diagonal(z, y) - 1).square().sum(-1).mean() / diagonal_scale
        if cross or self_:
            off_cross, off_self = _off_diagonals(z, y) if weights is None else _weighted_off_diagonals(z, y, *weights)
            loss = loss + cross / cross_scale * off_cross.mean() + self_ / self_scale * off_self.mean()
    return loss


def snr_coefficient(snr: Tensor) -> Tensor:
    """9.9 · SNR - 98 for decibels: 1 at 10 dB, 100 at 20 dB (see `correlation_loss` for what it divides).

    The line falls below zero under 9.9 dB and has no end for clean sound, so noise of less than 10 dB counts as 10 and
    of more than 20, or none (infinite), as 20. Formula and range are our reading; the paper's are not confirmed.
    """
    return 9.9 * snr.clamp(*SNR_RANGE) - 98


def _full_precision(values: Tensor) -> torch.autocast:
    return torch.autocast(values.device.type, enabled=False)


def _full(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _pooled(values: Tensor, frames: int | None) -> Tensor:
    """(layers · frames, batch, width): every place in which clips are compared."""
    if frames is None:
        values = values.mean(2, keepdim=True)
    elif frames < values.shape[2]:
        values = adaptive_avg_pool2d(values, (frames, values.shape[3]))
    return values.permute(1, 2, 0, 3).flatten(0, 1)


def _standardised(values: Tensor) -> Tensor:
    centred = values - values.mean(-2, keepdim=True)
    variance = centred.square().sum(-2, keepdim=True) / (values.shape[-2] - 1)
    return centred * (variance + EPSILON).rsqrt()


def _diagonal(a: Tensor, b: Tensor) -> Tensor:
    """The diagonal of aᵀb / (batch - 1) for every place: (places, width)."""
    return (a * b).sum(-2) / (a.shape[-2] - 1)


def _off_diagonals(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """sum_{i != j} C_ij² and S_ij² for every place, from z and y (places, batch, width).

    tr(yᵀz zᵀy) = tr(zzᵀ yyᵀ), so sums of squared correlations are sums of products of the clips' Gram matrices.
    Whichever are smaller are made, (batch, batch) or (width, width): none takes more memory than z.
    """
    if z.shape[-2] < z.shape[-1]:
        ours, theirs = z @ z.mT, y @ y.mT
        squares = (ours * theirs).sum((-2, -1)), ours.square().sum((-2, -1))
    else:
        squares = (z.mT @ y).square().sum((-2, -1)), (z.mT @ z).square().sum((-2, -1))
    across, own = (total / (z.shape[-2] - 1) ** 2 for total in squares)
    return across - _diagonal(z, y).square().sum(-1), own - _diagonal(z, z).square().sum(-1)


def _weighted_off_diagonals(z: Tensor, y: Tensor, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """mean_b of sum_{i != j} (z_bi y_bj)² / teacher_b, and of (z_bi z_bj)² / student_b, for every place."""
    z, y = z.square(), y.square()
    across, own = (z.sum(-1) * other.sum(-1) - (z * other).sum(-1) for other in (y, z))
    return (across / teacher.to(z)).mean(-1), (own / student.to(z)).mean(-1)


# Masked prediction --------------------------------------------------------------------------------------------------


def masked_cross_entropy(logits: Tensor, clusters: Tensor, mask: Tensor) -> Tensor:
    """Mean of -log softmax(logits)[cluster] over masked frames (HuBERT, 2106.07447, with alpha = 1).

    logits: (..., clusters); clusters: (...) int64; mask: (...), True where the student's input is masked. 0 where
    nothing is.
    """
    if not mask.any():
        return _full(logits[mask]).sum()
    return cross_entropy(_full(logits[mask]), clusters[mask])


def fit_clusters(frames: Tensor, count: int, seed: int = 0) -> Tensor:
    """Centres (count, width) float32 of a sample of a teacher's frames (frames, width), by mini-batch k-means.

    The same frames, seed and number of threads give the same centres. Raises InputError: fewer frames than centres,
    scikit-learn is not installed.
    """
    if len(frames) < count:
        raise InputError(f"objective.clusters {count}: expected at least as many frames, received {len(frames)}")
    try:
        cluster = import_module("sklearn.cluster")
    except ImportError:
        raise InputError("objective.masked needs scikit-learn: pip install 'crossfade[distil]'") from None
    found = cluster.MiniBatchKMeans(count, batch_size=4096, n_init=3, random_state=seed)
    return torch.from_numpy(found.fit(frames.float().cpu().numpy()).cluster_centers_).float()


def assign_clusters(frames: Tensor, centres: Tensor) -> Tensor:
    """Index (...) int64 of the nearest of `centres` (count, width) for every frame of (..., width)."""
    rows = frames.flatten(0, -2).float()
    return torch.cdist(rows, centres.to(rows)).argmin(-1).reshape(frames.shape[:-1])


# Time ---------------------------------------------------------------------------------------------------------------


def align_time(
    wanted: Tensor, teacher_rate: float, student_rate: float, frames: int, teacher_offset: float = 0.0
) -> Tensor:
    """A teacher's frames (..., frames of the teacher, width) at the times of the student's: (..., frames, width).

    Rates are in frames per second. Student frame j stands for the time j / student_rate, teacher frame i for
    teacher_offset + i / teacher_rate seconds: the offset is from the centre of the student's first frame to that of the
    teacher's first. Between its frames the teacher is taken to change linearly. A teacher that is not faster is read at
    the student's times; of a faster one the mean is taken over what the student's frames are longer by, around these
    times. So frames of the same times stay as they are, at twice the rate two neighbours give their mean, ramps stay
    ramps, and nothing leaves the range of what it is made of. Before its first and past its last frame the teacher is
    held.

    Raises InputError where their last frames are more than `MISMATCH` of the longer frames apart.
    """
    count = wanted.shape[-2]
    apart = teacher_offset + (count - 1) / teacher_rate - (frames - 1) / student_rate
    most = MISMATCH / min(teacher_rate, student_rate)
    if abs(apart) > most * (1 + 1e-9):
        raise InputError(
            f"teacher and student cannot be aligned in time: the last of {count} frames at {teacher_rate:g} per second "
            f"is {abs(apart):.3f} s {'after' if apart > 0 else 'before'} the last of {frames} at {student_rate:g} per "
            f"second; expected at most {most:.3f} s"
        )
    places, weights = _taps(teacher_rate, student_rate, frames, teacher_offset)
    aligned: Tensor | None = None
    for place, weight in zip(places.clamp(0, count - 1).to(wanted.device), weights[..., None], strict=True):
        if weight.any():
            part = wanted.index_select(-2, place)
            weight = weight.to(wanted)
            aligned = part.mul_(weight) if aligned is None else aligned.addcmul_(part, weight)
    assert aligned is not None
    return aligned


def _taps(teacher_rate: float, student_rate: float, frames: int, offset: float) -> tuple[Tensor, Tensor]:
    """Which teacher frames make each student frame, and what they count: (taps, frames) int64 and float64, sums 1.

    In teacher frames, frame i of the linear interpolant is the hat max(0, 1 - |x - i|). Its share in the mean over
    [a, b] is (H(b - i) - H(a - i)) / (b - a) with H, its integral, as below.
    """
    length = max(0.0, teacher_rate / student_rate - 1)
    start = (
        torch.arange(frames, dtype=torch.float64) * (teacher_rate / student_rate) - offset * teacher_rate - length / 2
    )
    places = start.floor().long() + torch.arange(math.ceil(length) + 2)[:, None]
    before = start - places
    if length == 0:
        return places, (1 - before.abs()).clamp(min=0)

    def integral(x: Tensor) -> Tensor:
        x = x.clamp(-1, 1)
        return 0.5 + x - x * x.abs() / 2

    return places, (integral(before + length) - integral(before)) / length
