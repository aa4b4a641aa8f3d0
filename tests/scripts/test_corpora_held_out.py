"""What measures is not heard: by recording, by folder, under any name."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from audio_pack.packages import Package
from distil_corpora.held_out import HeldOut, files, held_out
from probe_tasks.folders import Clip, Task


@pytest.fixture
def package(tmp_path: Path) -> Package:
    folder = tmp_path / "game"
    for name in ("a/train", "a/other", "b/test", "b/left out", "c/copy", "c/own", "c/fold", "c/pack"):
        path = folder / "usr" / f"{name}.ogg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"b/test" if name == "c/copy" else name.encode())
    return Package("game", "1:2.0-1", folder)


def _task(package: Package, name: str, rows: Mapping[str, str | None]) -> Task:
    def clip(file: str, split: str | None) -> Clip:
        source = package.source(package.folder / "usr" / f"{file}.ogg")
        return Clip(file, np.zeros(1, dtype=np.float32), source, "CC0-1.0", {"split": split} if split else {})

    return Task(name, {}, [clip(file, split) for file, split in rows.items()])


def _spared(held: HeldOut, package: Package) -> set[str]:
    paths = (package.folder / "usr").glob("*/*.ogg")
    return {f"{path.parent.name}/{path.stem}" for path in paths if held.spares(package, path)}


def test_only_training_rows_may_be_heard(package: Package, tmp_path: Path) -> None:
    task = _task(package, "words", {"a/train": "train", "a/other": "valid", "b/test": "test", "c/fold": "fold1"})
    assert _spared(held_out({"game": package}, [task], tmp_path), package) == {
        *("a/train", "b/left out", "c/own", "c/pack")
    }


def test_rows_without_a_split_take_turns_and_are_all_held(package: Package, tmp_path: Path) -> None:
    held = held_out({"game": package}, [_task(package, "words", {"c/own": None})], tmp_path)
    assert "c/own" not in _spared(held, package)


def test_a_tested_level_is_held_with_all_that_is_said_in_it(package: Package, tmp_path: Path) -> None:
    held = held_out({"game": package}, [_task(package, "asr_cs", {"a/train": "train", "b/test": "test"})], tmp_path)
    assert _spared(held, package) == {"a/train", "a/other", "c/own", "c/fold", "c/pack"}


def test_the_pack_is_held_but_not_its_calibration(package: Package, tmp_path: Path) -> None:
    for folder, file in {"month": "c/pack", "calibration/speech": "c/own"}.items():
        path = tmp_path / "pack" / folder / "manifest.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"source": package.source(package.folder / "usr" / f"{file}.ogg")}) + "\n")
    held = held_out({"game": package}, [], tmp_path / "pack")
    assert _spared(held, package) == {"a/train", "a/other", "b/test", "b/left out", "c/copy", "c/own", "c/fold"}


def test_rendered_tasks_are_not_played_to_find_out(package: Package, tmp_path: Path) -> None:
    def clips() -> list[Clip]:
        raise AssertionError("rendered")

    held_out({"game": package}, [Task("gm_pitch", {}, (one for make in [clips] for one in make()))], tmp_path)


def test_a_source_may_name_several_files_with_spaces() -> None:
    first, second = "kits=1:2.0~b+1-1:usr/share/Gimme A Hand 1.0/a b.wav", "tone-mp3=1.1.2:package/C#4.mp3"
    assert files(f"{first} {second}") == [first, second]
    assert files(first) == [first]
