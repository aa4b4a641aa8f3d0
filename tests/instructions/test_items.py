"""Items of every local layout: sounds in order, text, options, and nothing decoded before it is asked for."""

import json
from pathlib import Path

import datasets
import pytest
import torch
from prepared_instances import card, prepared, rows, sound

from crossfade.audio.decode import UnreadableError
from crossfade.errors import InputError
from crossfade.instructions.benchmark import Instance, read_benchmark
from crossfade.instructions.items import load_items


def instance(folder: Path) -> Instance:
    (one,) = read_benchmark(folder).instances
    return one


def test_a_prepared_folder(tmp_path: Path) -> None:
    items = load_items(instance(prepared(tmp_path / "Dogs_One", rows(5), pairs=3)))
    assert len(items) == 5
    item = items[1]
    assert (item.instance, item.id, item.label, item.options) == ("Dogs_One", "clip1", "cat", ("dog", "cat", "bird"))
    names = [Path(one.name).name for one in item.sounds]
    assert names == ["Dogs_One_clip1.wav", "Dogs_One_clip1_pair2.wav", "Dogs_One_clip1_pair3.wav"]
    assert item.sounds[0].seconds == pytest.approx(0.05)


def test_sounds_are_mono_at_their_own_rate(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "Dogs_One", rows(1))
    sound(folder / "Dogs_One_clip0.wav", seconds=0.1, rate=11025, channels=2)
    samples, rate = load_items(instance(folder))[0].sounds[0].load()
    assert (rate, samples.shape, samples.dtype) == (11025, torch.Size([1102]), torch.float32)
    assert samples.abs().max() == pytest.approx(0.1875, abs=1e-3)  # the mean of 1/8 and 1/4


def test_text_columns_and_labels_that_are_no_text(tmp_path: Path) -> None:
    row = {**rows(1)[0], "text": "a b", "text2": None, "label": 3.5, "score": 1}
    (item,) = load_items(instance(prepared(tmp_path / "Rate_One", [row], kind="regression")))
    assert (dict(item.texts), item.label, item.options) == ({"text": "a b"}, "3.5", ())


def test_slices_and_limits(tmp_path: Path) -> None:
    one = instance(prepared(tmp_path / "Dogs_One", rows(5)))
    assert [item.id for item in load_items(one, limit=2)] == ["clip0", "clip1"]
    assert [item.id for item in load_items(one)[3:]] == ["clip3", "clip4"]
    assert load_items(one)[-1].id == "clip4"
    assert len(load_items(one, limit=9)) == 5
    with pytest.raises(IndexError):
        load_items(one, limit=2)[2]


def test_a_sound_that_is_missing_is_found_when_it_is_loaded(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "Dogs_One", rows(2))
    (folder / "Dogs_One_clip0.wav").unlink()
    first, second = load_items(instance(folder))
    assert first.sounds[0].seconds is None
    with pytest.raises(UnreadableError, match="cannot be opened: No such file"):
        first.sounds[0].load()
    assert len(second.sounds[0].load()[0]) == 400


def test_items_whose_first_column_was_audio1_begin_with_their_second_clip(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "Dogs_One", rows(1), pairs=3)
    (folder / "Dogs_One_clip0.wav").unlink()
    (item,) = load_items(instance(folder))
    assert [Path(one.name).name[-9:] for one in item.sounds] == ["pair2.wav", "pair3.wav"]


def test_an_instance_without_any_sound_is_about_text(tmp_path: Path) -> None:
    items = load_items(instance(prepared(tmp_path / "NBest_One", rows(2), pairs=0)))
    assert [item.sounds for item in items] == [(), ()]


def test_ids_are_unique(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "Dogs_One", rows(1))
    told = {"a.wav": rows(1)[0], "b.wav": rows(1)[0], "c.wav": rows(1)[0] | {"file": "clip0#2"}}
    (folder / "metadata.json").write_text(json.dumps(told))
    assert [item.id for item in load_items(instance(folder))] == ["clip0", "clip0#3", "clip0#2"]


def test_a_column_that_is_missing(tmp_path: Path) -> None:
    row = {"file": "clip0", "instruction": "Which?", "lable": "dog"}
    with pytest.raises(InputError, match=r"Dogs_One_clip0\.wav: no 'label'; did you mean 'lable'\?"):
        load_items(instance(prepared(tmp_path / "Dogs_One", [row])))


def test_sound_generation_is_refused(tmp_path: Path) -> None:
    one = instance(prepared(tmp_path / "Dogs_One", rows(1), kind="audio generation"))
    assert one.kind == "unsupported"
    with pytest.raises(InputError, match="not supported: its answers are sounds"):
        load_items(one)


def test_a_table_of_sounds(tmp_path: Path) -> None:
    folder = tmp_path / "Dogs_One"
    card(folder, path=".")
    for name in ("a", "b", "c"):
        sound(folder / f"data/test/{name}.wav")
    (folder / "metadata.csv").write_text(
        "file_name,audio2_file_name,file,instruction,label\n"
        'data/test/a.wav,data/test/c.wav,one,"The answer could be dog, or cat.",dog\n'
        'data/test/b.wav,,two,"The answer could be dog, or cat.",cat\n'
    )
    one = instance(folder)
    items = load_items(one)
    assert (one.items, [len(item.sounds) for item in items], items[0].options) == (2, [2, 1], ("dog", "cat"))
    assert len(items[0].sounds[1].load()[0]) == 400


def test_a_cloned_data_set_with_the_columns_of_speaker_verification(tmp_path: Path) -> None:
    sound(tmp_path / "one.wav")
    sound(tmp_path / "two.wav", seconds=0.1)
    audio = [{"bytes": (tmp_path / name).read_bytes(), "path": None} for name in ("one.wav", "two.wav")]
    columns = {
        "file": ["a", "b"],
        "testing": [audio[1], None],
        "enrollment": [audio[0], audio[0]],
        "instruction": ["Same? The answer could be yes or no."] * 2,
        "label": ["yes", "no"],
    }
    data = datasets.Dataset.from_dict(columns)
    for column in ("testing", "enrollment"):
        data = data.cast_column(column, datasets.Audio(decode=False))
    folder = tmp_path / "SuperbSV_VoxCeleb1-Test"
    card(folder, path=".")
    data.to_parquet(folder / "data/test-00000-of-00001.parquet")
    one = instance(folder)
    items = load_items(one)
    assert (one.items, len(items), items[1].label) == (2, 2, "no")
    assert [len(sound.load()[0]) for sound in items[0].sounds] == [400, 800]
    assert [len(item.sounds) for item in items] == [2, 1]
