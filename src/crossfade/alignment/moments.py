"""Streaming moments of two models' channels: what correlation matching knows of the data.

Sums are additive, so batches, processes and machines can be added in any order. Every chunk is centred by its own mean
before products are taken (Chan's parallel formula), which keeps channels with a large mean and a small variance
accurate: products then stay in the activations' dtype, half the memory of float64, and means and squares in float64.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class CrossMoments:
    """Means, variances and cross-covariance of paired frames a (frames, size) and b (frames, size).

    `squares_*` and `products` are central sums (not divided by the number of frames).
    """

    frames: int
    mean_a: Tensor
    mean_b: Tensor
    squares_a: Tensor
    squares_b: Tensor
    products: Tensor

    @classmethod
    def of(cls, a: Tensor, b: Tensor) -> "CrossMoments":
        """Moments of one chunk of frames; a and b hold the same moments of the same audio, row by row."""
        mean_a, mean_b = a.mean(0, dtype=torch.float64), b.mean(0, dtype=torch.float64)
        centred_a, centred_b = a - mean_a.to(a.dtype), b - mean_b.to(b.dtype)
        squares_a = centred_a.square().sum(0, dtype=torch.float64)
        squares_b = centred_b.square().sum(0, dtype=torch.float64)
        return cls(len(a), mean_a, mean_b, squares_a, squares_b, centred_a.T @ centred_b)

    def add(self, other: "CrossMoments") -> None:
        """Add the moments of other frames, in place; none at all change nothing."""
        if other.frames == 0:
            return
        total = self.frames + other.frames
        share = self.frames * other.frames / total
        gap_a, gap_b = other.mean_a - self.mean_a, other.mean_b - self.mean_b
        self.products.add_(other.products).addr_(gap_a.to(self.products), gap_b.to(self.products), alpha=share)
        self.squares_a += other.squares_a + share * gap_a.square()
        self.squares_b += other.squares_b + share * gap_b.square()
        self.mean_a += gap_a * (other.frames / total)
        self.mean_b += gap_b * (other.frames / total)
        self.frames = total

    def correlation(self) -> Tensor:
        """Pearson correlation (size, size) in [-1, 1] of every channel of a with every channel of b.

        A channel that never moves correlates with nothing: its row or column is 0.
        """
        scale_a = torch.where(self.squares_a > 0, self.squares_a.rsqrt(), 0.0)
        scale_b = torch.where(self.squares_b > 0, self.squares_b.rsqrt(), 0.0)
        return (self.products * scale_a[:, None] * scale_b).clamp_(-1.0, 1.0)
