"""A tiny copy of every published layout: the paths, names and columns of the real one, a few short sounds."""

import json
from collections.abc import Callable, Iterable
from functools import cache
from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np
import soundfile

FORMATS = {".flac": "FLAC", ".mp3": "MP3", ".wav": "WAV", ".au": "AU"}


@cache
def encoded(suffix: str, seconds: float) -> bytes:
    memory = BytesIO()
    sound = np.sin(np.arange(int(seconds * 8000)) / 5) / 4
    soundfile.write(memory, sound, 8000, format=FORMATS[suffix])
    return memory.getvalue()


def sound(path: Path, seconds: float = 0.02) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(path.suffix, seconds))


def sounds(folder: Path, names: Iterable[str], seconds: float = 0.02) -> None:
    for name in names:
        sound(folder / name, seconds)


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def librispeech(folder: Path) -> None:
    """Two speakers to train on, one to validate and one to test, two utterances each; a corpus that nobody asks for."""
    for corpus, speaker in (
        ("train-clean-100", 103),
        ("train-clean-100", 26),
        ("dev-clean", 84),
        ("test-clean", 61),
        ("train-other-500", 7),
    ):
        chapter = folder / corpus / str(speaker) / "1240"
        names = [f"{speaker}-1240-{number:04d}" for number in range(2)]
        text(chapter / f"{speaker}-1240.trans.txt", f"{names[0]} CHAPTER ONE", f"{names[1]} ONE CAT'S CHAPTER")
        sounds(chapter, (f"{name}.flac" for name in names))


def librispeech_with_lexicon(folder: Path) -> None:
    librispeech(folder)
    lexicon = folder / "lexicon"
    text(lexicon / "librispeech-lexicon-200k-g2p.txt", "ONE\tW AH1 N", "CHAPTER\tCH AE1 P T ER0", "ONE\tHH W AH1 N")
    text(lexicon / "librispeech-lexicon-allothers-g2p.txt", "CAT'S  K AE1 T S ", "ONE\tW AA1 N")


def speech_commands(folder: Path) -> None:
    """Three words with six speakers each: the fifth is for validation, the sixth for nothing."""
    train, test = folder / "speech_commands_v0.01", folder / "speech_commands_test_set_v0.01"
    clips = [f"{word}/{speaker:08x}_nohash_0.wav" for word, speaker in product(("yes", "on", "marvin"), range(6))]
    sounds(train, clips)
    text(train / "validation_list.txt", *clips[4::6])
    text(train / "testing_list.txt", *clips[5::6])
    noises = ("doing_the_dishes", "dude_miaowing", "exercise_bike", "pink_noise", "running_tap", "white_noise")
    sounds(train / "_background_noise_", (f"{noise}.wav" for noise in noises), seconds=2.5)
    text(train / "_background_noise_" / "README.md", "noise")
    sounds(test, (f"{word}/{word.strip('_')}_0.wav" for word in ("yes", "on", "_unknown_", "_silence_")))


def fluent_speech_commands(folder: Path) -> None:
    commands = ["change language,change language,none,none", "turn on the lights,activate,lights,kitchen"]
    for split, speakers in (("train", "ab"), ("valid", "c"), ("test", "d")):
        paths = [f"wavs/speakers/{speaker}/{number}.wav" for speaker, number in product(speakers, range(2))]
        sounds(folder, paths)
        rows = (f"{n},{path},{path.split('/')[2]},{commands[n % 2]}" for n, path in enumerate(paths))
        text(folder / "data" / f"{split}_data.csv", ",path,speakerId,transcription,action,object,location", *rows)


def voxceleb1(folder: Path) -> None:
    """Three speakers in dev and two in test, three utterances each: the first trains, the second validates."""
    lines = []
    for number, (part, speaker) in enumerate([*product(["dev"], range(1, 4)), *product(["test"], range(4, 6))]):
        for clip in (1, 2, 3):
            name = f"id1000{speaker}/video{number}/0000{clip}.wav"
            lines.append(f"{clip} {name}")
            sound(folder / part / "wav" / name)
    text(folder / "iden_split.txt", *lines)


