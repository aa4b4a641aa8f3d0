"""Closed-form solutions for one linear layer, from the moments of what flows through it.

`regression` is our step past the papers, grown out of RegMean (2212.09849): fed with what the already merged lower
layers give, a layer should return what REFERENCE's layer returns on REFERENCE's audio and what the aligned OTHER's
returns on OTHER's. `rescale` is REPAIR (2211.08403) read for two domains: it restores the spread that averaging lost.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from crossfade.errors import InputError


def with_one(inputs: Tensor) -> Tensor:
    """Frames (frames, in) with a constant 1 appended, for the bias: (frames, in + 1)."""
    return torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1)


@dataclass
class LayerMoments:
    """Weighted second moments of a layer's inputs x (with a constant 1 appended) and its errors e, float64.

    An error is what is wanted of the layer less what it returns as it is: a layer that needs no change has none, and is
    then left alone to the last bit. gram (in + 1, in + 1) = sum x xᵀ, cross (out, in + 1) = sum e xᵀ, squares (out,) =
    sum e²; the last column of `cross` sums e itself.
    """

    gram: Tensor
    cross: Tensor
    squares: Tensor

    @classmethod
    def zeros(cls, out: int, into: int, device: torch.device) -> "LayerMoments":
        options: dict[str, Any] = {"dtype": torch.float64, "device": device}
        size = into + 1
        return cls(torch.zeros(size, size, **options), torch.zeros(out, size, **options), torch.zeros(out, **options))

    @classmethod
    def of_change(cls, gram: Tensor, change: Tensor) -> "LayerMoments":
        """Of a layer of which nothing is wanted but other weights: `change` (out, in + 1) is how far they are."""
        cross = change @ gram
        return cls(gram, cross, (cross * change).sum(1))

    def add(self, inputs: Tensor, errors: Tensor, weight: float) -> None:
        """Add frames: inputs (frames, in) and errors (frames, out), each counting `weight`."""
        inputs = with_one(inputs)
        self.gram.add_((inputs.T @ inputs).double(), alpha=weight)
        self.cross.add_((errors.T @ inputs).double(), alpha=weight)
        self.squares.add_(errors.square().sum(0, dtype=torch.float64), alpha=weight)

    def mean(self) -> "LayerMoments":
        """The moments divided by the total weight of the frames."""
        total = self.gram[-1, -1]
        return LayerMoments(self.gram / total, self.cross / total, self.squares / total)


def blend(reference: LayerMoments, other: LayerMoments, share: float) -> LayerMoments:
    """Mean moments of both domains, REFERENCE's counting `share` and OTHER's the rest, however much each has heard."""
    ours, theirs = reference.mean(), other.mean()
    pairs = ((getattr(ours, name), getattr(theirs, name)) for name in ("gram", "cross", "squares"))
    return LayerMoments(*(torch.lerp(b, a, share) for a, b in pairs))


Solution = tuple[Tensor, Tensor | None]
Solver = Callable[..., Solution]


def regression(moments: LayerMoments, weight: Tensor, bias: Tensor | None, *, ridge: float = 0.1) -> Solution:
    """The weight (out, in) and bias (out,) with the least squared error, drawn towards the given (merged) ones.

    Minimises mean |W x + b - y|² + ridge * mean(diag(gram)) * (|W - weight|² + |b - bias|²). A layer without bias gets
    none. `ridge` is relative to the mean power of the inputs, above 0.
    """
    if not ridge > 0:
        raise InputError(f"ridge = {ridge!r}, expected a number above 0; 0.1 is the default")
    columns = slice(None) if bias is not None else slice(-1)
    gram, cross = moments.gram[columns, columns], moments.cross[:, columns]
    pull = ridge * moments.gram.diagonal()[:-1].mean()
    damped = gram + pull * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    step = torch.linalg.solve(damped, cross.T).T.to(weight.dtype)
    return (weight + step[:, :-1], bias + step[:, -1]) if bias is not None else (weight + step, None)


def rescale(moments: LayerMoments, weight: Tensor, bias: Tensor | None) -> Solution:
    """Scale (and, with a bias, shift) every output channel to the mean and deviation of the wanted outputs.

    A channel that stays still, in the merged model or in what is wanted, is left as it is.
    """
    full = torch.cat([weight, bias[:, None] if bias is not None else weight.new_zeros(len(weight), 1)], dim=1).double()
    mean = full @ moments.gram[:, -1]
    power = ((full @ moments.gram) * full).sum(1)
    wanted_mean = mean + moments.cross[:, -1]
    wanted_power = power + 2 * (moments.cross * full).sum(1) + moments.squares
    spread, wanted_spread = power - mean.square(), wanted_power - wanted_mean.square()
    still = (spread <= 1e-12) | (wanted_spread <= 1e-12)
    scale = torch.where(still, 1.0, (wanted_spread / spread.clamp_min(1e-12)).clamp_min(0).sqrt())
    scaled = (weight.double() * scale[:, None]).to(weight.dtype)
    if bias is None:
        return scaled, None
    shifted = torch.where(still, bias.double(), (bias.double() - mean) * scale + wanted_mean)
    return scaled, shifted.to(weight.dtype)
