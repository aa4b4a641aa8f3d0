from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from probing.layouts_on_disk import BUILDERS, gtzan, librispeech, magnatagatune, sound, sounds, text

from crossfade.audio.decode import read_audio
from crossfade.errors import InputError
from crossfade.probing.layouts import Data, Found, Join, Layout, Rows, Table, read_layouts
from crossfade.probing.tasks import Dataset, load_dataset, load_task

TAGS = load_task("tagging").label
BUILD = BUILDERS | {"tagging": lambda folder: magnatagatune(folder, TAGS)}
# what is said of each copy: clips, (train, valid, test) of each fold, different labels, groups
EXPECTED: dict[str, tuple[int, list[tuple[int, int, int]], int, int]] = {
    "asr": (8, [(4, 2, 2)], 2, 4),
    "phones": (8, [(4, 2, 2)], 2, 4),
    "ks": (31, [(22, 5, 4)], 4, 0),
    "ic": (8, [(4, 2, 2)], 2, 4),
    "sid": (15, [(5, 5, 5)], 5, 0),
    "sv": (13, [(6, 3, 4)], 5, 5),
    "er": (25, [(16, 4, 5)] * 5, 4, 0),
    "singer": (24, [(8, 8, 8)], 2, 12),
    "singer, raw": (24, [(14, 4, 6)] * 2 + [(16, 4, 4)] * 3, 4, 12),
    "vocal_technique": (24, [(8, 8, 8)], 2, 12),
    "vocal_technique, raw": (16, [(4, 4, 8)], 2, 4),
    "instrument": (10, [(6, 2, 2)], 2, 0),
    "pitch": (10, [(6, 2, 2)], 3, 0),
    "genre": (16, [(8, 4, 4)], 2, 0),
    "genre, raw": (20, [(13, 3, 4)] * 5, 2, 0),
    "esc50": (20, [(12, 4, 4)] * 5, 2, 10),
    "key": (20, [(12, 4, 4)], 3, 6),
    "emotion_music": (10, [(6, 2, 2)], 10, 6),
    "tagging": (16, [(12, 1, 3)], 2, 0),
    "beat": (16, [(8, 4, 4)], 8, 0),
    "beat, raw": (20, [(13, 3, 4)] * 5, 10, 0),
}


@pytest.fixture
def built(tmp_path: Path) -> Callable[[str], Dataset]:
    def load(name: str) -> Dataset:
        BUILD[name](tmp_path)
        return load_dataset(load_task(name.split(",")[0]), tmp_path)

    return load


def labels(dataset: Dataset, side: str = "train", fold: int = 0) -> list[Any]:
    return [dataset.items[index].label for index in getattr(dataset.folds[fold], side).tolist()]


