"""The small files beside the weights: what they say, what they may not say, what the merged folder takes of them."""

import json
import re
from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoFeatureExtractor, Wav2Vec2FeatureExtractor

from crossfade.encoders.card import licences, write_card
from crossfade.encoders.encoder import open_encoder
from crossfade.encoders.sidecars import (
    Preprocessing,
    normalise,
    read_licence,
    read_preprocessing,
    reconcile_vocabulary,
)
from crossfade.errors import InputError


@pytest.mark.parametrize("do_normalize", [True, False])
def test_normalisation_is_the_feature_extractor_s(do_normalize: bool) -> None:
    sound = 3 * tiny.waveform(clips=3) + 0.5
    theirs = Wav2Vec2FeatureExtractor(do_normalize=do_normalize)
    expected = torch.stack(
        [theirs(clip.numpy(), sampling_rate=16000, return_tensors="pt").input_values[0] for clip in sound]
    )
    found = normalise(sound, Preprocessing(do_normalize=do_normalize))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_silence_is_normalised_to_silence() -> None:
    assert normalise(torch.full((1, 100), 0.25), Preprocessing()).abs().max() == 0


@pytest.mark.parametrize(
    "preprocessing",
    [Preprocessing(), Preprocessing(24000, do_normalize=False), Preprocessing(return_attention_mask=True)],
)
def test_what_is_written_is_read_by_transformers_and_by_us(preprocessing: Preprocessing, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessing.to_json()))
    assert read_preprocessing(tmp_path) == preprocessing
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
    for key in ("sampling_rate", "do_normalize", "return_attention_mask"):
        assert getattr(extractor, key) == getattr(preprocessing, key)


def test_without_a_file_transformers_defaults_are_assumed(tmp_path: Path) -> None:
    found = read_preprocessing(tmp_path)
    assert found == Preprocessing(stated=False)
    assert (found.sampling_rate, found.do_normalize) == (16000, Wav2Vec2FeatureExtractor().do_normalize)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"sampling_rate": "16k"}', "sampling_rate = '16k', expected a rate in Hz"),
        ('{"sampling_rate": 16000.5}', "sampling_rate = 16000.5, expected a rate in Hz"),
        ('{"sampling_rate": 0}', "sampling_rate = 0, expected a rate in Hz"),
        ('{"do_normalize": "no"}', "do_normalize = 'no', expected true or false"),
        ('{"return_attention_mask": 1}', "return_attention_mask = 1, expected true or false"),
        ("nonsense", "not valid JSON"),
    ],
)
def test_preprocessing_that_is_amiss(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "preprocessor_config.json"
    file.write_text(content)
    with pytest.raises(InputError, match=re.escape(f"{file}: {message}")):
        read_preprocessing(tmp_path)


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (None, None),
        ("---\nlicense: apache-2.0\ntags: [audio]\n---\n# A model\n", "apache-2.0"),
        ("---\ntags: [audio]\n---\nlicense: mit\n", None),
        ("# A model\n---\nlicense: mit\n---\n", None),
        ("---\n: [\n---\n", None),
        ("---\nlicense:\n---\n", None),
        ("", None),
    ],
)
def test_the_licence_is_in_the_front_matter(card: str | None, licence: str | None, tmp_path: Path) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert read_licence(tmp_path) == licence


def vocabulary(folder: Path, words: dict[str, int] | None, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.json").write_text(text)
    if words is not None:
        (folder / "vocab.json").write_text(json.dumps(words))
    return folder


def test_the_reference_s_vocabulary_goes_along(tmp_path: Path) -> None:
    ours = vocabulary(tmp_path / "a", {"a": 0, "b": 1}, tokenizer_config="{}", unrelated="{}")
    files = (ours / "vocab.json", ours / "tokenizer_config.json")
    for name, words in (("none", None), ("same", {"b": 1, "a": 0})):
        assert reconcile_vocabulary(ours, vocabulary(tmp_path / name, words)) == (files, None)
    taken, note = reconcile_vocabulary(ours, vocabulary(tmp_path / "other", {"a": 1, "b": 0}))
    assert taken == ()
    assert "the inputs' vocabularies differ, so neither was copied" in str(note)
    assert reconcile_vocabulary(tmp_path / "none", ours) == ((), None)


@pytest.fixture
def licensed(folders, tmp_path: Path):
    def make(name: str, licence: str | None):
        folder = tmp_path / name
        folder.mkdir()
        for file in folders("hubert").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        if licence:
            (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n")
        return open_encoder(folder)

    return make


def test_the_card_names_all_that_went_in(licensed, tmp_path: Path) -> None:
    inputs = {"reference": licensed("speech", "mit"), "other": licensed("music", None)}
    write_card(
        tmp_path, title="Both", text="A text.", inputs=inputs, recipe={"weight": 0.9}, sections=["## More", "rows"]
    )
    card = (tmp_path / "README.md").read_text()
    assert read_licence(tmp_path) == "other"
    assert "license_name: mit AND unknown" in card
    for role, encoder in inputs.items():
        licence = encoder.licence or "not stated"
        assert f"| {role} | {encoder.name} | local folder | `{encoder.sha256}` | {licence} |" in card
    assert "```yaml\nweight: 0.9\n```\n\n## More\n\nrows\n" in card
    assert licences([inputs["reference"], inputs["reference"]]) == {"license": "mit"}
