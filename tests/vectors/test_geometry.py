"""Barriers and CKA: none of the first and all of the second between copies, whatever the order of channels."""

from pathlib import Path

import pytest
import tiny
import torch

from crossfade.alignment.permutations import invert, permute, random_permutations
from crossfade.encoders.encoder import EncoderWriter, open_encoder
from crossfade.vectors.geometry import cka, geometry

POINTS = ("conv", "feed_forward", "attention")


def test_a_scrambled_copy_has_a_barrier_that_alignment_removes(tmp_path: Path) -> None:
    encoder = open_encoder(tiny.folder(tmp_path / "one", "hubert", 1))
    scramble = random_permutations(encoder.layout, POINTS, torch.Generator().manual_seed(0))
    (tmp_path / "two").mkdir()
    specs = encoder.layout.tensors.items()
    EncoderWriter(tmp_path / "two", encoder, torch.float32).write_all(
        (name, permute(encoder.read(name), spec, scramble)) for name, spec in specs
    )
    undone = invert(scramble)
    sounds = [tiny.sounds(tmp_path / "sounds", 0)]
    found = geometry(encoder, open_encoder(tmp_path / "two"), sounds, undone)
    assert found["stages"] == ["conv", "projection", "positions", "layer 0", "layer 1", "layer 2"]
    assert max(map(abs, found["barrier"]["aligned"])) < 1e-6
    assert max(map(abs, found["barrier"]["unaligned"])) > 1e-3
    assert found["cka"]["parents"] == pytest.approx([1.0] * 4, abs=1e-5)
    assert found["cka"]["aligned"] == pytest.approx([1.0] * 4, abs=1e-5)
    assert min(found["cka"]["unaligned"]) < 0.99


def test_cka() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(400, size, generator=generator) for size in (6, 8))
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q
    assert cka(one, 3 * one @ turn + 2) == pytest.approx(1.0, abs=1e-6)
    assert cka(one, other) == pytest.approx(cka(other, one))
    assert cka(one, other) < 0.1
