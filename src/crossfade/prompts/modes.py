"""What is heard in the place of tuned prompts at inference: vectors (layers, count, width) in, vectors or none out."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from crossfade.errors import InputError

MODES = ("keep", "remove", "random", "shuffled", "swapped", "interpolated")


def keep(vectors: Tensor) -> Tensor:
    """The prompts as they were tuned."""
    return vectors


def remove(_: Tensor) -> None:
    """None at all: the frozen encoder as it is, under the head that learned with prompts."""


def random(vectors: Tensor, seed: int) -> Tensor:
    """Vectors of random directions, each as long as the one that it replaces."""
    drawn = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(seed)).to(vectors)
    matched: Tensor = normalize(drawn, dim=-1) * vectors.norm(dim=-1, keepdim=True)
    return matched


def shuffled(vectors: Tensor, seed: int) -> Tensor:
    """The same vectors in another order, one order for all layers.

    An encoder without relative positions in its attention hears no difference in prompts that are placed after
    positional information: they have no order there. WavLM has relative positions in its attention.
    """
    return vectors[:, torch.randperm(vectors.shape[1], generator=torch.Generator().manual_seed(seed))]


def swapped(vectors: Tensor, other: Tensor) -> Tensor:
    """Those of other prompts, of another noise say. Raises InputError unless they have the same shape."""
    _require_alike(vectors, other)
    return other


def interpolated(vectors: Tensor, other: Tensor, share: float) -> Tensor:
    """(1 - share) * vectors + share * other; exactly either at the ends. Raises InputError as `swapped`."""
    _require_alike(vectors, other)
    return torch.lerp(vectors, other.to(vectors), share)


def _require_alike(vectors: Tensor, other: Tensor) -> None:
    if vectors.shape != other.shape:
        own, theirs = ("x".join(map(str, each.shape)) for each in (vectors, other))
        raise InputError(f"prompts: {theirs} cannot take the place of {own} (layers x count x width); expected as many")
