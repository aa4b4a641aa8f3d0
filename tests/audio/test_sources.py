import json
import os
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
import torch

from crossfade.audio.decode import UnreadableError, read_audio
from crossfade.audio.sources import find_audio
from crossfade.errors import InputError

Write = Callable[..., Path]
SOUND = np.linspace(-0.5, 0.5, 1600)


def encoded(height: float) -> bytes:
    memory = BytesIO()
    soundfile.write(memory, SOUND * height, 16000, format="WAV", subtype="FLOAT")
    return memory.getvalue()


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> datasets.Dataset:
    """Three clips with heights 0.25, 0.5 and 1, as a data set whose audio column would need torchcodec to decode."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    sounds = [{"bytes": encoded(height), "path": f"{height}.wav"} for height in (0.25, 0.5, 1.0)]
    data = datasets.Dataset.from_dict({"label": [0, 1, 2], "audio": sounds})
    return data.cast_column("audio", datasets.Audio())


def heights(files: list) -> list[float]:
    return [round(float(read_audio(file, 16000).max()) * 2, 4) for file in files]


def refusal(source: object) -> str:
    with pytest.raises(InputError) as caught:
        find_audio(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(source: object, folder: Path) -> list[str]:
    return [str(Path(file.name).relative_to(folder)) for file in find_audio(source)[0]]


# Files and folders


def test_one_list_per_source(write: Write) -> None:
    first, second = write("a.wav", SOUND), write("deep/b.FLAC", SOUND)
    assert [[file.name for file in files] for files in find_audio([first, str(second.parent)])] == [
        [str(first)],
        [str(second)],
    ]
    assert find_audio(first) == find_audio([str(first)])


def test_a_folder_is_searched_sorted_and_without_hidden_names(write: Write, tmp_path: Path) -> None:
    for name in ("b/2.flac", "b/1.wav", "a/z/9.ogg", "c.wav", ".hidden.wav", ".git/x.wav", "b/._1.wav"):
        write(name, SOUND)
    (tmp_path / "notes.txt").write_text("no sound")
    assert names(tmp_path, tmp_path) == ["a/z/9.ogg", "b/1.wav", "b/2.flac", "c.wav"]


def test_the_order_of_the_listing_does_not_matter(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b/2.wav", "b/1.wav", "a/9.wav", "c.wav"):
        write(name, SOUND)
    expected, scandir = names(tmp_path, tmp_path), os.scandir

    class Reversed:
        def __init__(self, path: str) -> None:
            with scandir(path) as found:
                self.entries = iter(sorted(found, key=lambda entry: entry.name, reverse=True))

        def __enter__(self) -> "Reversed":
            return self

        def __exit__(self, *error: object) -> None: ...

        def __iter__(self) -> "Reversed":
            return self

        def __next__(self) -> os.DirEntry[str]:
            return next(self.entries)

        def close(self) -> None: ...

    monkeypatch.setattr(os, "scandir", Reversed)
    assert names(tmp_path, tmp_path) == expected == ["a/9.wav", "b/1.wav", "b/2.wav", "c.wav"]


def test_links_are_followed_once_and_loops_end(write: Write, tmp_path: Path) -> None:
    write("music/a.wav", SOUND)
    (tmp_path / "music/again").symlink_to(tmp_path / "music")
    (tmp_path / "music/up").symlink_to(tmp_path)
    write("elsewhere/b.wav", SOUND)
    (tmp_path / "music/linked").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "music", tmp_path) == ["music/a.wav", "music/linked/b.wav"]


def test_files_and_folders_that_are_refused(tmp_path: Path) -> None:
    assert f"{tmp_path}/gone: no such file or folder" in refusal(tmp_path / "gone")
    assert f"{tmp_path}: no audio in this folder; expected files named .aif" in refusal(tmp_path)
    (tmp_path / "list.csv").write_text("path\n")
    assert f"it holds {tmp_path}/list.csv: give that instead" in refusal(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    assert "a.txt: neither audio nor a manifest" in refusal(tmp_path / "a.txt")
    assert "no audio given" in refusal([])


# Manifests


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_manifest_paths_are_relative_to_it_and_may_be_missing(write: Write, tmp_path: Path, kind: str) -> None:
    write("audio/b ü.wav", SOUND)
    absolute = write("elsewhere/a.wav", SOUND)
    paths = ["../audio/b ü.wav", str(absolute), "gone.wav"]
    manifest = tmp_path / "lists" / f"m.{kind}"
    manifest.parent.mkdir()
    if kind == "jsonl":
        manifest.write_text("\n".join(json.dumps({"path": path, "label": 1}) for path in paths) + "\n\n")
    elif kind == "csv":
        manifest.write_text("\ufefflabel,path\r\n" + "".join(f'1,"{path}"\r\n' for path in paths), encoding="utf-8")
    else:
        datasets.Dataset.from_dict({"path": paths, "label": [1, 1, 1]}).to_parquet(manifest)
    files = find_audio(manifest)[0]
    assert [read_audio(file, 16000).shape for file in files[:2]] == [(1600,), (1600,)]
    with pytest.raises(UnreadableError, match="No such file"):
        read_audio(files[2], 16000)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.jsonl", '{"path": "a.wav"}\n{"path": a.wav}\n', "m.jsonl line 2: not JSON"),
        (
            "m.jsonl",
            '{"path": "a.wav"}\n\n{"file": "a.wav"}\n',
            'line 3: expected {"path": "file.wav", ...}, got {"file"',
        ),
        ("m.jsonl", '["a.wav"]\n', "line 1: expected"),
        ("m.jsonl", '{"path": 3}\n', "line 1: expected"),
        ("m.jsonl", "", "lists no audio"),
        ("m.jsonl", '{"path": "x.wav"}\n{"path": "y.wav"}\n', "none of the 2 files it lists exists, first "),
        ("m.csv", "file,label\na.wav,1\n", "no `path` column; got columns file, label"),
        ("m.csv", "", "no `path` column; got columns none"),
        ("m.csv", "path,label\na.wav,1\na.wav,1,2\n", "m.csv line 3: expected 2 fields and a path"),
        ("m.csv", "path,label\n,1\n", "m.csv line 2: expected 2 fields and a path"),
        ("m.csv", 'path,label\n"a.wav"x,1\n', "m.csv line 2: not CSV"),
        ("m.csv", "path\n\udcff.wav\n", "m.csv: not UTF-8 text (invalid start byte at byte 5)"),
        ("m.parquet", "PAR1 no", "m.parquet: not a readable parquet file"),
    ],
)
def test_manifests_that_are_refused(write: Write, tmp_path: Path, name: str, text: str, message: str) -> None:
    write("a.wav", SOUND)
    (tmp_path / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    assert message in refusal(tmp_path / name)


def test_parquet_without_paths_is_refused(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"file": ["a.wav"]}).to_parquet(tmp_path / "m.parquet")
    assert "no `path` or `audio` column; got columns file" in refusal(tmp_path / "m.parquet")
    datasets.Dataset.from_dict({"path": ["a.wav", None]}).to_parquet(tmp_path / "n.parquet")
    assert "n.parquet row 1: expected a path, got None" in refusal(tmp_path / "n.parquet")


# Data sets


def test_a_data_set_in_all_its_forms(rows: datasets.Dataset, tmp_path: Path) -> None:
    rows.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict(test=rows.select([0]), train=rows).save_to_disk(tmp_path / "splits")
    rows.to_parquet(tmp_path / "rows.parquet")
    for source in (rows, tmp_path / "saved", tmp_path / "splits", tmp_path / "rows.parquet", rows.with_format("torch")):
        files = find_audio([source])[0]
        assert heights(files) == [0.25, 0.5, 1.0]
        assert files[2].name.endswith("[2]")
    assert find_audio(rows)[0][0].name == "Dataset[0]"
    assert find_audio(tmp_path / "splits")[0][0].name == f"{tmp_path}/splits:train[0]"
    assert "torchcodec" not in sys.modules


def test_a_data_set_of_paths_and_of_nothing(write: Write) -> None:
    path = str(write("a.wav", SOUND))
    files = find_audio(datasets.Dataset.from_dict({"audio": [path, None]}))[0]
    assert heights(files[:1]) == [1.0]
    with pytest.raises(UnreadableError, match="empty"):
        read_audio(files[1], 16000)


def test_data_sets_that_are_refused(rows: datasets.Dataset, tmp_path: Path) -> None:
    assert "no audio column; got columns label" in refusal(rows.select_columns(["label"]))
    assert "the data set has no rows" in refusal(rows.select([]))
    assert "expected a datasets.Dataset, got IterableDataset" in refusal(rows.to_iterable_dataset())
    assert "choose one split; it has dev, test" in refusal(datasets.DatasetDict(dev=rows, test=rows))
    assert "column `audio` does not hold encoded audio" in refusal(datasets.Dataset.from_dict({"audio": [1, 2]}))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/state.json").write_text("{}")
    assert "broken: cannot be loaded (" in refusal(tmp_path / "broken")


def test_hub_names(rows: datasets.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def load(name: str, config: str | None, *, revision: str | None, split: str | None) -> datasets.Dataset:
        asked.append((name, config, revision, split))
        return rows

    monkeypatch.setattr(datasets, "load_dataset", load)
    for source in ("hf:a/b", "hf:a/b@v1.0", "hf:b:test", "hf:a/b@main:clean:train[:10%]", "hf:a/b:train[5:10]"):
        assert heights(find_audio(source)[0]) == [0.25, 0.5, 1.0]
    assert asked == [
        ("a/b", None, None, None),
        ("a/b", None, "v1.0", None),
        ("b", None, None, "test"),
        ("a/b", "clean", "main", "train[:10%]"),
        ("a/b", None, None, "train[5:10]"),
    ]
    assert "hf:: not a data set's name" in refusal("hf:")


def test_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert "hf:no/such: cannot be loaded (Couldn't reach 'no/such' on the Hub" in refusal("hf:no/such")


def test_the_extra_is_named_where_it_is_missing(
    rows: datasets.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.to_parquet(tmp_path / "rows.parquet")
    rows.save_to_disk(tmp_path / "saved")
    monkeypatch.setitem(sys.modules, "datasets", None)
    for source in ("hf:a/b", tmp_path / "rows.parquet", tmp_path / "saved"):
        assert "needs datasets; pip install 'crossfade[datasets]'" in refusal(source)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "needs pyarrow.parquet; pip install 'crossfade[datasets]'" in refusal(tmp_path / "rows.parquet")


def test_samples_are_those_of_the_row(rows: datasets.Dataset) -> None:
    samples = read_audio(find_audio(rows)[0][1], 16000)
    torch.testing.assert_close(samples, torch.from_numpy(SOUND * 0.5).float())
