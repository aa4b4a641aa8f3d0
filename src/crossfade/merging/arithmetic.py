"""Arithmetic of task vectors: pure functions of a base and any number of differences from it.

`vectors` are tensors of the base's shape, `weights` a number for each, of either sign. The order of vectors matters to
rounding and to random draws alone; who wants it not to matter sorts them.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from crossfade.errors import InputError, nearest

CONFLICTS = ("zero", "flip")


def add(base: Tensor, vectors: Sequence[Tensor], weights: Sequence[float], *, scale: float = 1.0) -> Tensor:
    """base + scale * sum of weight * vector: task arithmetic (2212.04089), paper 3 (2505.13270) at scale 1."""
    return base + scale * _sum([weight * vector for vector, weight in zip(vectors, weights, strict=True)])


def ties(
    base: Tensor, vectors: Sequence[Tensor], weights: Sequence[float], *, density: float = 0.2, scale: float = 1.0
) -> Tensor:
    """TIES: trim task vectors to their largest entries, elect a sign, average what agrees with it.

    `density` is the share of entries kept, in (0, 1]. The elected sign has the larger weighted mass; agreeing entries
    are averaged by weight, so that only the weights' proportions count, and `scale` decides how far to go.
    """
    parts = [weight * trim(vector, density) for vector, weight in zip(vectors, weights, strict=True)]
    elected = torch.sign(_sum(parts))
    total, mass = torch.zeros_like(base), torch.zeros_like(base)
    for part, weight in zip(parts, weights, strict=True):
        agrees = (part * elected > 0).float()
        total.addcmul_(part, agrees)
        mass.add_(agrees, alpha=abs(weight))
    return base + scale * total / mass.clamp_min(1e-12)


def ties_secondary(
    base: Tensor,
    vectors: Sequence[Tensor],
    weights: Sequence[float],
    *,
    density: float = 0.3,
    conflicts: str = "zero",
    scale: float = 1.0,
) -> Tensor:
    """Paper 3's TIES: only the vectors of smaller weight are trimmed, and only they give way.

    Where a secondary vector's entry disagrees with the elected sign (of the weighted sum after trimming) it is set to
    zero, or with `conflicts="flip"` turned to that sign. Vectors of equally large weight are all primary.
    """
    if conflicts not in CONFLICTS:
        raise InputError(f"conflicts = {conflicts!r}; {nearest(conflicts, CONFLICTS)}")
    largest = max(abs(weight) for weight in weights)
    primary = [abs(weight) == largest for weight in weights]
    parts = [
        weight * (vector if first else trim(vector, density))
        for vector, weight, first in zip(vectors, weights, primary, strict=True)
    ]
    elected = torch.sign(_sum(parts))
    for place, (part, first) in enumerate(zip(parts, primary, strict=True)):
        if not first:
            parts[place] = part.abs() * elected if conflicts == "flip" else part * (part * elected > 0)
    return base + scale * _sum(parts)


def dare(
    base: Tensor, vectors: Sequence[Tensor], weights: Sequence[float], generator: torch.Generator, *, drop: float = 0.9
) -> Tensor:
    """DARE: drop each entry of a task vector with probability `drop`, rescale the rest by 1 / (1 - drop), then add."""
    if not 0 <= drop < 1:
        raise InputError(f"drop = {drop!r}, expected a probability of at least 0 and below 1")
    merged = base.clone()
    for vector, weight in zip(vectors, weights, strict=True):
        kept = torch.rand(vector.shape, generator=generator) >= drop
        merged += weight * vector * kept / (1.0 - drop)
    return merged


def trim(vector: Tensor, density: float) -> Tensor:
    """`vector` with all but its `density` largest entries (by magnitude) set to zero; ties with the last are kept."""
    if not 0 < density <= 1:
        raise InputError(f"density = {density!r}, expected a share of the entries above 0 and at most 1")
    dropped = vector.numel() - max(1, round(density * vector.numel()))
    if dropped < 1:
        return vector
    magnitude = vector.abs()
    # numpy selects in half the time of torch.kthvalue, which also returns an index for every entry.
    threshold = float(np.partition(magnitude.flatten().numpy(), dropped)[dropped])
    return vector * (magnitude >= threshold)


def _sum(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total
