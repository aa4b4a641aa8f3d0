"""Speech: telephone prompts by seven voices in five languages, Mandarin syllables, Russian sentences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from audio_pack.clips import Clip, Task
from audio_pack.packages import Package
from audio_pack.sound import RATE, fit, read, trim

MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
INITIALS = "ㄅㄆㄇㄈㄉㄊㄋㄌㄍㄎㄏㄐㄑㄒㄓㄔㄕㄖㄗㄘㄙ"
PINYIN = ("b", "p", "m", "f", "d", "t", "n", "l", "g", "k", "h", "j", "q", "x", "zh", "ch", "sh", "r", "z", "c", "s")
PHONES = ("aa", "ee", "ii", "oo", "uu", "s", "sh", "zh", "r", "l", "m", "n", "k", "t", "v", "ch")
RUSSIAN = "usr/share/festival/voices/russian/msu_ru_nsh_clunits"


@dataclass(frozen=True)
class Voice:
    """Who speaks the prompts of one package; `icao` is where the international spelling alphabet is, if spoken."""

    name: str
    person: str
    package: str
    folder: str
    licence: str
    icao: str = ""


VOICES = (
    Voice("en_allison", "allison", "asterisk-core-sounds-en-wav", "en_US_f_Allison", "CC-BY-SA-3.0", "phonetic"),
    Voice("es_allison", "allison", "asterisk-core-sounds-es-wav", "es_MX_f_Allison", "CC-BY-SA-3.0", "phonetic"),
    Voice("fr_armelle", "armelle", "asterisk-prompt-fr-armelle", "fr", "LicenseRef-BSD-Armelle"),
    Voice("fr_june", "june", "asterisk-core-sounds-fr-wav", "fr_CA_f_June", "CC-BY-SA-3.0", "phonetic"),
    Voice("it_carlo", "carlo", "asterisk-core-sounds-it-wav", "it_IT_m_Carlo", "CC-BY-3.0"),
    Voice(
        "it_menardi", "menardi", "asterisk-prompt-it-menardi-wav", "it_IT_f_Menardi", "CC-BY-SA-3.0-IT", "phonetic/ICAO"
    ),
    Voice("ru_ivrvoice", "ivrvoice", "asterisk-core-sounds-ru-wav", "ru_RU_f_IvrvoiceRU", "CC-BY-3.0"),
)


def tasks(packages: Mapping[str, Package], random: np.random.Generator) -> list[Task]:
    """The four labelled speech tasks."""
    icao = (clip for voice in VOICES if voice.icao for clip in _words(packages, voice, voice.icao, _spelling()))
    months = (clip for voice in VOICES for clip in _words(packages, voice, "digits", _months()))
    return [
        Task("spelling_word", "Spelling-alphabet word, unseen speaker", "speech", list(icao)),
        Task("month", "Month name across five languages, unseen speaker", "speech", list(months)),
        Task("mandarin_initial", "Mandarin initial, unseen rime", "speech", _initials(packages, random)),
        Task("russian_phone", "Russian phone in running speech", "speech", _phones(packages, random)),
    ]


def calibration(packages: Mapping[str, Package], random: np.random.Generator, taken: set[str]) -> list[Clip]:
    """About four minutes from files that no task has `taken`: prompts, Mandarin syllables, Russian sentences."""
    prompts = [clip for voice in VOICES for clip in _prompts(packages, voice, random, taken)]
    return prompts + _syllable_rows(packages, random, taken) + _sentences(packages, random, taken)


def _spelling() -> dict[str, str]:
    return {f"{letter}_p": letter for letter in "abcdefghijklmnopqrstuvwxyz"}


def _months() -> dict[str, str]:
    return {f"mon-{number}": name for number, name in enumerate(MONTHS)}


def prompt_files(packages: Mapping[str, Package], voice: Voice, folder: str) -> list[Path]:
    """The recordings of one voice in one folder of its package, by name."""
    base = packages[voice.package].folder / "usr/share/asterisk/sounds" / voice.folder / folder
    return [path for path in sorted(base.iterdir()) if path.suffix in (".wav", ".gsm")]


def _words(packages: Mapping[str, Package], voice: Voice, folder: str, labels: Mapping[str, str]) -> Iterator[Clip]:
    for path in prompt_files(packages, voice, folder):
        if path.stem in labels:
            label = labels[path.stem]
            source = packages[voice.package].source(path)
            yield Clip(f"{voice.name}_{label}", fit(trim(read(path)), 1.0), source, voice.licence, label, voice.person)


@dataclass(frozen=True)
class _Syllable:
    path: Path
    initial: str
    rime: str
    tone: str


def _syllables(package: Package) -> list[_Syllable]:
    """What speaker 5 says: only those recordings are CC-BY; the others in the package are not used."""
    found = []
    for path in sorted((package.folder / "usr/share/gcin-voice/ogg").glob("*/5.ogg")):
        sounds, tone = path.parent.name.rstrip("1234"), path.parent.name[-1]
        initial = sounds[0] if sounds[0] in INITIALS else ""
        found.append(_Syllable(path, initial, sounds[len(initial) :], tone if tone in "1234" else "1"))
    return found


def _initials(packages: Mapping[str, Package], random: np.random.Generator) -> list[Clip]:
    package, clips = packages["gcin-voice"], []
    syllables = _syllables(package)
    for letter, label in zip(INITIALS, PINYIN, strict=True):
        mine = [syllable for syllable in syllables if syllable.initial == letter]
        for index in sorted(random.choice(len(mine), 10, replace=False)):
            one = mine[index]
            name = f"{label}_{index:02d}"
            clips.append(
                Clip(
                    name, fit(trim(read(one.path)), 0.5), package.source(one.path), "CC-BY-3.0", label, one.rime or "-"
                )
            )
    return clips


@dataclass(frozen=True)
class Phone:
    """One phone of an utterance; `start` and `end` in seconds."""

    utterance: str
    name: str
    start: float
    end: float


def aligned_phones(package: Package, utterance: str) -> list[Phone]:
    """The phones of an utterance in order: a line of its `.lab` file is end time, a number, the phone."""
    phones, start = [], 0.0
    for line in (package.folder / RUSSIAN / "lab" / f"{utterance}.lab").read_text(errors="replace").splitlines():
        fields = line.split()
        if len(fields) == 3:
            phones.append(Phone(utterance, fields[2], start, float(fields[0])))
            start = phones[-1].end
    return phones


def _alignment(package: Package) -> dict[str, list[Phone]]:
    """Every phone's occurrences."""
    phones: dict[str, list[Phone]] = {}
    for path in sorted((package.folder / RUSSIAN / "lab").glob("*.lab")):
        for phone in aligned_phones(package, path.stem):
            phones.setdefault(phone.name, []).append(phone)
    return phones


