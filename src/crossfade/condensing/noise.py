"""Noise whose chance is evened out: what few points say of a class is then what the generator knows, not luck.

Points drawn one by one scatter around their class's mean, and so does the mean of ten of them; a classifier learns
that scatter. Drawing all points of a class together lets it be taken out. Our choice: paper 5 (arXiv 2406.02963) says
nothing of how its noise is drawn.
"""

import torch
from torch import Tensor


def even_noise(classes: Tensor, channels: int, random: torch.Generator) -> Tensor:
    """Noise (rows, channels) for points of `classes` (rows,): over a class's rows its mean is 0, its covariance 1.

    A class of no more rows than channels cannot vary along all of them: its noise lies in a subspace drawn by chance,
    with the total variance kept. A class of one row gets zeros: its point is what the generator has in the middle.
    """
    made = torch.empty(len(classes), channels)
    for number in sorted({*classes.tolist()}):
        own = classes == number
        made[own] = _evened(torch.randn(int(own.sum()), channels, generator=random))
    return made


def _evened(noise: Tensor) -> Tensor:
    rows, channels = noise.shape
    free = min(rows - 1, channels)
    centred = (noise - noise.mean(0)).double()
    if not free:
        return torch.zeros_like(noise)
    values, axes = torch.linalg.eigh(centred.T @ centred / rows)
    scale = (channels / free) ** 0.5 / values[-free:].sqrt()
    kept = axes[:, -free:]
    evened: Tensor = centred @ (kept * scale) @ kept.T
    return evened.to(noise.dtype)
