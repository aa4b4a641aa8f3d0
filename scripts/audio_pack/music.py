"""Music: real single notes, rendered phrases, drum and synthesiser samples."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from audio_pack.clips import Clip, Task
from audio_pack.packages import Package
from audio_pack.score import DRUMS, Note, Score, render
from audio_pack.sound import Samples, fit, read, trim

KEYS = ("C", "Cs", "D", "Ds", "E", "F", "Fs", "G", "Gs", "A", "As", "B")
INSTRUMENTS = (
    *("bass-electric", "cello", "clarinet", "flute", "guitar-acoustic", "guitar-electric", "guitar-nylon"),
    *("harmonium", "harp", "organ", "piano", "saxophone", "trombone", "violin"),
)
RHYTHMS = ("x.x.x.x.", "xx..x..x", "x..x..xx", "x.xxx...", "xxx..x..", "x...x.xx")
MELODIES = {
    "scale_up": (0, 2, 4, 5),
    "scale_down": (5, 4, 2, 0),
    "triad": (0, 4, 7, 12),
    "leap": (0, 7, 0, 7),
    "rise": (0, 0, 7, 7),
    "octave": (0, 12, 12, 0),
}
BASSES = range(32, 40)
PROGRAMS = range(96)  # General MIDI without effects, ethnic and percussive sounds
RHYTHM_PROGRAMS = PROGRAMS[::4]
MELODY_PROGRAMS = PROGRAMS[1::4]
SOUNDFONT = "usr/share/sounds/sf3/MuseScore_General_Lite.sf3"
BEATS = ("k.s.k.s.", "k.h.s.h.", "kkh.s.h.", "khshkhsh", "ks.ks.ks", "kskkkks.")
DRUM_KEYS = {"k": 36, "s": 38, "h": 42}


def tasks(packages: Mapping[str, Package], random: np.random.Generator, folder: Path) -> list[Task]:
    """The three labelled music tasks; `folder` is for the rendering."""
    return [
        Task("note_instrument", "Instrument of a real note, unseen pitch", "music", _instruments(packages)),
        Task("rhythm", "Rhythm at any tempo, unseen instrument", "music", _rhythms(packages, random, folder)),
        Task("melody", "Melody, unseen instrument", "music", _melodies(packages, random, folder)),
    ]


def calibration(
    packages: Mapping[str, Package], random: np.random.Generator, folder: Path, taken: set[str]
) -> list[Clip]:
    """About four minutes of music from sounds that no task has `taken`: notes, samples, chords, runs and drums."""
    notes = _spare_notes(packages, random, taken)
    return notes + _samples(packages["sonic-pi-samples"]) + _phrases(packages, random, folder)


def _notes(package: Package) -> list[tuple[int, Path]]:
    """(MIDI key, file) of one instrument, lowest first; alternative takes are left out."""
    found = []
    for path in (package.folder / "package").glob("*.mp3"):
        if match := re.fullmatch(r"([A-G]s?)(\d)", path.stem):
            found.append((12 * (int(match[2]) + 1) + KEYS.index(match[1]), path))
    return sorted(found)


def _instrument_packages(packages: Mapping[str, Package]) -> list[Package]:
    return [package for name, package in sorted(packages.items()) if name.startswith("tonejs-instrument-")]


def _instruments(packages: Mapping[str, Package], each: int = 12) -> list[Clip]:
    """At most `each` notes of an instrument, spread over its range; the group is the pitch."""
    clips = []
    for label in INSTRUMENTS:
        package = packages[f"tonejs-instrument-{label}-mp3"]
        notes = _notes(package)
        for index in np.linspace(0, len(notes) - 1, min(each, len(notes))).round().astype(int):
            key, path = notes[index]
            samples = fit(trim(read(path)), 0.8)
            clips.append(Clip(f"{label}_{path.stem}", samples, package.source(path), "CC-BY-3.0", label, f"key{key}"))
    return clips


def _root(program: int, random: np.random.Generator) -> int:
    return (36 if program in BASSES else 55) + int(random.integers(-6, 7))


def _phrase(keys: Sequence[int], step: float) -> list[Note]:
    return [Note(index * step, key, step * 0.9) for index, key in enumerate(keys)]


def _rendered(
    packages: Mapping[str, Package], scores: Sequence[Score], folder: Path, seconds: float
) -> tuple[list[Samples], str]:
    package = packages["musescore-general-soundfont-small"]
    soundfont = package.folder / SOUNDFONT
    return render(scores, soundfont, folder, seconds=seconds), package.source(soundfont)


def _rhythms(packages: Mapping[str, Package], random: np.random.Generator, folder: Path) -> list[Clip]:
    """Four hits on a grid of eight steps, random key and tempo (70 to 120 ms a step), by every fourth program."""
    named = [(program, pattern) for program in RHYTHM_PROGRAMS for pattern in RHYTHMS]
    scores = []
    for program, pattern in named:
        key, step = _root(program, random), float(random.uniform(0.07, 0.12))
        hits = [Note(index * step, key, step * 0.8) for index, mark in enumerate(pattern) if mark == "x"]
        scores.append(Score(program, hits))
    labels = [(program, pattern.replace(".", "-")) for program, pattern in named]
    return _labelled(packages, labels, scores, folder, 1.0)


def _melodies(packages: Mapping[str, Package], random: np.random.Generator, folder: Path) -> list[Clip]:
    """Four notes from a random first key, by every fourth program."""
    named = [(program, label) for program in MELODY_PROGRAMS for label in MELODIES]
    scores = []
    for program, label in named:
        root = _root(program, random)
        scores.append(Score(program, _phrase([root + interval for interval in MELODIES[label]], 0.22)))
    return _labelled(packages, named, scores, folder, 1.0)


def _labelled(
    packages: Mapping[str, Package],
    named: Sequence[tuple[int, str]],
    scores: Sequence[Score],
    folder: Path,
    seconds: float,
) -> list[Clip]:
    sounds, source = _rendered(packages, scores, folder, seconds)
    return [
        Clip(f"program{program:02d}_{label}", samples, source, "MIT", label, f"program{program:02d}")
        for (program, label), samples in zip(named, sounds, strict=True)
    ]


def _spare_notes(packages: Mapping[str, Package], random: np.random.Generator, taken: set[str]) -> list[Clip]:
    """Up to three more notes of every instrument, at most 1.5 seconds each."""
    clips = []
    for package in _instrument_packages(packages):
        free = [path for _, path in _notes(package) if package.source(path) not in taken]
        for index in sorted(random.choice(len(free), min(3, len(free)), replace=False)):
            name = f"{package.name.removeprefix('tonejs-instrument-').removesuffix('-mp3')}_{free[index].stem}"
            clips.append(Clip(name, fit(trim(read(free[index])), 1.5), package.source(free[index]), "CC-BY-3.0"))
    return clips


def _samples(package: Package) -> list[Clip]:
    """At most 4 seconds of loops and 1.5 seconds of every second other sample."""
    paths = sorted((package.folder / "usr/share/sonic-pi/samples").glob("*.flac"))
    loops = [path for path in paths if path.stem.startswith("loop_")]
    hits = [path for path in paths if not path.stem.startswith(("loop_", "vinyl_", "misc_"))][::3]
    return [
        Clip(path.stem, fit(trim(read(path)), longest), package.source(path), "CC0-1.0")
        for chosen, longest in ((loops, 4.0), (hits, 1.5))
        for path in chosen
    ]


def _phrases(packages: Mapping[str, Package], random: np.random.Generator, folder: Path) -> list[Clip]:
    """Chords and runs by programs that no task uses, and drum patterns."""
    free = [program for program in PROGRAMS if program not in (*RHYTHM_PROGRAMS, *MELODY_PROGRAMS)]
    scores = {f"program{program:02d}": Score(program, _improvise(program, random)) for program in free}
    scores |= {f"drums_{kit}_{index}": _drums(kit, beat) for kit in (0, 8, 25) for index, beat in enumerate(BEATS)}
    sounds, source = _rendered(packages, list(scores.values()), folder, 2.0)
    return [Clip(name, samples, source, "MIT") for name, samples in zip(scores, sounds, strict=True)]


def _improvise(program: int, random: np.random.Generator) -> list[Note]:
    """A triad, then six random notes of its scale."""
    root, scale = _root(program, random), (0, 2, 3, 5, 7, 8, 10, 12)
    chord = [Note(0.0, root + interval, 0.7) for interval in (0, 3, 7)]
    run = [Note(0.75 + 0.2 * index, root + scale[random.integers(8)], 0.18) for index in range(6)]
    return chord + run


def _drums(kit: int, beat: str) -> Score:
    hits = [Note(0.12 * index, DRUM_KEYS[hit], 0.1, 100) for index, hit in enumerate(beat * 2) if hit != "."]
    return Score(kit, hits, DRUMS)
