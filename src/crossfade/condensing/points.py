"""Labelled points in an encoder's feature space, and the file that they travel in."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from crossfade.errors import InputError
from crossfade.probing.results import require_free

Prior = Literal["balanced", "original"]
KEY = "crossfade"
"""Of the file's metadata: JSON with `classes` (names) and what the points are of."""


@dataclass(frozen=True)
class Points:
    """Features (points, width) float32 of `classes` (points,), places in `names`; `about`: encoder, layer and more."""

    features: Tensor
    classes: Tensor
    names: tuple[str, ...]
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """What the features take."""
        return self.features.nbytes


def budget(per_class: int, sizes: Sequence[int], prior: Prior) -> Tensor:
    """How many points each class gets (classes,), `per_class` times the classes in all.

    Balanced: each the same. Original: in proportion to `sizes`, the real clips of each, at least one, rounded so that
    the sum is kept (largest remainder). Raises InputError for less than one.
    """
    if per_class < 1:
        raise InputError(f"--per-class {per_class}: expected 1 point or more")
    if prior == "balanced":
        return torch.full((len(sizes),), per_class)
    free = (per_class - 1) * len(sizes)  # beyond the one that each has
    shares = torch.tensor(sizes, dtype=torch.float64) * (per_class * len(sizes) / sum(sizes)) - 1
    wanted = shares.clamp_min(0)
    wanted = wanted * (free / wanted.sum()) if free else wanted * 0
    found = wanted.floor().long()
    left = free - int(found.sum())
    found[(wanted - found).argsort(descending=True, stable=True)[:left]] += 1
    return found + 1


def write_points(path: str | Path, points: Points, *, overwrite: bool = False) -> None:
    """Write `points` as safetensors, whole or not at all. Raises InputError: `path` exists and `overwrite` is false."""
    path = Path(path)
    require_free(path, overwrite=overwrite)
    about = json.dumps({**points.about, "classes": list(points.names)})
    tensors = {"features": points.features.contiguous(), "classes": points.classes.contiguous()}
    draft = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(save(tensors, {KEY: about}))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_points(path: str | Path) -> Points:
    """What `write_points` wrote. Raises InputError for what is no such file."""
    wanted = "expected a file of `crossfade distill-data sample`"
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})[KEY])
            features, classes = file.get_tensor("features"), file.get_tensor("classes")
        names = tuple(about.pop("classes"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {wanted}") from None
    except KeyError:
        raise InputError(f"{path}: is no points file; {wanted}") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())[:120]}); {wanted}") from None
    if features.ndim != 2 or classes.shape != features.shape[:1] or not features.isfinite().all():
        raise InputError(f"{path}: features {tuple(features.shape)} and classes {tuple(classes.shape)} that are no "
                         f"finite row and class of every point; {wanted}")  # fmt: skip
    return Points(features, classes, names, about)
