import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from probing.layouts_on_disk import encoded, text

from crossfade.audio.decode import read_audio
from crossfade.errors import InputError
from crossfade.probing.hub import read_hub
from crossfade.probing.layouts import Hub
from crossfade.probing.tasks import load_dataset, load_task, task_names


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield {"bytes": encoded(".wav", 0.02), "path": "x.wav"}
    datasets.enable_progress_bars()


def rows_of(clip: dict[str, Any], **columns: list[Any]) -> datasets.Dataset:
    count = len(next(iter(columns.values())))
    return datasets.Dataset.from_dict(columns | {"audio": [clip] * count}).cast_column("audio", datasets.Audio())


def hub_data(name: str, clip: dict[str, Any]) -> datasets.Dataset | datasets.DatasetDict:
    if name == "asr":
        speakers = {"train.100": [103, 26], "train.360": [7], "validation": [84], "test": [61]}
        return datasets.DatasetDict(
            {s: rows_of(clip, text=["ONE CHAPTER"] * len(ids), speaker_id=ids) for s, ids in speakers.items()}
        )
    if name in ("genre", "instrument", "pitch"):
        columns = {"genre": ["blues", "rock"], "instrument": ["synth_lead", "reed"], "pitch": [60, 21]}
        part = rows_of(clip, **columns, label=[0, 1])
        return datasets.DatasetDict(train=part, validation=part, test=part)
    names, folds = ["dog", "rain"] * 5, [n // 2 + 1 for n in range(10)]
    return rows_of(clip, filename=[f"{n}.wav" for n in range(10)], fold=folds, category=names, src_file=list(range(10)))


PARTS = (6, [(2, 2, 2)])
HUB = {"asr": (4, [(2, 1, 1)]), "esc50": (10, [(6, 2, 2)] * 5), "genre": PARTS, "instrument": PARTS, "pitch": PARTS}


@pytest.mark.parametrize("name", HUB)
def test_tasks_of_the_hub_from_it_and_from_a_saved_copy(
    name: str, clip: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = load_task(name)
    assert task.data is not None
    data, asked = hub_data(name, clip), []
    data.save_to_disk(tmp_path / "saved")

    def load(name: str, config: str | None, *, revision: str | None, split: str | None) -> Any:
        asked.append((name, config, revision, split))
        return data

    monkeypatch.setattr(datasets, "load_dataset", load)
    for source in (None, f"hf:{task.data.hub.name}@v2", tmp_path / "saved"):
        dataset = load_dataset(task, source)
        folds = [(len(fold.train), len(fold.valid), len(fold.test)) for fold in dataset.folds]
        assert (len(dataset.items), folds) == HUB[name]
        assert [len(read_audio(item.audio, 8000)) for item in dataset.items] == [160] * len(dataset.items)
    hub = task.data.hub
    assert asked == [(hub.name, hub.config, None, None), (hub.name, hub.config, "v2", None)]
    assert dataset.items[-1].audio.name.startswith(f"{tmp_path}/saved:")


def test_the_tasks_that_name_a_hub_data_set() -> None:
    tasks = [load_task(name) for name in task_names()[0]]
    assert {task.name for task in tasks if task.data and task.data.hub.name} == set(HUB)


def test_any_data_set_with_the_label_column_will_do(clip: dict[str, Any], tmp_path: Path) -> None:
    words = datasets.ClassLabel(names=["yes", "bird", "_silence_"])
    part = rows_of(clip, word=[0, 1, 2]).cast_column("word", words)
    datasets.DatasetDict(train=part, dev=part, test=part).save_to_disk(tmp_path / "saved")
    dataset = load_dataset(load_task("ks"), tmp_path / "saved")
    assert [dataset.items[index].label for index in dataset.folds[0].train] == ["yes", "_unknown_", "_silence_"]
    assert [item.id for item in dataset.items][:4] == ["train[0]", "train[1]", "train[2]", "dev[0]"]


def test_a_saved_data_set_is_a_labelled_folder(clip: dict[str, Any], tmp_path: Path) -> None:
    rows_of(clip, label=["a", "b"] * 10, group=list(range(20))).save_to_disk(tmp_path / "birds")
    dataset = load_dataset(load_task(tmp_path / "birds"))
    assert (dataset.task.name, len(dataset.folds), dataset.items[7].group) == ("birds", 5, "7")


def test_data_sets_that_are_refused(clip: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = datasets.DatasetDict(train=rows_of(clip, text=["A"]), test=rows_of(clip, text=["A"]))
    parts.save_to_disk(tmp_path / "parts")
    datasets.Dataset.from_dict({"text": ["A"]}).save_to_disk(tmp_path / "mute")
    text(tmp_path / "broken" / "state.json", "{}")
    for name, message in (
        ("parts", "parts: no split 'train.100'; did you mean 'train'. known: test, train; LibriSpeech is published"),
        ("mute", "mute, split train: Dataset: no audio column; got columns text"),
        ("broken", "broken: cannot be loaded"),
    ):
        with pytest.raises(InputError, match=message):
            load_dataset(load_task("asr"), tmp_path / name)
    with pytest.raises(InputError, match=r"hf:: not a data set's name; expected hf:NAME"):
        read_hub(Hub(), "hf:")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"hf:no/such: cannot be loaded .*; ESC-50 is published on GitHub"):
        load_dataset(load_task("esc50"), "hf:no/such")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"needs datasets; pip install 'crossfade\[datasets\]'"):
        load_dataset(load_task("esc50"))
