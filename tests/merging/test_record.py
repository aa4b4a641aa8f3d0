"""What lies beside the merged weights: vocabulary, licences, card, record, preprocessing."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import yaml
from folders import assert_equal_weights, loaded, mixed, weights
from safetensors.torch import load_file, save_file
from transformers import AutoFeatureExtractor

import crossfade
from crossfade.encoders.encoder import open_encoder
from crossfade.merging import merge
from crossfade.merging.recipe import Recipe, read_recipe

POINTS = ("conv", "feed_forward", "attention", "residual")


def with_card(folder: Path, target: Path, licence: str | None = None, vocabulary: dict[str, int] | None = None) -> Path:
    shutil.copytree(folder, target)
    if licence:
        (target / "README.md").write_text(f"---\nlicense: {licence}\n---\n\n# A model\n")
    if vocabulary:
        (target / "vocab.json").write_text(json.dumps(vocabulary))
        (target / "tokenizer_config.json").write_text(json.dumps({"unk_token": "?"}))
    return target


LETTERS = {"a": 0, "b": 1}


@pytest.mark.parametrize(
    ("ours", "theirs", "taken"),
    [
        (LETTERS, LETTERS, True),
        (LETTERS, None, True),
        (LETTERS, {"a": 1, "b": 0}, False),
        (None, LETTERS, False),
        (None, None, False),
    ],
)
def test_vocabulary(
    ours: dict[str, int] | None,
    theirs: dict[str, int] | None,
    taken: bool,
    hubert: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    a = with_card(hubert[0], tmp_path / "a", vocabulary=ours)
    b = with_card(hubert[1], tmp_path / "b", vocabulary=theirs)
    made = merge(a, b, tmp_path / "out", align="none")
    for name in ("vocab.json", "tokenizer_config.json"):
        assert (tmp_path / "out" / name).exists() == taken
        assert not taken or (tmp_path / "out" / name).read_bytes() == (a / name).read_bytes()
    told = [note for note in made.notes if "vocabularies differ" in note]
    assert bool(told) == bool(ours and theirs and ours != theirs)


@pytest.mark.parametrize(
    ("ours", "theirs", "front"),
    [
        ("apache-2.0", "apache-2.0", {"license": "apache-2.0"}),
        ("mit", "cc-by-nc-4.0", {"license": "other", "license_name": "cc-by-nc-4.0 AND mit"}),
        ("mit", None, {"license": "other", "license_name": "mit AND unknown"}),
    ],
)
def test_licences(
    ours: str, theirs: str | None, front: dict[str, str], hubert: tuple[Path, Path], tmp_path: Path
) -> None:
    a, b = with_card(hubert[0], tmp_path / "a", ours), with_card(hubert[1], tmp_path / "b", theirs)
    made = merge(a, b, tmp_path / "out", align="none")
    _, head, card = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)
    stated = yaml.safe_load(head)
    assert {key: stated[key] for key in front} == front
    assert "base_model" not in stated  # it takes hub ids, and these are folders
    assert any("licences differ" in note for note in made.notes) == (theirs not in (None, ours))
    assert any("b states no licence" in note for note in made.notes) == (theirs is None)
    assert all(f"- {note}" in card for note in made.notes)


def test_the_card_and_the_record_tell_everything(
    hubert: tuple[Path, Path], sounds: tuple[Path, Path], tmp_path: Path
) -> None:
    made = merge(*hubert, tmp_path / "out", audio=list(sounds), clips=4, seed=3, weight=0.7)
    record = json.loads((tmp_path / "out" / "crossfade.json").read_text())
    hashes = [hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() for folder in hubert]
    assert record == {
        "crossfade": crossfade.__version__,
        "recipe": {
            "reference": str(hubert[0]),
            "other": str(hubert[1]),
            "weight": 0.7,
            "method": "linear",
            "parameters": {},
            "align": "correlation",
            "alignment": None,
            "points": ["conv", "feed_forward", "attention"],
            "base": None,
            "audio": [str(sounds[0]), str(sounds[1])],
            "reference_audio": [],
            "other_audio": [],
            "dtype": "float32",
            "repair": False,
            "clips": 4,
            "seconds": 5.0,
            "seed": 3,
        },
        "inputs": {
            role: {"name": str(folder), "revision": None, "sha256": digest, "licence": None, "heads_left_out": []}
            for role, folder, digest in zip(("reference", "other"), hubert, hashes, strict=True)
        },
        "notes": [f"{folder} states no licence" for folder in hubert],
    }
    assert made.recipe == record["recipe"]
    assert made.inputs == record["inputs"]
    card = (tmp_path / "out" / "README.md").read_text()
    told = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert told == {key: value for key, value in record["recipe"].items() if value not in (None, [], {})}
    assert made.alignment is not None
    assert all(digest in card for digest in hashes)
    assert card.count("\n| conv.") == 3
    for match in made.alignment.matches:
        assert f"| {match.permutation} | {match.point} | {match.before:.3f} | {match.after:.3f} |" in card
    stored = json.loads((tmp_path / "out" / "alignment.json").read_text())
    assert stored["reference_sha256"] == hashes[0]
    assert repr(made) == f"Merged({str(tmp_path / 'out')!r}, linear, weight=0.7, {made.alignment!r})"
    facts = json.loads(json.dumps(made.to_dict()))
    assert facts["alignment"]["after"] == pytest.approx(made.alignment.mean("after"))
    assert facts["recipe"] == record["recipe"]


def test_the_recorded_recipe_makes_the_same_bytes_again(
    hubert: tuple[Path, Path], sounds: tuple[Path, Path], tmp_path: Path
) -> None:
    audio = {"reference_audio": sounds[0], "other_audio": sounds[1], "clips": 4}
    merge(*hubert, tmp_path / "first", weight={"default": 0.6, "layers": {"0-1": 0.4}}, method="regression", **audio)
    recipe = json.loads((tmp_path / "first" / "crossfade.json").read_text())["recipe"]
    assert recipe.keys() == Recipe.model_fields.keys()
    said = {key: value for key, value in recipe.items() if value not in (None, [])}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(said))
    merge(**read_recipe(tmp_path / "recipe.yaml"), output=tmp_path / "second")
    for file in (tmp_path / "first").iterdir():
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes(), file.name


def test_numbers_of_numpy_are_numbers(hubert: tuple[Path, Path], tmp_path: Path) -> None:
    for weight in np.linspace(0, 1, 3):
        merge(*hubert, tmp_path / "out", weight=weight, align="none", overwrite=True)
    assert json.loads((tmp_path / "out" / "crossfade.json").read_text())["recipe"]["weight"] == 1.0
    assert_equal_weights(weights(loaded(tmp_path / "out")), mixed(hubert, lambda _: 1.0))


def test_preprocessing_is_the_references_and_a_difference_is_told(hubert: tuple[Path, Path], tmp_path: Path) -> None:
    raw = tiny.folder(
        tmp_path / "raw", "hubert", 4, preprocessor={"do_normalize": False, "return_attention_mask": True}
    )
    made = merge(raw, hubert[1], tmp_path / "out", align="none")
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "out")
    assert (extractor.do_normalize, extractor.return_attention_mask, extractor.sampling_rate) == (False, True, 16000)
    assert any("hears raw waveforms" in note for note in made.notes)
    (raw / "preprocessor_config.json").unlink()
    made = merge(raw, hubert[1], tmp_path / "out", align="none", overwrite=True)
    assert AutoFeatureExtractor.from_pretrained(tmp_path / "out").do_normalize
    assert f"{raw} has no preprocessor_config.json; 16000 Hz, normalised input is assumed" in made.notes


def test_heads_are_left_out_and_told(hubert: tuple[Path, Path], tmp_path: Path) -> None:
    b = with_card(hubert[1], tmp_path / "b")
    tensors = {f"hubert.{key}": value for key, value in load_file(b / "model.safetensors").items()}
    save_file(tensors | {"lm_head.weight": torch.zeros(4, 48)}, b / "model.safetensors", {"format": "pt"})
    made = merge(hubert[0], b, tmp_path / "out", align="none", weight=0.5)
    assert_equal_weights(weights(loaded(made.path)), mixed(hubert, lambda _: 0.5))
    assert f"{b}: heads left out: lm_head.weight" in made.notes
    assert made.inputs["other"]["heads_left_out"] == ["lm_head.weight"]


@pytest.mark.parametrize(
    "words", [{"align": "none"}, {"align": "weights"}, {}, {"method": "regression", "align": "none"}], ids=str
)
def test_the_mask_embedding_that_only_one_model_has(
    words: dict[str, Any], hubert: tuple[Path, Path], sounds: tuple[Path, Path], tmp_path: Path
) -> None:
    key = "masked_spec_embed"
    bare = tiny.folder(tmp_path / "bare", "hubert", 2, mask_time_prob=0.0)
    assert key not in load_file(bare / "model.safetensors")
    audio = {} if words.get("align") == "weights" else {"reference_audio": sounds[0], "other_audio": sounds[1]}
    made = merge(hubert[0], bare, tmp_path / "out", clips=2, points=POINTS, **words, **audio)
    assert torch.equal(weights(loaded(made.path))[key], weights(loaded(hubert[0]))[key])
    turned = merge(bare, hubert[0], tmp_path / "turned", clips=2, points=POINTS, **words, **audio)
    assert key not in weights(loaded(turned.path))


@pytest.mark.parametrize("method", ["linear", "slerp", "dare", "regression"])
def test_the_same_words_give_the_same_bytes(
    method: str, hubert: tuple[Path, Path], sounds: tuple[Path, Path], tmp_path: Path
) -> None:
    def once(name: str, seed: int) -> str:
        audio = {"reference_audio": sounds[0], "other_audio": sounds[1], "clips": 2}
        base = {"base": hubert[1], "weight": 0.5} if method == "dare" else {}
        made = merge(*hubert, tmp_path / name, method=method, seed=seed, **audio, **base)
        return open_encoder(made.path).sha256

    first = once("first", 0)
    assert first == once("second", 0)
    if method == "dare":
        assert first != once("third", 1)
