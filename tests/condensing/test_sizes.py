"""A generator takes no more than its share of the data, as far as it can still vary."""

import hashlib
import json
from pathlib import Path

import torch

from crossfade.condensing.artefact import WEIGHTS, read_generator, rounded, write_weights
from crossfade.condensing.gan import Generator, draw_weights
from crossfade.condensing.material import Material
from crossfade.condensing.settings import Settings
from crossfade.condensing.sizes import HEADER, bytes_of, fitting
from crossfade.encoders.sidecars import RECORD


def test_bytes_are_those_of_the_file(tmp_path: Path) -> None:
    rows, classes = torch.zeros(9, 20), torch.arange(9) % 3
    material = Material(rows, classes, rows, classes, ("a", "b", "c"), torch.zeros(20), torch.ones(20))
    write_weights(tmp_path, rounded(Generator(6, 5, 20, 3)), material)
    assert abs((tmp_path / WEIGHTS).stat().st_size - bytes_of(6, 5, 20, 3)) < HEADER / 2


def test_as_large_as_the_share_allows() -> None:
    settings = Settings(noise=48, hidden=16, share=0.05)
    assert fitting(settings, 3000, 192, 8) == (48, 16)
    noise, hidden = fitting(settings, 290, 192, 8)
    assert 4 < noise < 48
    assert hidden == round(noise / 3)
    assert bytes_of(noise, hidden, 192, 8) <= 0.05 * 4 * 290 * 192 < bytes_of(noise + 1, hidden + 1, 192, 8)


def test_noise_does_not_fall_below_four_unless_asked_for() -> None:
    assert fitting(Settings(), 20, 192, 2) == (4, 1)
    assert fitting(Settings(noise=2, hidden=8), 20, 192, 2) == (2, 8)


def test_stored_weights_are_those_that_were_measured(tmp_path: Path) -> None:
    """Rounding is a matter of once, and within half a step of 2 ** -6 or less of the largest weight."""
    random = torch.Generator().manual_seed(0)
    generator = Generator(6, 5, 20, 3)
    draw_weights(generator, random)
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    once = {name: tensor.clone() for name, tensor in rounded(generator).state_dict().items()}
    again = rounded(generator).state_dict()
    for name, tensor in before.items():
        assert torch.equal(once[name], again[name])
        assert (once[name] - tensor).abs().max() <= tensor.abs().max() / 127
    rows, classes = torch.zeros(9, 20), torch.arange(9) % 3
    material = Material(rows, classes, rows, classes, ("a", "b", "c"), torch.zeros(20), torch.ones(20))
    write_weights(tmp_path, generator, material)
    sha256 = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    (tmp_path / RECORD).write_text(json.dumps({"sha256": sha256}))
    read = read_generator(tmp_path).generator.state_dict()
    assert all(torch.equal(read[name], tensor) for name, tensor in once.items())