def voxceleb1_with_trials(folder: Path) -> None:
    voxceleb1(folder)
    a, b, c = (f"id10004/video3/0000{clip}.wav" for clip in (1, 2, 3))
    text(folder / "veri_test2.txt", f"1 {a} {b}", f"0 {a} id10005/video4/00001.wav", f"1 {c} {b}")


def iemocap(folder: Path) -> None:
    """Eight turns in each session: five emotions that count, two of them one class, and three that do not."""
    emotions = ("ang", "hap", "exc", "sad", "neu", "fru", "xxx", "oth")
    for session in range(1, 6):
        dialog = f"Ses0{session}F_impro01"
        turns = [f"{dialog}_F{number:03d}" for number in range(len(emotions))]
        lines = [
            line
            for turn, emotion in zip(turns, emotions, strict=True)
            for line in (f"[6.29 - 8.23]\t{turn}\t{emotion}\t[2.5000, 2.5000, 2.5000]", "C-E2:\tNeutral;\t()", "")
        ]
        home = folder / f"Session{session}"
        text(home / "dialog" / "EmoEvaluation" / f"{dialog}.txt", "% [START_TIME - END_TIME] TURN_NAME EMOTION", *lines)
        text(home / "dialog" / "EmoEvaluation" / "Categorical" / f"{dialog}_e2_cat.txt", "one deeper")
        sounds(home / "sentences" / "wav" / dialog, (f"{turn}.wav" for turn in turns))


def vocalset(folder: Path) -> None:
    """Four singers, two techniques that count and one that does not, one take of two stretches and a rest."""
    for singer, technique in product(("female1", "female2", "male1", "male10"), ("belt", "trillo", "forte")):
        short = singer.replace("female", "f").replace("male", "m")
        sound(folder / "FULL" / singer / "arpeggios" / technique / f"{short}_arpeggios_{technique}_a.wav", 6.5)


def vocalset_marble(folder: Path) -> None:
    """MARBLE's pieces: each list has two takes of each of two singers, a take being two pieces."""
    for number, split in enumerate(("train", "valid", "test")):
        pieces = [
            f"{technique}/{singer}_take{number}_{technique}_c_a_0{part}.wav"
            for technique, singer, part in product(("belt", "vocal_fry"), ("f1", "m10"), (0, 1))
        ]
        sounds(folder / "audio", pieces)
        text(folder / f"{split}_s.txt", *pieces)
        text(folder / f"{split}_t.txt", *pieces)


def nsynth(folder: Path) -> None:
    for split, pitches in (("train", (60, 61, 62)), ("valid", (60,)), ("test", (61,))):
        notes = {
            f"{family}_acoustic_00{number}-0{pitch}-100": {
                "pitch": pitch,
                "instrument_family": number,
                "instrument_family_str": family,
                "qualities_str": ["dark"],
            }
            for pitch, (number, family) in product(pitches, enumerate(("bass", "synth_lead")))
        }
        text(folder / f"nsynth-{split}" / "examples.json", json.dumps(notes))
        sounds(folder / f"nsynth-{split}" / "audio", (f"{note}.wav" for note in notes))


def gtzan(folder: Path, home: str = "genres", suffix: str = ".wav") -> None:
    """Two genres of ten tracks."""
    for genre, number in product(("blues", "rock"), range(10)):
        sound(folder / home / genre / f"{genre}.{number:05d}{suffix}")


def gtzan_with_lists(folder: Path) -> None:
    """As Kaggle has it, with lists that leave out the last two tracks of each genre."""
    gtzan(folder, "Data/genres_original")
    for split, numbers in (("train", range(4)), ("valid", range(4, 6)), ("test", range(6, 8))):
        tracks = (f"{genre}/{genre}.{number:05d}.wav" for genre, number in product(("blues", "rock"), numbers))
        text(folder / f"{split}_filtered.txt", *tracks)


def gtzan_with_beats(folder: Path) -> None:
    gtzan_with_lists(folder)
    _beats(folder)


def gtzan_beats_alone(folder: Path) -> None:
    gtzan(folder, suffix=".au")
    _beats(folder)


def _beats(folder: Path) -> None:
    for genre, number in product(("blues", "rock"), range(10)):
        beats = folder / "gtzan_tempo_beat-main" / "beats" / f"gtzan_{genre}_{number:05d}.beats"
        text(beats, "0.25\t1", f"{0.75 + number / 100:.2f}\t2", "1.5 3")


