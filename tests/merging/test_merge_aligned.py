"""Merging with an alignment: found on the way, or made before."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from folders import assert_equal_weights, loaded, weights
from safetensors.torch import load_file

import crossfade
from crossfade.alignment.permutations import permute, random_permutations
from crossfade.encoders.encoder import EncoderWriter, open_encoder
from crossfade.errors import InputError
from crossfade.merging import merge

Pairs = Callable[[str], tuple[Path, Path]]
POINTS = ("conv", "feed_forward", "attention", "residual")


@pytest.fixture(scope="session")
def scrambled(pair: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """REFERENCE with its channels at random places: the same function."""

    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp("scrambled")
        original = open_encoder(pair(name)[0])
        drawn = random_permutations(original.layout, POINTS, torch.Generator().manual_seed(5))
        writer = EncoderWriter(folder, original, torch.float32)
        tensors = original.layout.tensors.items()
        writer.write_all((key, permute(original.read(key), spec, drawn)) for key, spec in tensors)
        return folder

    return make


@pytest.mark.parametrize("method", ["linear", "regression"])
@pytest.mark.parametrize("name", ["hubert", "wav2vec2-stable", "wavlm", "data2vec-audio"])
def test_a_scrambled_copy_gives_the_original_back(
    name: str, method: str, pair: Pairs, scrambled: Callable[[str], Path], sounds: tuple[Path, Path], tmp_path: Path
) -> None:
    original = pair(name)[0]
    copy = scrambled(name)
    audio = {"reference_audio": sounds[0], "other_audio": sounds[1]}
    made = merge(original, copy, tmp_path / "out", weight=0.5, method=method, points=POINTS, **audio)
    assert made.alignment is not None
    assert made.alignment.mean("after") > 0.9999
    assert made.alignment.mean("moved") > 0.8
    assert_equal_weights(weights(loaded(made.path)), weights(loaded(original)), atol=1e-6)


def test_alignment_by_weights_needs_no_audio(pair: Pairs, scrambled: Callable[[str], Path], tmp_path: Path) -> None:
    original = pair("hubert")[0]
    made = merge(original, scrambled("hubert"), tmp_path / "out", weight=0.2, align="weights", points=POINTS)
    assert made.alignment is not None
    assert made.alignment.method == "weights"
    assert_equal_weights(weights(loaded(made.path)), weights(loaded(original)))


def test_an_alignment_can_be_used_again(hubert: tuple[Path, Path], sounds: tuple[Path, Path], tmp_path: Path) -> None:
    found = crossfade.align(*hubert, sounds[0], output=tmp_path / "aligned", clips=2)
    made = [
        merge(*hubert, tmp_path / "fresh", audio=sounds[0], clips=2),
        merge(*hubert, tmp_path / "object", alignment=found),
        merge(*hubert, tmp_path / "folder", alignment=tmp_path / "aligned"),
        merge(hubert[0], tmp_path / "aligned", tmp_path / "rewritten", align="none"),
        merge(*hubert, tmp_path / "again", alignment=tmp_path / "fresh"),
    ]
    expected = load_file(tmp_path / "fresh" / "model.safetensors")
    for merged in made[1:]:
        found_weights = load_file(merged.path / "model.safetensors")
        for key, value in expected.items():
            torch.testing.assert_close(found_weights[key], value, atol=1e-6, rtol=1e-6)
    assert made[1].recipe["align"] == "correlation"
    assert (made[2].recipe["align"], made[2].recipe["alignment"]) == (None, str(tmp_path / "aligned"))
    assert made[1].recipe["points"] == ["conv", "feed_forward", "attention"]
    unaligned = load_file(merge(*hubert, tmp_path / "plain", align="none").path / "model.safetensors")
    assert any(not torch.allclose(unaligned[key], expected[key], atol=0.01) for key in expected)


def test_an_alignment_of_other_models_is_refused(pair: Pairs, hubert: tuple[Path, Path], tmp_path: Path) -> None:
    found = crossfade.align(*hubert, output=tmp_path / "aligned", method="weights")
    for alignment in (found, tmp_path / "aligned"):
        with pytest.raises(InputError, match=r"made for reference .*align these models again$"):
            merge(hubert[1], hubert[0], tmp_path / "out", alignment=alignment)
    content = json.loads((tmp_path / "aligned" / "alignment.json").read_text())
    content["permutations"]["conv.0"][0] = content["permutations"]["conv.0"][1]
    (tmp_path / "aligned" / "alignment.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"permutation 'conv\.0' is no rearrangement of 12 channels"):
        merge(*hubert, tmp_path / "out", alignment=tmp_path / "aligned")
    assert not (tmp_path / "out").exists()