def _phones(packages: Mapping[str, Package], random: np.random.Generator) -> list[Clip]:
    """Fourteen occurrences of each of sixteen phones, 0.2 s around the middle of each."""
    package, clips = packages["festvox-ru"], []
    alignment, half = _alignment(package), RATE // 10
    for label in PHONES:
        usable = [one for one in alignment[label] if one.start > 0.3 and one.end - one.start > 0.05]
        for index in sorted(random.choice(len(usable), 14, replace=False)):
            one = usable[index]
            path = package.folder / RUSSIAN / "wav" / f"{one.utterance}.wav"
            middle = round((one.start + one.end) / 2 * RATE)
            samples = read(path)[middle - half : middle + half]
            name = f"{label}_{one.utterance}_{middle}"
            clips.append(Clip(name, samples, package.source(path), "LicenseRef-BSD-festvox-ru", label, one.utterance))
    return clips


def _prompts(
    packages: Mapping[str, Package], voice: Voice, random: np.random.Generator, taken: set[str]
) -> Iterator[Clip]:
    """About 20 seconds of whole prompts of one voice, each 1 to 4 seconds long."""
    package, left = packages[voice.package], 20.0
    files = [path for path in prompt_files(packages, voice, "") if package.source(path) not in taken]
    for index in random.permutation(len(files)):
        samples = trim(read(files[index])) if left > 0 else np.zeros(0, dtype=np.float32)
        if 1.0 <= len(samples) / RATE <= 4.0:
            left -= len(samples) / RATE
            yield Clip(f"{voice.name}_{files[index].stem}", samples, package.source(files[index]), voice.licence)


def _syllable_rows(packages: Mapping[str, Package], random: np.random.Generator, taken: set[str]) -> list[Clip]:
    """Twelve rows of ten Mandarin syllables each."""
    package = packages["gcin-voice"]
    free = [syllable.path for syllable in _syllables(package) if package.source(syllable.path) not in taken]
    chosen = random.choice(len(free), (12, 10), replace=False)
    return [_row(package, [free[index] for index in row], f"zh_{number:02d}") for number, row in enumerate(chosen)]


def _row(package: Package, paths: Sequence[Path], name: str) -> Clip:
    samples = np.concatenate([fit(trim(read(path)), 0.5) for path in paths])
    return Clip(name, samples, " ".join(package.source(path) for path in paths), "CC-BY-3.0")


def _sentences(packages: Mapping[str, Package], random: np.random.Generator, taken: set[str]) -> list[Clip]:
    """Twelve Russian sentences, at most 5 seconds of each."""
    package = packages["festvox-ru"]
    files = sorted((package.folder / RUSSIAN / "wav").glob("*.wav"))
    free = [path for path in files if package.source(path) not in taken]
    return [
        Clip(path.stem, fit(trim(read(path)), 5.0), package.source(path), "LicenseRef-BSD-festvox-ru")
        for path in (free[index] for index in sorted(random.choice(len(free), 12, replace=False)))
    ]
