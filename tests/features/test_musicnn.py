"""musicnn against a plain reading of what TensorFlow computes, in numpy; random weights of the published layout."""

from functools import cache
from pathlib import Path

import bundles
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossfade.errors import InputError
from crossfade.features.musicnn import LAYERS, Musicnn, log_mel, open_musicnn

CPU = torch.device("cpu")
Values = NDArray[np.float64]


@cache
def weights() -> dict[str, Tensor]:
    return bundles.tensors(Musicnn(), LAYERS, seed=0)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.write(tmp_path_factory.mktemp("weights"), weights())


def noise(samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def value(name: str) -> Values:
    return weights()[name].double().numpy()


def normalise(values: Values, number: int) -> Values:
    layer = f"batch_normalization_{number}" if number else "batch_normalization"
    scale = value(f"{layer}/gamma") / np.sqrt(value(f"{layer}/moving_variance") + 1e-3)
    return (values - value(f"{layer}/moving_mean")) * scale + value(f"{layer}/beta")


def convolve(maps: Values, number: int) -> Values:
    """ReLU(Conv2D) and its norm, over (frames, bands), silent before and after: (frames, bands left, out)."""
    layer = f"conv2d_{number}" if number else "conv2d"
    kernel = value(f"{layer}/kernel")[:, :, 0]
    frames, bands, _ = kernel.shape
    padded = np.pad(maps, [((frames - 1) // 2, frames // 2), (0, 0)])
    seen = np.lib.stride_tricks.sliding_window_view(padded, (frames, bands))
    answers = np.einsum("tbyx,yxo->tbo", seen, kernel, optimize=True) + value(f"{layer}/bias")
    return normalise(np.maximum(answers, 0), number + 1)


def expected(mel: Values) -> tuple[Values, Values, Values]:
    """The middle's layers (3, frames, 64), the front (frames, 561) and the tags (50,) of a patch."""
    heard = normalise(mel, 0)
    front = np.concatenate([convolve(heard, number).max(1) for number in range(5)], axis=1)
    first = convolve(front, 5)[:, 0]
    second = first + convolve(first, 6)[:, 0]
    third = second + convolve(second, 7)[:, 0]
    maps = np.concatenate([front, first, second, third], axis=1)
    pooled = normalise(np.stack([maps.max(0), maps.mean(0)], axis=1).reshape(-1), 9)
    hidden = normalise(np.maximum(pooled @ value("dense/kernel") + value("dense/bias"), 0), 10)
    tags = 1 / (1 + np.exp(-(hidden @ value("dense_1/kernel") + value("dense_1/bias"))))
    return np.stack([first, second, third]), front, tags


def test_frames_and_tags_are_those_of_the_published_network(index: Path) -> None:
    frames, tags = open_musicnn("mtt", CPU, weights=index), open_musicnn("msd", CPU, part="tags", weights=index)
    clip = noise(10_000)
    front = open_musicnn("mtt", CPU, part="front", weights=index)
    layers, heard, said = expected(log_mel(clip).double().numpy())
    found = frames.listen([clip])[0]
    assert found.shape == (3, 40, 64)
    torch.testing.assert_close(found, torch.from_numpy(layers).float(), atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(front.listen([clip])[0][0], torch.from_numpy(heard).float(), atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(tags.listen([clip])[0][0, 0], torch.from_numpy(said).float(), atol=1e-5, rtol=0)
    assert (frames.layers, frames.width, frames.frames_per_second, frames.offset) == (3, 64, 62.5, 0.0)
    assert (tags.layers, tags.width, tags.hop) == (1, 50, 187 * 256)
    assert (front.layers, front.width, front.hop, front.parameters) == (1, 561, 256, frames.parameters)
    assert tags.offset == pytest.approx(1.488)
    # 0.79 million, as published; the statistics of the norms are not counted.
    assert frames.parameters == tags.parameters == 787_159
    assert frames.minimum_samples == 257


def test_tags_are_those_of_whole_patches_of_three_seconds(index: Path) -> None:
    signal = open_musicnn("mtt", CPU, part="tags", weights=index)
    clip = noise(2 * 187 * 256 + 9000)  # two patches and a remainder
    found = signal.listen([clip])[0]
    assert found.shape == (1, 2, 50)
    mel = log_mel(clip)
    for patch in range(2):
        said = signal.listen.model.tag(*signal.listen.model(mel[187 * patch : 187 * (patch + 1)]))  # type: ignore[attr-defined]
        torch.testing.assert_close(found[0, patch], said, atol=1e-6, rtol=0)
    assert signal.listen([noise(257)])[0].shape == (1, 1, 50)


def test_clips_together_are_heard_as_if_alone(index: Path) -> None:
    clips = [noise(samples, samples) for samples in (257, 5000, 300)]
    signal = open_musicnn("mtt", CPU, weights=index)
    for clip, found in zip(clips, signal.listen(clips), strict=True):
        assert found.shape == (3, 1 + len(clip) // 256, 64)
        assert torch.equal(found, signal.listen([clip])[0])


def test_the_spectrum_is_librosas() -> None:
    clip = noise(2000)
    reflected = np.pad(clip.double().numpy(), 256, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    powers = np.abs(np.fft.rfft(np.lib.stride_tricks.sliding_window_view(reflected, 512)[::256] * window)) ** 2
    found = log_mel(clip)
    assert found.shape == (8, 96)
    # Slaney's bands lie evenly up to 1 kHz, 200/3 Hz a mel, then by equal ratios, 27 mels to a factor of 6.4.
    top = 15 + 27 * np.log(8) / np.log(6.4)
    mels = np.linspace(0, top, 98)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
    bins = np.arange(257) * 16000 / 512
    for band in (0, 20, 60, 95):
        low, middle, high = edges[band : band + 3]
        triangle = np.clip(np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)), 0, None)
        expected = np.log10(1 + 10_000 * powers @ (triangle * 2 / (high - low)))
        np.testing.assert_allclose(found[:, band].numpy(), expected, atol=1e-4)


def test_silence_is_finite(index: Path) -> None:
    assert bool(open_musicnn("mtt", CPU, weights=index).listen([torch.zeros(4000)])[0].isfinite().all())


def test_other_weights_and_a_missing_package_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = bundles.write(tmp_path, weights() | {"dense_1/kernel": torch.zeros(200, 40)})
    with pytest.raises(InputError, match=r"tensor tags\.weight has shape \(40, 200\), expected \(50, 200\)"):
        open_musicnn("mtt", CPU, weights=other)
    monkeypatch.setattr("crossfade.features.weights.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"musicnn/MSD_musicnn/\.index: .* pip install --no-deps 'musicnn==0\.1\.0'"):
        open_musicnn("msd", CPU)
