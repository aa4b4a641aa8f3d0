"""Clips of unequal length in one batch against each of them alone through transformers."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import AutoModel

from crossfade.encoders.encoder import open_encoder
from crossfade.encoders.model import load_model
from crossfade.encoders.sidecars import normalise
from crossfade.probing import padded
from crossfade.probing.padded import PaddedEncoder, fold_group_norm, pad_frames, split_layers

FIELD = 40
"""Samples of one frame of the tiny CNN."""

Both = tuple[PaddedEncoder, Callable[[Tensor], Tensor]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Both]:
    """`models(name)`: ours, and transformers' hidden states (layers, frames, width) of one clip."""
    root = tmp_path_factory.mktemp("padded")
    return cache(lambda name: both(tiny.folder(root / name, name, seed=1)))


def both(folder: Path) -> Both:
    encoder = open_encoder(folder)
    theirs = AutoModel.from_pretrained(folder).eval()

    @torch.inference_mode()
    def alone(clip: Tensor) -> Tensor:
        heard = normalise(clip, encoder.preprocessing)[None]
        return torch.stack(theirs(heard, output_hidden_states=True).hidden_states)[:, 0]

    return PaddedEncoder(load_model(encoder), encoder.layout, encoder.preprocessing), alone


def clips(lengths: Sequence[int], seed: int = 0) -> list[Tensor]:
    """Noise of these lengths, each of another level and off centre by another amount."""
    return [
        (number + 1) * tiny.waveform(seed + number, 1, length)[0] + number - 1 for number, length in enumerate(lengths)
    ]


def assert_alone(found: Sequence[Tensor], heard: Sequence[Tensor], alone: Callable[[Tensor], Tensor]) -> None:
    for clip, layers in zip(heard, found, strict=True):
        expected = alone(clip)
        assert layers.shape == expected.shape
        # Relative to the largest: where values reach 20, float32 itself is not better than 1e-5.
        assert float((layers - expected).abs().max()) <= 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("name", tiny.CONFIGS)
@settings(max_examples=6)
@given(lengths=st.lists(st.integers(FIELD, 6000), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_a_batch_is_its_clips_alone(name: str, lengths: list[int], seed: int, models: Callable[[str], Both]) -> None:
    ours, alone = models(name)
    heard = clips(lengths, seed)
    with torch.inference_mode():
        assert_alone(ours(heard), heard, alone)


@pytest.mark.parametrize("normalised", [True, False])
def test_as_the_preprocessor_says(normalised: bool, tmp_path: Path) -> None:
    ours, alone = both(tiny.folder(tmp_path / "m", "hubert", 1, preprocessor={"do_normalize": normalised}))
    heard = clips([900, 2100, 400])
    with torch.inference_mode():
        assert_alone(ours(heard), heard, alone)


def test_padding_as_everyone_pads_changes_every_feature(models: Callable[[str], Both]) -> None:
    """The trap: zeros behind a clip move the statistics that run over time."""
    ours, alone = models("hubert")
    short, long = clips([1000, 3000])
    with torch.inference_mode():
        behind = ours([torch.cat([short, torch.zeros(2000)])])[0][:, : alone(short).shape[1]]
        assert float((behind - alone(short)).abs().mean()) > 0.1
        assert_alone(ours([short, long]), [short, long], alone)


@pytest.mark.parametrize("name", ["hubert", "wav2vec2-stable"])
def test_the_length_of_a_piece_does_not_matter(
    name: str, models: Callable[[str], Both], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, alone = models(name)
    heard = clips([FIELD, 4000, 1999, 1999, 1999, 500, 500, 4000])
    for values in (1, 1_000, 5_000, 1_000_000):
        monkeypatch.setattr(padded, "PIECE_VALUES", {"cpu": values})
        with torch.inference_mode():
            assert_alone(ours(heard), heard, alone)


def test_threads_may_share_it(models: Callable[[str], Both]) -> None:
    ours, alone = models("data2vec-audio")
    batches = [clips([100 + 37 * number, 2000, 900 - number], seed=number) for number in range(24)]

    @torch.inference_mode()
    def listen(heard: list[Tensor]) -> list[Tensor]:
        return ours(heard)

    with ThreadPoolExecutor(4) as pool:
        for heard, found in zip(batches, pool.map(listen, batches), strict=True):
            assert_alone(found, heard, alone)


@pytest.mark.parametrize("bias", [True, False])
@given(samples=st.integers(15, 3000), level=st.floats(0.1, 10), offset=st.floats(-2, 2))
@settings(max_examples=25)
def test_a_folded_norm_is_convolution_and_norm(bias: bool, samples: int, level: float, offset: float) -> None:
    torch.manual_seed(samples)
    conv, norm = nn.Conv1d(1, 6, 10, stride=5, bias=bias), nn.GroupNorm(6, 6)
    with torch.no_grad():
        for value in norm.parameters():
            value.normal_()
        sound = level * torch.randn(samples) + offset
        weight, shift = fold_group_norm(conv, norm, sound)
        found = nn.functional.conv1d(sound[None, None].double(), weight.double(), shift.double(), stride=5)
        expected = norm.double()(conv.double()(sound[None, None].double()))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


def test_frames_side_by_side() -> None:
    rows = [torch.ones(3, 2), torch.ones(1, 2), torch.ones(2, 2)]
    padded_rows, mask = pad_frames(rows)
    assert mask is not None
    assert mask.tolist() == [[True] * 3, [True, False, False], [True, True, False]]
    assert torch.equal(padded_rows, mask[..., None].float().expand(-1, -1, 2))
    assert pad_frames(rows[:1] * 2)[1] is None
    back = split_layers([padded_rows, 2 * padded_rows], rows)
    assert all(torch.equal(layers, torch.stack([row, 2 * row])) for layers, row in zip(back, rows, strict=True))
