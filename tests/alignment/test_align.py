"""`crossfade.align` from end to end: exact, complete, reusable, and a clear no to what cannot be aligned."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

import crossfade
from crossfade.alignment.api import rewrite
from crossfade.alignment.permutations import invert, random_permutations
from crossfade.alignment.result import Alignment, Match, load_alignment, match_table
from crossfade.encoders.encoder import Encoder, open_encoder
from crossfade.encoders.families import POINTS
from crossfade.encoders.model import load_model
from crossfade.errors import InputError

METHODS = ("correlation", "weights")
CHOICES = pytest.mark.parametrize("points", [*((point,) for point in POINTS), POINTS[:3], POINTS], ids="+".join)


def difference(original: Encoder, rewritten: Path, residual: torch.Tensor) -> float:
    """Largest difference of the outputs, the channels of the stream brought in the same order."""
    sound = tiny.waveform(99)
    ours, theirs = (load_model(e)(sound).last_hidden_state for e in (original, open_encoder(rewritten)))
    return float((ours[..., residual] - theirs).abs().max())


def scrambled(encoder: Encoder, folder: Path, seed: int = 5) -> dict[str, torch.Tensor]:
    """Write a copy of `encoder` with every channel in another place; returns what undoes it."""
    scramble = random_permutations(encoder.layout, POINTS, torch.Generator().manual_seed(seed))
    folder.mkdir()
    rewrite(encoder, Alignment("a", "b", "", "", "by chance", POINTS, scramble, ()), folder)
    return invert(scramble)


@CHOICES
@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_correlation_leaves_the_function_as_it_is(name: str, points, encoders, audio: Path, tmp_path: Path) -> None:
    reference, other = encoders(name, 1), encoders(name, 2)
    found = crossfade.align(reference, other, audio, output=tmp_path / "aligned", points=points)
    assert difference(other, tmp_path / "aligned", found.permutations["residual"]) <= 1e-5
    assert found.points == points
    assert found.mean("after") >= found.mean("before")
    free = {n for n, p in other.layout.permutations.items() if {p.point, p.order.point} & set(points)}
    assert {match.permutation for match in found.matches} == free


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_weights_leave_the_function_as_it_is(name: str, encoders, tmp_path: Path) -> None:
    reference, other = encoders(name, 1), encoders(name, 2)
    found = crossfade.align(reference, other, output=tmp_path / "aligned", method="weights", points=POINTS)
    assert difference(other, tmp_path / "aligned", found.permutations["residual"]) <= 1e-5
    assert found.mean("after") > found.mean("before")
    assert found.mean("moved") > 0.4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_a_scramble_is_recovered_and_merges_back(name: str, method: str, encoders, audio: Path, tmp_path: Path) -> None:
    origin = encoders(name, 1)
    undo = scrambled(origin, tmp_path / "scrambled")
    heard = audio if method == "correlation" else None
    found = crossfade.align(origin, tmp_path / "scrambled", heard, method=method, points=POINTS)
    assert all(torch.equal(found.permutations[key], undo[key]) for key in undo)
    assert found.mean("after") == pytest.approx(1.0, abs=1e-4)
    assert found.mean("before") < 0.9
    crossfade.merge(origin, tmp_path / "scrambled", tmp_path / "merged", weight=0.5, alignment=found)
    merged = open_encoder(tmp_path / "merged")
    for key in origin.layout.tensors:
        torch.testing.assert_close(merged.read(key), origin.read(key), atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def aligned(encoders, audio: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Alignment, Path]:
    folder = tmp_path_factory.mktemp("aligned") / "out"
    return crossfade.align(encoders("hubert", 1), encoders("hubert", 2), audio, output=folder, points=POINTS), folder


def test_the_folder_is_whole(aligned: tuple[Alignment, Path], encoders) -> None:
    _, folder = aligned
    names = {path.name for path in folder.iterdir()}
    assert names == {"README.md", "alignment.json", "config.json", "model.safetensors", "preprocessor_config.json"}
    card = (folder / "README.md").read_text()
    assert encoders("hubert", 2).sha256 in card
    assert "| ff.1 | feed_forward |" in card


def test_the_numbers_are_what_they_say(aligned: tuple[Alignment, Path]) -> None:
    found, _ = aligned
    assert [match.permutation for match in found.matches] == list(found.permutations)
    for match in found.matches:
        index = found.permutations[match.permutation]
        assert match.moved == pytest.approx(float((index != torch.arange(len(index))).float().mean()))
        assert -1 <= match.before <= match.after <= 1
    layers = [match.after for match in found.matches if match.point == "feed_forward"]
    assert found.mean("after", "feed_forward") == pytest.approx(sum(layers) / 3)
    assert found.settings["frames"] > 0
    assert repr(found) == (
        f"Alignment({found.other!r} -> {found.reference!r}, correlation, 13 permutations, "
        f"matched {found.mean('before'):.3f} -> {found.mean('after'):.3f}, moved {found.mean('moved'):.0%})"
    )
    assert match_table(found).count("\n") == 1 + 13
    assert json.loads(json.dumps(found.to_dict()))["after"] == found.mean("after")


def test_an_alignment_is_read_back_as_it_was(aligned: tuple[Alignment, Path], encoders) -> None:
    found, folder = aligned
    again = load_alignment(folder, encoders("hubert", 1), encoders("hubert", 2))
    assert again.matches == found.matches
    assert again.points == found.points
    assert again.settings == found.settings
    assert again.method == "correlation"
    assert all(torch.equal(again.permutations[key], found.permutations[key]) for key in found.permutations)


def test_a_kept_alignment_merges_like_a_fresh_one(aligned: tuple[Alignment, Path], encoders, audio, tmp_path) -> None:
    pair = encoders("hubert", 1), encoders("hubert", 2)
    crossfade.merge(*pair, tmp_path / "kept", weight=0.7, alignment=aligned[1])
    crossfade.merge(*pair, tmp_path / "fresh", weight=0.7, audio=audio, points=POINTS)
    kept, fresh = (tmp_path / name / "model.safetensors" for name in ("kept", "fresh"))
    assert kept.read_bytes() == fresh.read_bytes()


def test_the_same_seed_writes_the_same_bytes(aligned: tuple[Alignment, Path], encoders, audio, tmp_path) -> None:
    crossfade.align(encoders("hubert", 1), encoders("hubert", 2), audio, output=tmp_path / "again", points=POINTS)
    for name in ("alignment.json", "model.safetensors", "config.json", "preprocessor_config.json", "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (aligned[1] / name).read_bytes()


def test_another_seed_draws_other_frames(aligned: tuple[Alignment, Path], encoders, audio: Path) -> None:
    other = crossfade.align(encoders("hubert", 1), encoders("hubert", 2), audio, points=POINTS, seed=1)
    assert other.matches != aligned[0].matches


def test_clips_and_seconds_bound_what_is_heard(encoders, audio: Path) -> None:
    pair = encoders("hubert", 1), encoders("hubert", 2)
    few = crossfade.align(*pair, audio, clips=3, seconds=0.125, sample=1.0, points=("residual",))
    layout = pair[0].layout
    frames = (2000 - layout.receptive_field) // layout.stride + 1
    assert few.settings == {"clips": 3, "seconds": 0.125, "sample": 1.0, "seed": 0, "frames": 3 * frames}


def test_little_audio_is_told(encoders, audio: Path) -> None:
    pair = encoders("hubert", 1), encoders("hubert", 2)
    few = crossfade.align(*pair, audio, clips=1, seconds=0.125, points=("residual",))
    widest = max(len(index) for index in few.permutations.values())
    assert few.to_dict()["notes"] == few.notes
    assert few.notes[0].startswith(
        f"{few.settings['frames']} frames entered the statistics of layers up to {widest} wide"
    )
    enough = replace(few, settings={**few.settings, "frames": 10 * widest})
    assert enough.notes == ()


def test_unusable_audio_is_told(encoders, audio: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    pair = encoders("hubert", 1), encoders("hubert", 2)
    found = crossfade.align(*pair, [audio, broken], points=("residual",))
    assert [name for name, _ in found.skipped] == [str(broken)]
    with pytest.raises(InputError, match="no usable audio"):
        crossfade.align(*pair, broken, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def changed(folder: Path, into: Path, **changes: Any) -> Path:
    into.mkdir()
    content = json.loads((folder / "alignment.json").read_text()) | changes
    kept = {key: value for key, value in content.items() if value is not None}
    (into / "alignment.json").write_text(json.dumps(kept))
    return into


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema 2, expected 1; align these models again"),
        ({"permutations": {"ff.0": [0, 0, 1]}}, "'ff.0' is no rearrangement of 40 channels"),
        ({"permutations": {"qk.0": [*range(24, 48), *range(24)]}}, "do not keep their groups or heads together"),
        ({"permutations": {"ff.0": "abc"}}, "not a complete alignment"),
        ({"permutations": [1]}, "not a complete alignment"),
        ({"matches": [{"permutation": "ff.0"}]}, "not a complete alignment"),
        ({"points": None}, "not a complete alignment ('points')"),
    ],
)
def test_a_damaged_alignment_is_refused(aligned, changes, message: str, encoders, tmp_path: Path) -> None:
    folder = changed(aligned[1], tmp_path / "changed", **changes)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_alignment(folder, encoders("hubert", 1), encoders("hubert", 2))
    assert str(caught.value).startswith(str(folder / "alignment.json"))
    assert "\n" not in str(caught.value)


def test_an_alignment_of_other_models_is_refused(aligned, encoders, tmp_path: Path) -> None:
    first, second, third = (encoders("hubert", seed) for seed in (1, 2, 3))
    with pytest.raises(InputError, match=f"made for other '{second.name}' .* received {third.name} with other weights"):
        crossfade.merge(first, third, tmp_path / "out", alignment=aligned[1])
    with pytest.raises(InputError, match=f"made for reference '{first.name}' .* received {second.name} with other"):
        load_alignment(aligned[1], second, first)
    with pytest.raises(InputError, match=r"no alignment\.json in this folder; make one with: crossfade align"):
        load_alignment(tmp_path, first, second)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": ("atention",)}, "points: 'atention' is no point to align; did you mean 'attention'?"),
        ({"points": ()}, "points: none received, expected some of conv, feed_forward, attention, residual"),
        ({"method": "weight"}, "method: 'weight' is no way to align; did you mean 'weights'?"),
        ({"sample": 0.0}, "sample: 0.0, expected a share of the frames above 0 and at most 1"),
        ({"sample": 1.5}, "sample: 1.5, expected a share of the frames above 0 and at most 1"),
        ({"device": "tpu"}, "device 'tpu': expected auto, cpu or cuda[:number]"),
        ({"audio": None}, "correlation alignment needs audio, received none; add --audio DIR"),
        ({"method": "weights"}, "weight matching hears no audio; leave --audio out"),
    ],
)
def test_what_cannot_be_aligned_is_told_in_one_line(options, message: str, encoders, audio, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^" + re.escape(message)) as caught:
        crossfade.align(
            encoders("hubert", 1), encoders("hubert", 2), **{"audio": audio, "output": tmp_path / "out", **options}
        )
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("masked_first", [True, False])
def test_a_mask_that_only_one_model_has_is_no_matter(masked_first: bool, encoders, audio: Path, tmp_path: Path) -> None:
    plain = open_encoder(tiny.folder(tmp_path / "plain", "hubert", 2, mask_time_prob=0.0))
    assert "masked_spec_embed" not in plain.layout.tensors
    pair = (encoders("hubert", 1), plain) if masked_first else (plain, encoders("hubert", 1))
    for method, heard in (("correlation", audio), ("weights", None)):
        found = crossfade.align(*pair, heard, method=method, points=POINTS, output=tmp_path / method)
        assert difference(pair[1], tmp_path / method, found.permutations["residual"]) <= 1e-5
        assert open_encoder(tmp_path / method).layout == pair[1].layout


def test_models_that_differ_are_not_aligned(encoders, audio: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot merge .* expected two encoders of one family"):
        crossfade.align(encoders("hubert", 1), encoders("wav2vec2", 1), audio, output=tmp_path / "out")
    with pytest.raises(InputError, match=r"num_hidden_layers is 3 in .* and 2 in "):
        crossfade.align(encoders("hubert", 1), encoders("hubert-student", 1), audio, output=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_output_stays_unless_told(encoders, tmp_path: Path) -> None:
    pair, output = (encoders("hubert", 1), encoders("hubert", 2)), tmp_path / "out"
    output.mkdir()
    (output / "config.json").write_text("mine")
    (output / "kept.txt").write_text("mine")
    with pytest.raises(InputError, match="already exists; pass --overwrite to replace it"):
        crossfade.align(*pair, method="weights", output=output)
    assert {path.name: path.read_text() for path in output.iterdir()} == {"config.json": "mine", "kept.txt": "mine"}
    crossfade.align(*pair, method="weights", output=output, overwrite=True)
    assert not (output / "kept.txt").exists()
    assert open_encoder(output).family.name == "hubert"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_match_knows_its_columns() -> None:
    found = Alignment("a", "b", "", "", "weights", ("conv",), {}, (Match("conv.0", "conv", 0.25, 0.75, 1.0),))
    assert (found.mean("before"), found.mean(), found.mean("moved", "conv")) == (0.25, 0.75, 1.0)
    assert found.mean("after", "residual") != found.mean("after", "residual")  # nothing to average: NaN
