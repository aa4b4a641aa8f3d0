"""What was damaged, swapped or asks for too much is refused in one line that names it."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy
import pytest
import soundfile
import tiny
import torch
from safetensors.torch import load_file
from tones import tones

from crossfade.condensing import evaluate, fit, read_generator, sample, train
from crossfade.errors import InputError

SMALL = {"noise": 4, "hidden": 4, "gan_steps": 0, "distil_steps": 1, "ahead": 0, "per_class": 3, "rate": 1e-12}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder, tones of which one clip is not finite, and a generator of the others."""
    home = tmp_path_factory.mktemp("artefact")
    tiny.folder(home / "encoder", "hubert", 1)
    tones(home / "tones", "speech", 0, clips=40)
    broken(home / "tones" / "7.wav")
    fit(str(home / "encoder"), home / "tones", home / "generator", settings=SMALL, cache=home / "cache")
    return home


def broken(path: Path) -> None:
    """Put a NaN in the middle of a sound."""
    samples, rate = soundfile.read(path, dtype="float32")
    samples[1000] = numpy.nan
    soundfile.write(path, samples, rate, subtype="FLOAT")


@pytest.fixture
def copied(home: Path, tmp_path: Path) -> Path:
    return shutil.copytree(home / "generator", tmp_path / "copied")


@pytest.mark.parametrize("place", [200, -200])
def test_a_byte_that_flipped(copied: Path, place: int) -> None:
    content = bytearray((copied / "model.safetensors").read_bytes())
    content[place] ^= 1
    (copied / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"model.safetensors: .*expected SHA-256 \w{64} .*received \w{64} .*fit again"):
        sample(copied, copied.parent / "points")
    assert not (copied.parent / "points").exists()


def test_a_file_that_was_cut_short(copied: Path) -> None:
    content = (copied / "model.safetensors").read_bytes()
    (copied / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=rf"model.safetensors: damaged .* of {len(content) // 2:,} bytes"):
        read_generator(copied)
    (copied / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"copied: no model.safetensors in it; expected a folder of"):
        read_generator(copied)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("hidden", 5, "hidden: expected 4, as in model.safetensors, received 5"),
        ("width", "48", "width: expected 48, as in model.safetensors, received '48'"),
        ("noise", None, "noise: expected 4, as in model.safetensors, received None"),
        ("names", ["high"], "names: expected 2 entries, as in model.safetensors, received 1"),
        ("counts", [1, "2"], r"counts: expected 2 entries, as in model.safetensors, received \[1, '2'\]"),
        ("model_type", "hubert", "model_type 'hubert' is no generator"),
    ],
)
def test_a_config_that_was_changed(copied: Path, key: str, value: Any, said: str) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(InputError, match=rf"config.json: {said}"):
        read_generator(copied)


def test_more_points_than_there_is_room_for(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is allocated: a million million points would not fit anywhere."""
    words = (home / "generator", tmp_path / "points", 10**12)
    full = r"^--per-class 1000000000000: .*disk full: 400,000,000,000,000 bytes are needed, [\d,]+ are free"
    with pytest.raises(InputError, match=full):
        sample(*words)
    monkeypatch.setattr("crossfade.condensing.using.require_space", lambda folder, needed: None)
    wanted = r"^--per-class 1000000000000: 2,000,000,000,000 points need [\d,]+ bytes of memory, [\d,]+ are free"
    with pytest.raises(InputError, match=wanted):
        sample(*words)
    with pytest.raises(InputError, match=wanted):
        train(words[0], tmp_path / "out", per_class=10**12)
    assert not list(tmp_path.iterdir())


def test_numbers_that_are_none(home: Path, tmp_path: Path) -> None:
    for number in (0, -3):
        with pytest.raises(InputError, match=rf"--per-class {number}: expected 1 point or more"):
            sample(home / "generator", tmp_path / "points", number)
    for damping in (float("nan"), float("inf"), -0.5):
        with pytest.raises(InputError, match=rf"--damping {damping:g}: expected a finite number, 0 or more"):
            train(home / "generator", tmp_path / "out", damping=damping)
    with pytest.raises(InputError, match=r"README.md: is a file; expected a generator's folder"):
        sample(home / "generator" / "README.md", tmp_path / "points")


def test_the_kept_start_is_the_gaussian(home: Path) -> None:
    """And every file of the folder may be read by whoever may read its neighbours."""
    generator = read_generator(home / "generator")
    assert generator.record["training"]["kept"] == 0
    assert "update 0 (the untrained start), whose" in (generator.path / "README.md").read_text()
    train(generator.path, home / "classifier", per_class=3)
    for folder in (generator.path, home / "classifier"):
        assert len({os.stat(path).st_mode for path in folder.iterdir()}) == 1
    assert load_file(generator.path / "model.safetensors")["steps"].dtype == torch.float32


def test_clips_that_could_not_be_used_are_named(home: Path) -> None:
    (skipped,) = read_generator(home / "generator").record["data"]["skipped"]
    assert skipped == {"clip": "7.wav", "reason": "non-finite: NaN or Inf samples"}
    assert "| 7.wav | non-finite: NaN or Inf samples |" in (home / "generator" / "README.md").read_text()


def test_a_class_of_one_clip(home: Path, tmp_path: Path) -> None:
    folder = tones(tmp_path / "kit", "speech", 0, clips=40)
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    rows[5]["label"] = "clap"
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    wanted = r"class 'clap' of .* no clip of it is trained on: there are 1 in 1 groups; .* leave the class out"
    with pytest.raises(InputError, match=wanted):
        fit(str(home / "encoder"), folder, tmp_path / "out", cache=home / "cache")


def test_other_data_is_refused_before_it_is_heard(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tones(tmp_path / "other", "speech", 1, clips=40)
    monkeypatch.setattr("crossfade.condensing.hearing.extract", None)
    with pytest.raises(InputError, match=r"generator: was fitted on other clips, labels or folds"):
        evaluate(home / "generator", other, tmp_path / "results.json", cache=home / "cache")
