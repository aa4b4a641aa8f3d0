"""Weights stored as whole numbers are no weights."""

from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from crossfade.encoders.encoder import open_encoder
from crossfade.errors import InputError
from crossfade.vectors.vector import copy_encoder


@pytest.mark.parametrize(
    ("name", "tensor", "dtype", "message"),
    [
        ("hubert", "encoder.layers.0.attention.q_proj.weight", torch.int32, "stored as torch.int32, expected float32"),
        (
            "hubert-batch-norm",
            "encoder.pos_conv_embed.batch_norm.num_batches_tracked",
            torch.float32,
            "stored as torch.float32, expected whole numbers",
        ),
    ],
)
def test_another_kind_of_number_is_refused(
    name: str, tensor: str, dtype: torch.dtype, message: str, tmp_path: Path
) -> None:
    folder = tiny.folder(tmp_path / "model", name, 1)
    tensors = load_file(folder / "model.safetensors")
    tensors[tensor] = tensors[tensor].to(dtype)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=f"tensor {tensor} is {message}"):
        open_encoder(folder)


@pytest.mark.parametrize("part", ["original0", "original1"])
def test_a_copy_that_its_dtype_cannot_hold_is_refused(tmp_path: Path, part: str) -> None:
    """Magnitude and direction of a weight norm, which are copied as they are stored, like all else."""
    folder = tiny.folder(tmp_path / "model", "hubert", 1)
    tensors = load_file(folder / "model.safetensors")
    name = f"encoder.pos_conv_embed.conv.parametrizations.weight.{part}"
    tensors[name][0, 0, 0] = 1e6
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (tmp_path / "copy").mkdir()
    with pytest.raises(InputError, match=f"tensor {name} would hold 1e\\+06, which float16 cannot"):
        copy_encoder(open_encoder(folder), tmp_path / "copy", torch.float16)
