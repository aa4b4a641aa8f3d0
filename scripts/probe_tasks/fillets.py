"""Acted dialogue of the game Fish Fillets in Czech and Dutch: two roles, each by one speaker, and what they say."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from audio_pack.packages import Package
from audio_pack.sound import RATE
from probe_tasks.folders import LAPTOP, Clip, Task, settings
from probe_tasks.recordings import recording

GAME = "usr/share/games/fillets-ng"
LICENCE = "GPL-2.0-only"
ROLES = {"font_small": "small", "font_big": "big"}  # the others are effects, crowds or a handful of lines
LINE = re.compile(
    r'dialogId\("(?P<id>[^"]+)",\s*"(?P<font>[^"]*)",\s*"(?:[^"\\]|\\.)*"\)\s*'
    r'dialogStr\("(?P<text>(?:[^"\\]|\\.)*)"\)'
)
LANGUAGES = {"cs": "Czech", "nl": "Dutch"}
LETTERS = {
    "cs": set("abcdefghijklmnopqrstuvwxyzáčďéěíňóřšťúůýž"),
    "nl": set("abcdefghijklmnopqrstuvwxyzèéëïöü"),
}
JOINING = "'’"  # as in zo'n: the letters on both sides become one word
SECONDS = (0.8, 8.0)
PACE = (4.0, 25.0)  # characters a second; outside it the words are not those of the recording
NOTE = (
    "text: lower case; apostrophes go, other punctuation becomes a space; letters of the language and spaces only; "
    "lines with digits or other signs are left out"
)


@dataclass(frozen=True)
class Line:
    """A recorded line and its words as the game shows them."""

    level: str
    role: str
    path: Path
    text: str
    script: Path


def lines(packages: Mapping[str, Package], language: str) -> list[Line]:
    """Every line of the two roles that is there both as text and as sound long enough to use, by level."""
    scripts = packages["fillets-ng-data"].folder / GAME / "script"
    sounds = packages[f"fillets-ng-data-{language}"].folder / GAME / "sound"
    found = []
    for script in sorted(scripts.glob(f"*/dialogs_{language}.lua")):
        stage = script.parent.name
        for match in LINE.finditer(script.read_text(encoding="utf-8")):
            path = sounds / stage / language / f"{match['id']}.ogg"
            if match["font"] in ROLES and path.exists() and soundfile.info(path).duration >= SECONDS[0]:
                found.append(Line(stage, ROLES[match["font"]], path, match["text"], script))
    return found


def normalise(text: str, language: str) -> str | None:
    """Lower-case words of the language's letters, or None where another sign leaves open what is said."""
    kept = []
    for character in unicodedata.normalize("NFC", text).lower():
        if character in LETTERS[language]:
            kept.append(character)
        elif character.isspace() or (unicodedata.category(character).startswith("P") and character not in "%\\&"):
            kept.append("" if character in JOINING else " ")
        else:
            return None
    return " ".join("".join(kept).split()) or None


def tasks(packages: Mapping[str, Package], random: np.random.Generator) -> list[Task]:
    """Speech recognition in both languages; levels of the game are unseen."""
    return [
        Task(
            f"asr_{language}",
            settings(
                f"{name} words, unseen dialogue", "speech", "text", "cer", kind="ctc", tokens="characters", **LAPTOP
            ),
            _clips(packages, language, random),
            NOTE,
        )
        for language, name in LANGUAGES.items()
    ]


def _clips(packages: Mapping[str, Package], language: str, random: np.random.Generator) -> Iterator[Clip]:
    package = packages[f"fillets-ng-data-{language}"]
    found = lines(packages, language)
    splits = _splits([line.level for line in found], random)
    for line in found:
        text = normalise(line.text, language)
        samples = recording(line.path)
        seconds = len(samples) / RATE
        if text and SECONDS[0] <= seconds <= SECONDS[1] and PACE[0] <= len(text) / seconds <= PACE[1]:
            row = {"text": text, "speaker": line.role, "group": line.level, "split": splits[line.level]}
            source = f"{package.source(line.path)} {packages['fillets-ng-data'].source(line.script)}"
            yield Clip(f"{line.level}_{line.path.stem}", samples, source, LICENCE, row)


def _splits(levels: Sequence[str], random: np.random.Generator) -> dict[str, str]:
    """Whole levels in random order: 70 % of the lines to train, 10 % to valid, 20 % to test."""
    splits, done = {}, 0
    for level in random.permutation(sorted(set(levels))):
        share = done / len(levels)
        splits[str(level)] = "train" if share < 0.7 else "valid" if share < 0.8 else "test"
        done += levels.count(level)
    return splits
