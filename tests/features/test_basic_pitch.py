"""basic-pitch against a plain reading of what TensorFlow computes, in numpy; random weights of the published layout."""

from functools import cache
from pathlib import Path

import bundles
import numpy as np
import pytest
import scipy.signal
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossfade.errors import InputError
from crossfade.features.basic_pitch import (
    FRAMES,
    LAYERS,
    WINDOW,
    BasicPitch,
    BasicPitchListener,
    harmonics,
    normalised_log,
    open_basic_pitch,
)

CPU = torch.device("cpu")
Values = NDArray[np.float64]


@cache
def weights() -> dict[str, Tensor]:
    return bundles.tensors(BasicPitch(), LAYERS, seed=0)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.write(tmp_path_factory.mktemp("weights"), weights(), name="variables")


def noise(samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def read(layer: str) -> dict[str, Values]:
    """A layer's tensors as TensorFlow holds them, by its names for them."""
    return {
        part: weights()[LAYERS[layer].format(part)].double().numpy()
        for part in ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
        if LAYERS[layer].format(part) in weights()
    }


def convolve(maps: Values, layer: str, stride: int = 1) -> Values:
    """TensorFlow's Conv2D, padding "SAME", over (frames, bins, in), with a stride over bins."""
    kernel, bias = read(layer)["kernel"], read(layer)["bias"]
    height, width = kernel.shape[:2]
    bins = -(-maps.shape[1] // stride)
    spare = max(0, (bins - 1) * stride + width - maps.shape[1])
    padded = np.pad(maps, [((height - 1) // 2, height // 2), (spare // 2, spare - spare // 2), (0, 0)])
    seen = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (0, 1))[:, ::stride]
    return np.einsum("tbiyx,yxio->tbo", seen, kernel, optimize=True) + bias


def normalise(maps: Values, layer: str) -> Values:
    found = read(layer)
    return (maps - found["moving_mean"]) / np.sqrt(found["moving_variance"] + 1e-3) * found["gamma"] + found["beta"]


def sigmoid(values: Values) -> Values:
    return 1 / (1 + np.exp(-values))


def spectrum(window: Values) -> Values:
    """The constant-Q magnitudes (172, 309) of a window, an octave at a time from the top."""
    quality = 1 / (2 ** (1 / 36) - 1)
    every = 27.5 * 2 ** (np.arange(309) / 36)
    lengths = np.ceil(quality * 22050 / every)
    lowpass = scipy.signal.firwin2(256, [0, 0.5 / 1.001, 0.5 * 1.001, 1], [1, 1, 0, 0])
    found = np.zeros((309, 172))
    for octave in range(9):
        padded = np.pad(window, 128, mode="reflect")
        for row in range(273, 309):
            length = int(lengths[row])
            kernel = np.zeros(256, complex)
            start = int(np.ceil(128 - length / 2)) - length % 2
            times = np.arange(-((length + 1) // 2), length // 2)
            shape = scipy.signal.get_window("hann", length)
            kernel[start : start + length] = shape * np.exp(2j * np.pi * every[row] / 22050 * times)
            if row - 36 * octave >= 0:
                heard = np.lib.stride_tricks.sliding_window_view(padded, 256)[:: 256 // 2**octave]
                found[row - 36 * octave] = np.abs(heard @ kernel) / shape.sum()
        window = np.convolve(np.pad(window, 127), lowpass[::-1], mode="valid")[::2]
    return (found * np.sqrt(lengths)[:, None]).T


def expected(window: Values) -> Values:
    """(172, 440) of a window of sound."""
    decibels = 10 * np.log10(spectrum(window) ** 2 + 1e-10)
    scaled = (decibels - decibels.min()) / (decibels.max() - decibels.min())
    bins = normalise(scaled[..., None], "input_norm")[..., 0]
    stacked = np.zeros((172, 264, 8))
    for channel, harmonic in enumerate((0.5, 1, 2, 3, 4, 5, 6, 7)):
        for bin_ in range(264):
            above = bin_ + round(36 * np.log2(harmonic))
            if 0 <= above < 309:
                stacked[:, bin_, channel] = bins[:, above]
    hidden = np.maximum(normalise(convolve(stacked, "contour_hidden"), "contour_norm"), 0)
    contour = sigmoid(convolve(hidden, "contour"))
    note = sigmoid(convolve(np.maximum(convolve(contour, "note_hidden", stride=3), 0), "note"))
    begins = np.maximum(normalise(convolve(stacked, "onset_hidden", stride=3), "onset_norm"), 0)
    onset = sigmoid(convolve(np.concatenate([note, begins], axis=2), "onset"))
    return np.concatenate([note, onset, contour], axis=1)[..., 0]


def test_a_window_gives_what_the_published_network_gives(index: Path) -> None:
    signal = open_basic_pitch(CPU, index)
    clip = noise(WINDOW - 15 * 256)
    window = np.pad(clip.double().numpy(), (15 * 256, 0))
    found = signal.listen([clip])[0]
    assert found.shape == (1, 157, 440)
    torch.testing.assert_close(found[0, :142], torch.from_numpy(expected(window)).float()[15:157], atol=2e-6, rtol=0)
    assert (signal.rate, signal.layers, signal.width, signal.offset) == (22050, 1, 440, 0.0)
    assert signal.frames_per_second == pytest.approx(86.13, abs=0.01)
    assert signal.parameters == 16_782  # as published: "16,782 parameters"
    assert float(found.std()) > 0.05


@pytest.mark.parametrize("samples", [1, 256, 257, 36_352, 36_353, 110_000])
def test_frame_i_is_that_of_sample_256_i_however_many_windows(samples: int) -> None:
    def first_of_each_hop(windows: Tensor) -> Tensor:
        return windows[:, ::256, None]

    (found,) = BasicPitchListener(first_of_each_hop)([torch.arange(1.0, samples + 1)])  # type: ignore[arg-type]
    assert found.shape[1] == -(-samples // 256)
    assert torch.equal(found[0, :, 0], torch.arange(1.0, samples + 1, 256))


def test_clips_together_are_heard_as_if_alone(index: Path) -> None:
    signal = open_basic_pitch(CPU, index)
    clips = [noise(samples, samples) for samples in (3000, 50_000, 1)]
    for clip, found in zip(clips, signal.listen(clips), strict=True):
        assert torch.equal(found, signal.listen([clip])[0])


def test_a_tone_is_strongest_in_its_bin() -> None:
    times = torch.arange(WINDOW, dtype=torch.float64) / 22050
    numbers = (60, 144, 200, 308)  # of a tone's bin: 27.5 Hz are bin 0, an octave has 36
    tones = torch.stack([(2 * torch.pi * 27.5 * 2 ** (number / 36) * times).sin() for number in numbers])
    heard = BasicPitch().constant_q(tones.float())
    assert heard.shape == (len(numbers), FRAMES, 309)
    assert heard[:, FRAMES // 2].argmax(1).tolist() == list(numbers)


def test_a_scale_of_decibels_reaches_from_0_to_1() -> None:
    found = normalised_log(torch.tensor([[[1.0, 0.1], [0.01, 0.0]], [[3.0, 3.0], [3.0, 3.0]]], dtype=torch.float64))
    torch.testing.assert_close(found[0].float(), torch.tensor([[1.0, 0.8], [0.6, 0.0]]), atol=1e-3, rtol=0)
    assert torch.equal(found[1], torch.zeros(2, 2, dtype=torch.float64))


def test_harmonics_of_a_bin_meet_in_one_place() -> None:
    bins = torch.zeros(1, 1, 1, 309)
    bins[..., 100] = 1.0
    stacked = harmonics(bins)
    assert stacked.shape == (1, 8, 1, 264)
    # Heard at the first harmonic in place, at the half an octave above, at the seventh 101 bins below: out of sight.
    assert stacked[0, :, 0].argmax(1).tolist()[:7] == [136, 100, 64, 43, 28, 16, 7]
    assert stacked.sum((2, 3)).tolist() == [[1.0] * 7 + [0.0]]


def test_silence_is_finite(index: Path) -> None:
    assert bool(open_basic_pitch(CPU, index).listen([torch.zeros(9000)])[0].isfinite().all())


def test_other_weights_are_refused(tmp_path: Path) -> None:
    name = LAYERS["note"].format("kernel")
    other = bundles.write(tmp_path / "other", weights() | {name: torch.zeros(7, 5, 32, 1)})
    with pytest.raises(InputError, match=r"tensor note\.weight has shape \(1, 32, 7, 5\), expected \(1, 32, 7, 3\)"):
        open_basic_pitch(CPU, other)
    fewer = {key: value for key, value in weights().items() if key != name}
    with pytest.raises(InputError, match=r"tensor 'layer_with_weights-7/kernel/.*' is missing; the file is damaged"):
        open_basic_pitch(CPU, bundles.write(tmp_path / "fewer", fewer))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfade.features.weights.find_spec", lambda _: None)
    with pytest.raises(
        InputError, match=r"basic_pitch is not installed; .* pip install --no-deps 'basic-pitch==0\.4\.0'"
    ):
        open_basic_pitch(CPU)
