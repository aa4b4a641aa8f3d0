"""Inputs stored in unusual ways still become folders that load as they should."""

import shutil
from pathlib import Path

import pytest
import soundfile
import tiny
import torch
from folders import assert_equal_weights, loaded, mixed, weights
from safetensors.torch import load_file, save_file

from crossfade.merging import merge

CONV = "encoder.pos_conv_embed.conv"
PARTS = [f"{CONV}.parametrizations.weight.original{part}" for part in (0, 1)]


def test_a_plain_positional_weight_is_written_as_the_model_class_keeps_it(
    hubert: tuple[Path, Path], tmp_path: Path
) -> None:
    plain = Path(shutil.copytree(hubert[0], tmp_path / "plain"))
    tensors = load_file(plain / "model.safetensors")
    magnitude, direction = (tensors.pop(part) for part in PARTS)
    tensors[f"{CONV}.weight"] = torch._weight_norm(direction, magnitude, 2)
    save_file(tensors, plain / "model.safetensors", {"format": "pt"})
    made = merge(plain, hubert[1], tmp_path / "out", align="none", weight=0.5)
    assert_equal_weights(weights(loaded(made.path)), mixed(hubert, lambda _: 0.5))


@pytest.mark.parametrize(
    ("asked", "stored", "stated"), [(None, "float16", "float32"), ("bfloat16", "bfloat16", "bfloat16")]
)
def test_what_config_states_stays_unless_a_dtype_is_asked_for(
    asked: str | None, stored: str, stated: str, hubert: tuple[Path, Path], tmp_path: Path
) -> None:
    small = Path(shutil.copytree(hubert[0], tmp_path / "small"))
    halves = {name: value.half() for name, value in load_file(small / "model.safetensors").items()}
    save_file(halves, small / "model.safetensors", {"format": "pt"})
    tiny.edit_config(small, dtype="float32")
    made = merge(small, hubert[1], tmp_path / "out", align="none", dtype=asked)
    found = load_file(made.path / "model.safetensors")
    assert {str(value.dtype) for value in found.values()} == {f"torch.{stored}"}
    assert loaded(made.path, dtype="auto").dtype == getattr(torch, stated)


def test_sounds_that_cannot_be_used_are_told(
    hubert: tuple[Path, Path], sounds: tuple[Path, Path], tmp_path: Path
) -> None:
    mixed_up = Path(shutil.copytree(sounds[0], tmp_path / "mixed"))
    (mixed_up / "broken.wav").write_bytes(b"RIFF nothing")
    soundfile.write(mixed_up / "silent.wav", torch.zeros(4000).numpy(), 16000)
    words = {"reference_audio": mixed_up, "other_audio": sounds[1], "weight": 0.5}
    made = merge(*hubert, tmp_path / "out", method="regression", **words)
    told = [note for note in made.notes if note.startswith("not heard: ")]
    assert len(told) == 2
    assert "broken.wav" in told[0] + told[1]
    assert "silent: RMS 0.0e+00" in told[0] + told[1]
    again = merge(*hubert, tmp_path / "again", alignment=made.path)
    assert again.alignment is not None
    assert len(again.alignment.skipped) == 2
