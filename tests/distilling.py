"""A distillation small enough for a test: sounds of two domains, a random teacher, a student of 6,000 weights."""

import json
from pathlib import Path
from typing import Any

import tiny
import torch
from safetensors.torch import load_file
from torch import Tensor

from crossfade.distillation.recipe import DistilRecipe

SHAPE: dict[str, Any] = {
    "width": 24,
    "layers": 1,
    "heads": 2,
    "feed_forward": 16,
    "conv_channels": [8, 8, 8],
    "conv_kernels": [10, 3, 2],
    "conv_strides": [5, 4, 2],
    "position_kernel": 8,
    "position_groups": 2,
}
STRIDE, FIELD = 40, 10 + 2 * 5 + 1 * 20


def materials(home: Path) -> Path:
    """Folders `speech` and `music`, whose manifest tells licences, and a `teacher`."""
    tiny.sounds(home / "speech", 0, clips=6, seconds=0.7)
    tiny.sounds(home / "music", 1, clips=6, seconds=0.5)
    names = sorted(path.name for path in (home / "music").iterdir())
    rows = [{"path": name, "licence": licence} for name, licence in zip(names, ["CC0-1.0"] * 4 + ["MIT"], strict=False)]
    (home / "music" / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tiny.folder(home / "teacher", "hubert", 1)
    return home


def told(home: Path, **changes: Any) -> dict[str, Any]:
    """What a recipe's file says; `training` is added to what is here, other keys replace it."""
    said: dict[str, Any] = {
        "student": {"shape": SHAPE},
        "teachers": [{"model": str(home / "teacher"), "layers": [1, 3]}, {"model": "logmel", "domain": "music"}],
        "data": [
            {"source": str(home / "speech"), "domain": "speech"},
            {"source": str(home / "music"), "domain": "music"},
        ],
    }
    training = {"steps": 4, "batch_seconds": 1, "crop_seconds": 0.4, "save_steps": 2, "workers": 0, "rate": 1e-3}
    return said | changes | {"training": training | changes.get("training", {})}


def recipe(home: Path, **changes: Any) -> DistilRecipe:
    return DistilRecipe.model_validate(told(home, **changes))


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def furthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference of any weight."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
