"""Weights stored as whole numbers are no weights."""

from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from crossfade.encoders.encoder import open_encoder
from crossfade.errors import InputError


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