def refusal(task: str, folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_dataset(load_task(task), folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", EXPECTED)
def test_every_published_layout_gives_its_clips_labels_groups_and_folds(
    name: str, built: Callable[[str], Dataset]
) -> None:
    dataset = built(name)
    folds = [(len(fold.train), len(fold.valid), len(fold.test)) for fold in dataset.folds]
    groups = {item.group for item in dataset.items} - {None}
    assert (len(dataset.items), folds, len({item.label for item in dataset.items}), len(groups)) == EXPECTED[name]
    assert all(len(read_audio(item.audio, 8000)) >= 160 for item in dataset.items)


def test_no_task_is_without_a_copy() -> None:
    tasks = {path.stem for path in Path(load_dataset.__code__.co_filename).parent.glob("tasks/*.yaml")}
    assert {name.split(",")[0] for name in EXPECTED} == tasks


# What is particular to a data set


def test_librispeech(built: Callable[[str], Dataset]) -> None:
    dataset = built("asr")
    assert labels(dataset) == ["CHAPTER ONE", "ONE CAT'S CHAPTER"] * 2
    assert [item.group for item in dataset.items] == ["84", "84", "61", "61", "103", "103", "26", "26"]


def test_librispeech_as_phones(built: Callable[[str], Dataset], tmp_path: Path) -> None:
    assert labels(built("phones"))[1] == "W AH1 N K AE1 T S CH AE1 P T ER0"
    text(tmp_path / "lexicon" / "librispeech-lexicon-allothers-g2p.txt", "ONE\tW AA1 N")
    assert "'CAT'S' is in no lexicon file; add its phones" in refusal("phones", tmp_path)


def test_speech_commands(built: Callable[[str], Dataset]) -> None:
    dataset = built("ks")
    assert sorted(labels(dataset, "test")) == ["_silence_", "_unknown_", "on", "yes"]
    assert sorted(labels(dataset, "valid")) == ["_silence_", "_silence_", "_unknown_", "on", "yes"]
    assert [labels(dataset).count(name) for name in ("yes", "on", "_unknown_", "_silence_")] == [4, 4, 4, 10]
    silence = [item for item in dataset.items if "running_tap" in item.id]
    assert [(item.id[-5:], item.start, item.seconds) for item in silence] == [("wav@0", 0, 1), ("wav@1", 1, 1)]
    assert all(item.split == "valid" for item in silence)


def test_fluent_speech_commands(built: Callable[[str], Dataset]) -> None:
    assert labels(built("ic"), "test") == [("change language", "none", "none"), ("activate", "lights", "kitchen")]


def test_voxceleb1(built: Callable[[str], Dataset]) -> None:
    dataset = built("sid")
    assert labels(dataset, "valid") == [f"id1000{speaker}" for speaker in range(1, 6)]
    assert {item.seconds for item in dataset.items} == {8.0}


def test_voxceleb1_trials(built: Callable[[str], Dataset], tmp_path: Path) -> None:
    dataset = built("sv")
    pairs = [
        (dataset.items[first].id[-24:], dataset.items[second].id[-24:], same) for first, second, same in dataset.trials
    ]
    a, b, c = (f"id10004/video3/0000{clip}.wav" for clip in (1, 2, 3))
    assert pairs == [(a, b, True), (a, "id10005/video4/00001.wav", False), (c, b, True)]
    assert sorted(labels(dataset, "test")) == ["id10004"] * 3 + ["id10005"]
    assert not set(labels(dataset, "valid")) & set(labels(dataset))
    text(tmp_path / "voxceleb1_test_v2.txt", f"1 {a} {c}")
    assert len(load_dataset(load_task("sv"), tmp_path).trials) == 1


def test_iemocap(built: Callable[[str], Dataset]) -> None:
    dataset = built("er")
    for number in range(5):
        assert sorted(labels(dataset, "test", number)) == ["ang", "hap", "hap", "neu", "sad"]
        assert {item.split for item in map(dataset.items.__getitem__, dataset.folds[number].test)} == {str(number + 1)}
        assert sorted(set(labels(dataset, "valid", number))) == ["ang", "hap", "neu", "sad"]


def test_vocalset_as_published(built: Callable[[str], Dataset], tmp_path: Path) -> None:
    dataset = built("vocal_technique, raw")
    assert {item.group for item in dataset.items if item.split == "test"} == {"female2", "male10"}
    assert {(item.start, item.seconds) for item in dataset.items} == {(0.0, 3.0), (3.0, 3.0)}
    assert {item.label for item in load_dataset(load_task("singer"), tmp_path).items} == {"f1", "f2", "m1", "m10"}
    (tmp_path / "FULL" / "female1").rename(tmp_path / "female1")
    (tmp_path / "FULL" / "male1").rename(tmp_path / "male1")
    (tmp_path / "FULL").rename(tmp_path / "elsewhere")
    assert {item.label for item in load_dataset(load_task("singer"), tmp_path).items} == {"f1", "m1"}


def test_nsynth(built: Callable[[str], Dataset], tmp_path: Path) -> None:
    assert labels(built("pitch")) == ["60", "60", "61", "61", "62", "62"]
    assert labels(load_dataset(load_task("instrument"), tmp_path), "test") == ["bass", "synth_lead"]


@pytest.mark.parametrize(("home", "suffix"), [("genres", ".au"), ("genres_original", ".wav")])
def test_gtzan_lies_in_several_places(tmp_path: Path, home: str, suffix: str) -> None:
    gtzan(tmp_path, home, suffix)
    dataset = load_dataset(load_task("genre"), tmp_path)
    assert [labels(dataset, "test", fold).count("rock") for fold in range(5)] == [2] * 5
    text(
        tmp_path / "train_filtered.txt",
        *(f"{genre}/{genre}.{n:05d}.wav" for genre in ("blues", "rock") for n in range(5)),
    )
    text(tmp_path / "test_filtered.txt", "rock/rock.00009.wav", "blues/blues.00009.wav")
    assert labels(load_dataset(load_task("genre"), tmp_path), "test") == ["rock", "blues"]


def test_esc50_validates_on_the_next_fold(built: Callable[[str], Dataset]) -> None:
    dataset = built("esc50")
    sides = [
        [{dataset.items[i].split for i in side.tolist()} for side in (f.train, f.valid, f.test)] for f in dataset.folds
    ]
    assert sides[0] == [{"3", "4", "5"}, {"2"}, {"1"}]
    assert sides[4] == [{"2", "3", "4"}, {"1"}, {"5"}]


def test_giantsteps(built: Callable[[str], Dataset]) -> None:
    dataset = built("key")
    assert sorted(set(labels(dataset)) | set(labels(dataset, "valid"))) == ["A major", "Eb minor"]
    assert labels(dataset, "test") == ["Eb minor", "Eb minor", "Db major", "Db major"]
    assert {item.start for item in dataset.items} == {0.0, 30.0}
    assert {item.group for item in dataset.items if item.split == "train"} == {f"train: Artist {n}" for n in range(4)}


def test_emomusic(built: Callable[[str], Dataset]) -> None:
    dataset = built("emotion_music")
    assert labels(dataset, "test") == [(5.0, 2.5), (5.5, 2.75)]
    assert [item.group for item in dataset.items][-1] == "evaluation: Artist 1"


def test_magnatagatune(built: Callable[[str], Dataset]) -> None:
    dataset = built("tagging")
    assert labels(dataset, "valid") == [("classical",)]
    assert labels(dataset, "test") == [("guitar", "classical"), ("classical",), ("guitar", "classical")]


def test_beats(built: Callable[[str], Dataset]) -> None:
    dataset = built("beat")
    assert labels(dataset)[1] == (0.25, 0.76, 1.5)
    assert {item.seconds for item in dataset.items} == {30.0}


# Absent and broken data


@pytest.mark.parametrize("name", EXPECTED)
def test_absent_data_says_where_it_is_published(name: str, tmp_path: Path) -> None:
    task = load_task(name.split(",")[0])
    assert task.data is not None
    message = refusal(task.name, tmp_path)
    assert message.startswith(f"{tmp_path}: expected rows in ")
    assert message.endswith(f"; {task.data.hint}")
    assert refusal(task.name, tmp_path / "gone") == f"{tmp_path}/gone: no such folder; {task.data.hint}"


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    BUILD["ks"](tmp_path)
    (tmp_path / "speech_commands_v0.01" / "testing_list.txt").unlink()
    assert f"{tmp_path}: expected rows in speech_commands_v0.01/testing_list.txt, found none; " in refusal(
        "ks", tmp_path
    )


def test_one_missing_sound_stays_listed_and_all_missing_are_refused(tmp_path: Path) -> None:
    BUILD["ic"](tmp_path)
    (tmp_path / "wavs/speakers/a/0.wav").unlink()
    assert len(load_dataset(load_task("ic"), tmp_path).items) == 8
    for path in tmp_path.rglob("*.wav"):
        path.unlink()
    message = refusal("ic", tmp_path)
    assert "none of the 8 sounds of data/{split:train|valid|test}_data.csv exists, first " in message


def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    BUILD["emotion_music"](tmp_path)
    songs = tmp_path / "songs_info.csv"
    songs.write_text(songs.read_text().replace("Artist,", "Artists,", 1))
    message = "cannot be filled from the columns ('Artist'); did you mean 'Artists'? known: "
    assert f"{tmp_path}: '{{Mediaeval 2013 set}}: {{Artist}}' {message}" in refusal("emotion_music", tmp_path)


def test_nothing_kept_is_refused(tmp_path: Path) -> None:
    sound(tmp_path / "a" / "1.wav")
    rows = Rows(files="{word}/{n}.wav")
    data = Data(layouts=(Layout(rows=(rows,)),), keep={"word": "b"}, hint="ask a friend")
    with pytest.raises(InputError, match=r"none of 1 rows has \{'word': 'b'\}; ask a friend"):
        read_layouts(data, tmp_path)


# The reader by itself


def found(folder: Path, *rows: Rows, **more: Any) -> Found:
    return read_layouts(Data(layouts=(Layout(rows=rows, **more),), hint="nowhere"), folder)


def test_fields_of_paths_agree_and_hidden_names_are_left_out(tmp_path: Path) -> None:
    sounds(tmp_path, ("rock/rock.1.wav", "rock/pop.2.wav", "rock/.3.wav", ".pop/pop.1.wav", "rock/deep/rock.4.wav"))
    rows = found(tmp_path, Rows(files="{genre}/{genre}.{n:[0-9]}.wav")).rows
    assert [(row["genre"], row["n"], row["path"]) for row in rows] == [("rock", "1", "rock/rock.1.wav")]


def test_the_first_of_several_patterns_counts(tmp_path: Path) -> None:
    sounds(tmp_path, ("b/1.wav", "c/2.wav"))
    assert [row["id"] for row in found(tmp_path, Rows(files=("a/{n}.wav", "b/{n}.wav", "c/{n}.wav"))).rows] == [
        "b/1.wav"
    ]


def test_a_short_sound_is_cut_into_one_and_so_is_an_unreadable_one(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav", 0.5)
    text(tmp_path / "b.wav", "no sound")
    rows = found(tmp_path, Rows(files="{n}.wav", cut=1.0)).rows
    assert [(row["id"], row["start"], row["seconds"]) for row in rows] == [("a.wav", 0, 1), ("b.wav", 0, 1)]


def test_joins_lexicon_and_templates(tmp_path: Path) -> None:
    sounds(tmp_path, ("1.wav", "2.wav", "3.wav"))
    text(tmp_path / "who.csv", "n,who", "1,Ann", "1,Bob", "2,Cid")
    text(tmp_path / "words.txt", "hi H AY")
    rows, who = Rows(files="{n}.wav", columns={"text": "hi hi"}), Join(files="who.csv", by="n", required=True)
    lexicon = Table(files="words.txt", pattern=r"(?P<word>\w+) (?P<phones>.+)")
    read = found(tmp_path, rows, join=(who,), lexicon=lexicon, columns={"group": "{who[0]}{n}"}).rows
    assert [(row["n"], row["group"], row["phones"]) for row in read] == [
        ("1", "A1", "H AY H AY"),
        ("2", "C2", "H AY H AY"),
    ]


def test_trials_of_sounds_that_are_not_there_are_refused(tmp_path: Path) -> None:
    sound(tmp_path / "1.wav")
    text(tmp_path / "pairs.txt", "1 1 2")
    trials = Join(files="pairs.txt", pattern=r"(?P<same>\d) (?P<first>\d) (?P<second>\d)", by="n")
    with pytest.raises(InputError, match=r"expected a row for 2, which pairs.txt lists; nowhere"):
        found(tmp_path, Rows(files="{n}.wav"), trials=trials)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"files": "{n:(}.wav"}, r"' is not a regular expression \(missing \), unterminated subpattern"),
        ({"files": "{n}.wav", "columns": {"group": "{n"}}, r"'\{n' cannot be filled from the columns \(expected '\}'"),
        (
            {"files": "{n}.wav", "columns": {"group": "{n[9]}"}},
            r"cannot be filled from the columns \(string index",
        ),
    ],
)
def test_a_layout_that_is_no_layout(tmp_path: Path, field: dict[str, Any], message: str) -> None:
    sound(tmp_path / "1.wav")
    with pytest.raises(InputError, match=message):
        found(tmp_path, Rows.model_validate(field))


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.listdir", refuse)
    with pytest.raises(InputError, match=r"cannot be listed \(Permission denied\)"):
        found(tmp_path, Rows(files="{n}.wav"))


def test_librispeech_needs_only_what_is_asked_for(tmp_path: Path) -> None:
    librispeech(tmp_path)
    for path in (tmp_path / "train-other-500").rglob("*.flac"):
        path.unlink()
    assert len(load_dataset(load_task("asr"), tmp_path).items) == 8
