"""Students of a base, as training would leave them."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from crossfade.encoders.encoder import open_encoder


def say_base(student: Path, base: Path) -> None:
    """What `crossfade distill` writes of a student that starts from a base."""
    told = {"start": "base", "sources": [{"name": str(base), "sha256": open_encoder(base).sha256}]}
    (student / "crossfade.json").write_text(json.dumps({"student": told}))


def student_of(base: Path, path: Path, seed: int, *, amount: float = 0.1) -> Path:
    """`base`, its weights moved at random, with zeros of both signs among them."""
    shutil.copytree(base, path)
    generator = torch.Generator().manual_seed(seed)
    tensors = load_file(base / "model.safetensors")
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            moved = tensor.float() + amount * torch.randn(tensor.shape, generator=generator)
            if "original0" not in name:  # a kernel position of norm 0 has no direction
                moved.view(-1)[0] = -0.0
            tensors[name] = moved.to(tensor.dtype)
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    say_base(path, base)
    return path


def halved(folder: Path, path: Path, dtype: torch.dtype = torch.float16) -> Path:
    """The same model in another dtype."""
    shutil.copytree(folder, path)
    tensors = load_file(folder / "model.safetensors")
    halves = {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}
    save_file(halves, path / "model.safetensors", {"format": "pt"})
    return path
