"""Drum hits of unseen kits; instrument and pitch of notes from an unseen soundfont."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

from audio_pack.packages import Package
from audio_pack.score import Note, Score, render
from audio_pack.sound import Samples, fit
from probe_tasks.folders import Clip, Task, settings
from probe_tasks.recordings import recording

KITS = "usr/share/hydrogen/data/drumkits"
KIT_LICENCES = {
    "BJA_Pacific": "CC-BY-SA-3.0-US",
    "ColomboAcousticDrumkit": "GPL-2.0-or-later with composition exception",
    "ElectricEmpireKit": "GPL-2.0-or-later",
    "ForzeeStereo": "GPL-2.0-only",
    "Gimme A Hand 1.0": "GPL-2.0-only",
    "HardElectro1": "GPL-2.0-or-later",
    "Millo-Drums_v.1": "GPL-2.0-only",
    "Millo_MultiLayered2": "GPL-2.0-only",
    "Millo_MultiLayered3": "GPL-2.0-only",
    "The Black Pearl 1.0": "GPL-2.0-only",
    "VariBreaks": "GPL-2.0-or-later",
    "rumpf_kit_z01_h2": "CC-BY-3.0",
}
SHARED = {"mc_cb.flac"}  # the cowbell of another kit once more
DRUMS = {
    "clap": r"clap",
    "cowbell": r"cowbell",
    "crash": r"crash",
    "hihat": r"hat|\bo?hh\b|chh|^hh",
    "kick": r"kick|bass ?drum",
    "ride": r"ride",
    "snare": r"snare(?! roll)",
    "tom": r"(?<![a-z])tom|floortom",
}

FONTS = {
    "musescore": ("musescore-general-soundfont-small", "usr/share/sounds/sf3/MuseScore_General_Lite.sf3", "MIT"),
    "timgm6mb": ("timgm6mb-soundfont", "usr/share/sounds/sf2/TimGM6mb.sf2", "GPL-2.0-only"),
}
PROGRAMS = {
    "piano": 0,
    "vibraphone": 11,
    "reed_organ": 20,
    "guitar": 24,
    "bass": 33,
    "cello": 42,
    "harp": 46,
    "choir": 52,
    "trumpet": 56,
    "horn": 60,
    "oboe": 68,
    "clarinet": 71,
    "flute": 73,
    "lead": 80,
    "banjo": 105,
    "steel_drum": 114,
}
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
KEYS = range(48, 72)  # C3 to B4
VALID_KEYS = KEYS[2::4]
VALID_PROGRAMS = tuple(PROGRAMS)[2::4]


def tasks(packages: Mapping[str, Package], folder: Path) -> list[Task]:
    """The three music tasks; `folder` is for the rendering."""
    return [
        Task(
            "drum",
            settings("Drum, unseen kit", "music", "drum", "uar"),
            _drums(packages["hydrogen-drumkits"]),
            "named as the kit names them; what the names leave open is left out",
        ),
        Task(
            "gm_instrument",
            settings("Instrument of a note, unseen soundfont", "music", "instrument", "accuracy"),
            _notes(packages, folder, "instrument"),
        ),
        Task(
            "gm_pitch",
            settings("Pitch of a note, unseen soundfont", "music", "pitch", "accuracy"),
            _notes(packages, folder, "pitch"),
        ),
    ]


def _drums(package: Package) -> Iterator[Clip]:
    """The first second of every hit."""
    for kit, licence in KIT_LICENCES.items():
        folder = package.folder / KITS / kit
        for file, drum in sorted(_named(folder).items()):
            name = f"{kit}_{Path(file).stem}".replace(" ", "_")
            samples = fit(recording(folder / file), 1.0, grid=1.0)
            yield Clip(name, samples, package.source(folder / file), licence, {"drum": drum, "group": kit})


def _named(kit: Path) -> dict[str, str]:
    """The kit's files by the one drum that the kit's list of instruments and the file's own name agree on."""
    drums: dict[str, set[str]] = {}
    text = (kit / "drumkit.xml").read_text(encoding="utf-8", errors="replace")
    root = ElementTree.fromstring(re.sub(r'\sxmlns="[^"]*"', "", text))
    for instrument in root.iter("instrument"):
        named = _drums_in(instrument.findtext("name", ""))
        for file in instrument.iter("filename"):
            drums.setdefault(file.text or "", set()).update(named)
    return {
        file: next(iter(named))
        for file, named in drums.items()
        if len(named) == 1 and _drums_in(file) <= named and file not in SHARED and (kit / file).is_file()
    }


def _drums_in(name: str) -> set[str]:
    return {drum for drum, pattern in DRUMS.items() if re.search(pattern, name.lower())}


def _notes(packages: Mapping[str, Package], folder: Path, label: str) -> Iterator[Clip]:
    """Every program at every key, one second: the first soundfont to learn from, the second to be tested on.

    Groups are what a clip shares with others of its split beside the label. What validates is unseen, too.
    """
    for font, (package, file, licence) in FONTS.items():
        path = packages[package].folder / file
        for (program, key), samples in _rendered(path, folder).items():
            pitch = f"{NAMES[key % 12]}{key // 12 - 1}"
            other = program if label == "pitch" else pitch
            valid = program in VALID_PROGRAMS if label == "pitch" else key in VALID_KEYS
            split = "test" if font == "timgm6mb" else "valid" if valid else "train"
            row = {label: pitch if label == "pitch" else program, "group": f"{font}_{other}", "split": split}
            yield Clip(f"{font}_{program}_{key}", samples, packages[package].source(path), licence, row)


@cache
def _rendered(font: Path, folder: Path) -> dict[tuple[str, int], Samples]:
    played = {(name, key): Score(program, [Note(0.0, key, 0.9)]) for name, program in PROGRAMS.items() for key in KEYS}
    return dict(zip(played, render(list(played.values()), font, folder, seconds=1.0), strict=True))