def esc50(folder: Path) -> None:
    """Five folds of two classes with two takes of one source each."""
    rows = [
        (f"{fold}-{100 * fold + target}-{take}-{target}.wav", fold, target, category, True, 100 * fold + target, take)
        for fold, (target, category), take in product(range(1, 6), enumerate(("dog", "rain")), "AB")
    ]
    header = "filename,fold,target,category,esc10,src_file,take"
    text(folder / "meta" / "esc50.csv", header, *(",".join(map(str, row)) for row in rows))
    sounds(folder / "audio", (row[0] for row in rows))


def giantsteps(folder: Path) -> None:
    """Ten tracks to train on by five artists, of which one is unsure and one has two keys; two tracks to test."""
    train, test = folder / "giantsteps-mtg-key-dataset-master", folder / "giantsteps-key-dataset-master"
    keys = ["D# minor", "A major"] * 4 + ["C minor / F# minor", "G minor"]
    rows = [(str(5000 + number), key, 1 if number == 9 else 2) for number, key in enumerate(keys)]
    text(train / "annotations/annotations.txt", "ID\tMANUAL KEY\tC", *(f"{i}\t{key}\t{sure}" for i, key, sure in rows))
    artists = (f"{i}\tArtist {number // 2}\tSong" for number, (i, _, _) in enumerate(rows))
    text(train / "annotations/beatport_metadata.txt", "ID\tARTIST\tSONG TITLE", *artists)
    sounds(train / "audio", (f"{i}.LOFI.mp3" for i, _, _ in rows), 61.0)
    for track, key in (("1234749", "Eb minor"), ("3833050", "Db major")):
        text(test / "annotations" / "key" / f"{track}.LOFI.key", key)
        sound(test / "audio" / f"{track}.LOFI.mp3", 61.0)


def emomusic(folder: Path) -> None:
    """Eight songs of four artists in the development set; two in the evaluation set, one by an artist of the first."""
    info = "song_id, file_name, Artist, Song title, start of the segment (min.sec), Mediaeval 2013 set, Genre"
    artists = {song: f"Artist {song // 2}" for song in range(2, 12)} | {11: "Artist 1"}
    sets = {song: "development" if song < 10 else "evaluation" for song in artists}
    rows = (f'{song},{song}.mp3,"{artist}","One, two",0.15,{sets[song]},Blues' for song, artist in artists.items())
    text(folder / "songs_info.csv", info, *rows)
    header = "song_id, mean_arousal, std_arousal, mean_valence, std_valence"
    text(folder / "static_annotations.csv", header, *(f"{song},{song / 2},1.0,{song / 4},1.1" for song in artists))
    sounds(folder / "clips_45seconds", (f"{song}.mp3" for song in artists))


def magnatagatune(folder: Path, tags: tuple[str, ...]) -> None:
    """A clip in every one of the sixteen folders, the second tag and one beyond the fifty on all, the first on half."""
    header = "\t".join(f'"{name}"' for name in ("clip_id", *tags, "bongos", "mp3_path"))
    paths = [f"{letter}/artist-album-01-song-0-29.mp3" for letter in "0123456789abcdef"]
    marks = [["1" if tag == tags[1] or (tag == tags[0] and n % 2) else "0" for tag in tags] for n in range(16)]
    rows = ("\t".join(f'"{value}"' for value in (n, *marks[n], "1", paths[n])) for n in range(16))
    text(folder / "annotations_final.csv", header, *rows)
    sounds(folder / "mp3", paths)


BUILDERS: dict[str, Callable[[Path], None]] = {
    "asr": librispeech,
    "phones": librispeech_with_lexicon,
    "ks": speech_commands,
    "ic": fluent_speech_commands,
    "sid": voxceleb1,
    "sv": voxceleb1_with_trials,
    "er": iemocap,
    "singer": vocalset_marble,
    "singer, raw": vocalset,
    "vocal_technique": vocalset_marble,
    "vocal_technique, raw": vocalset,
    "instrument": nsynth,
    "pitch": nsynth,
    "genre": gtzan_with_lists,
    "genre, raw": gtzan,
    "esc50": esc50,
    "key": giantsteps,
    "emotion_music": emomusic,
    "beat": gtzan_with_beats,
    "beat, raw": gtzan_beats_alone,
}
