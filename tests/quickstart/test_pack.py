import hashlib
import json
import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml
from safetensors import safe_open
from transformers import AutoFeatureExtractor, AutoModel

import crossfade.quickstart
from crossfade.encoders.encoder import open_encoder
from crossfade.errors import InputError
from crossfade.probing.schema import Dataset
from crossfade.probing.tasks import EMBEDDED, load_dataset, load_tasks
from crossfade.quickstart.pack import DOMAINS, ENCODERS, PACK, calibration_folders, encoder
from crossfade.quickstart.story import run

MEGABYTE = 1_000_000
LICENCES = {
    *("CC-BY-3.0", "CC-BY-SA-3.0", "CC-BY-SA-3.0-IT", "CC0-1.0", "MIT"),
    *("LicenseRef-BSD-Armelle", "LicenseRef-BSD-festvox-ru"),
}
TASKS = [load_dataset(task) for task in load_tasks(EMBEDDED)]
NAMES = [Path(dataset.task.name).name for dataset in TASKS]
FOLDERS = sorted(path.parent for path in PACK.rglob("manifest.jsonl"))


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def clips(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.suffix == ".ogg"}


def sounds(folder: Path) -> set[str]:
    return {hashlib.sha256(soundfile.read(path, dtype="int16")[0].tobytes()).hexdigest() for path in clips(folder)}


def test_the_pack_stays_within_six_megabytes_and_each_encoder_within_five() -> None:
    assert size(PACK) <= 6 * MEGABYTE
    assert all(size(folder) <= 5 * MEGABYTE for folder in ENCODERS.values())


def test_there_are_four_speech_tasks_and_three_music_tasks() -> None:
    assert sorted(dataset.task.domain for dataset in TASKS) == ["music"] * 3 + ["speech"] * 4
    assert set(FOLDERS) == {PACK / name for name in NAMES} | set(calibration_folders().values())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_clip_is_in_the_manifest_once_and_is_16_khz_mono_opus(folder: Path) -> None:
    listed = [folder / row["path"] for row in rows(folder)]
    assert len(listed) == len(set(listed))
    assert set(listed) == clips(folder)
    for path in listed:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "OPUS")
        assert 0.1 <= info.duration <= 5.0


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_clip_names_its_source_and_an_allowed_licence_whose_text_is_here(folder: Path) -> None:
    texts = {path.stem: path.read_text(encoding="utf-8") for path in (PACK / "LICENSES").iterdir()}
    assert set(texts) == LICENCES
    assert all(len(text) > 900 and "GNU GENERAL PUBLIC" not in text.upper() for text in texts.values())
    credits = (PACK / "SOURCES.md").read_text(encoding="utf-8")
    for row in rows(folder):
        assert row["licence"] in LICENCES
        for source in row["source"].split():
            match = re.fullmatch(r"([a-z0-9-]+)=[^:=]+(?::[^:=/]+)?:[^:]+", source)
            assert match is not None, source
            assert re.sub(r"(tonejs-instrument-).*", r"\1", match[1]) in credits


def test_the_gpl_recordings_of_the_mandarin_package_are_not_used() -> None:
    sources = [source for folder in FOLDERS for row in rows(folder) for source in row["source"].split()]
    mandarin = [source for source in sources if source.startswith("gcin-voice=")]
    assert mandarin
    assert all(source.endswith("/5.ogg") for source in mandarin)


@pytest.mark.parametrize("dataset", TASKS, ids=NAMES)
def test_a_task_can_be_split_by_group(dataset: Dataset) -> None:
    count, groups = len(dataset.items), {item.group for item in dataset.items}
    assert count >= 80
    assert None not in groups
    assert 3 <= len(groups) < count
    for label in {item.label for item in dataset.items}:
        members = [item for item in dataset.items if item.label == label]
        assert len(members) <= count / 4
        assert len({item.group for item in members}) >= 2
    tested = sorted(index for fold in dataset.folds for index in fold.test.tolist())
    assert tested == list(range(count))


@pytest.mark.parametrize("dataset", TASKS, ids=NAMES)
def test_a_task_says_what_it_is(dataset: Dataset) -> None:
    task = dataset.task
    assert task.folder is not None
    about = yaml.safe_load((task.folder / "task.yaml").read_text(encoding="utf-8"))
    assert about == {
        "title": task.title,
        "domain": task.domain,
        "kind": "classification",
        "label": "label",
        "metric": "accuracy",
        "protocol": {"head": "ridge"},
    }


def test_the_labelled_clips_are_at_most_twelve_minutes_and_calibration_at_least_three_a_domain() -> None:
    labelled = sum(soundfile.info(path).duration for name in NAMES for path in clips(PACK / name))
    assert labelled <= 12 * 60
    for folder in calibration_folders().values():
        assert 180 <= sum(soundfile.info(path).duration for path in clips(folder)) <= 330


def test_no_calibration_sound_or_recording_is_in_a_task() -> None:
    calibration = list(calibration_folders().values())
    labelled = set(chain.from_iterable(sounds(PACK / name) for name in NAMES))
    assert not labelled & set(chain.from_iterable(sounds(folder) for folder in calibration))
    recordings = {source for name in NAMES for row in rows(PACK / name) for source in row["source"].split()}
    heard = {source for folder in calibration for row in rows(folder) for source in row["source"].split()}
    shared = {source for source in recordings & heard if not source.endswith(".sf3")}
    assert not shared


def test_rendered_calibration_phrases_use_programs_that_no_task_uses() -> None:
    groups = {str(item.group) for dataset in TASKS for item in dataset.items}
    labelled = {group for group in groups if group.startswith("program")}
    phrases = {path.stem for path in clips(calibration_folders()["music"]) if path.stem.startswith("program")}
    assert len(phrases) >= 40
    assert not labelled & phrases


def test_encoders_are_found_by_name() -> None:
    assert {*DOMAINS} <= set(ENCODERS)
    assert all(encoder(name) == folder and folder.name == name for name, folder in ENCODERS.items())
    assert crossfade.quickstart.encoder is encoder
    assert crossfade.quickstart.run is run
    with pytest.raises(InputError, match=r"encoder: 'musik' is not in the package; did you mean 'music'\?"):
        encoder("musik")
    with pytest.raises(AttributeError, match="has no attribute 'decoder'"):
        crossfade.quickstart.decoder  # noqa: B018


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_loads_offline_with_every_key_and_computes_in_float32(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model, loading = AutoModel.from_pretrained(ENCODERS[name], output_loading_info=True)
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    extractor = AutoFeatureExtractor.from_pretrained(ENCODERS[name])
    inputs = extractor(torch.randn(16_000).numpy(), sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        states = model.eval()(inputs).last_hidden_state
    assert states.dtype == torch.float32
    layout = open_encoder(ENCODERS[name]).layout
    assert states.shape == (1, (16_000 - layout.receptive_field) // layout.stride + 1, 192)
    assert bool(states.isfinite().all())


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_is_stored_in_half_precision_with_a_card(name: str) -> None:
    with safe_open(ENCODERS[name] / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(key).dtype for key in weights.keys()} == {torch.float16}  # noqa: SIM118
    front, body = (ENCODERS[name] / "README.md").read_text(encoding="utf-8").split("---\n", 2)[1:]
    assert yaml.safe_load(front)["license"] == "apache-2.0"
    assert "## Limits" in body
