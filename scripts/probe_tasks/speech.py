"""The language of unseen speakers and the tone of Mandarin syllables."""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
import soxr
from audio_pack.packages import Package
from audio_pack.sound import HEADERLESS, RATE, Samples, decode, fit, level
from audio_pack.speech import VOICES, Voice, prompt_files
from probe_tasks import fillets
from probe_tasks.folders import Clip, Task, settings
from probe_tasks.recordings import recording

PROMPTS = {
    **{voice.name: voice for voice in VOICES if voice.name[:2] in ("es", "fr", "it")},
    "es_july": Voice("es_july", "july", "asterisk-prompt-es-co", "es", "GPL-2.0-only"),
}
# Each language has one speaker in either fold, and each fold one of the big fish, the two low voices.
FOLDS = (
    ("cs_small", "es_allison", "fr_june", "it_carlo", "nl_big"),
    ("cs_big", "es_july", "fr_armelle", "it_menardi", "nl_small"),
)
EACH_SPEAKER = 60
SECONDS = (1.0, 4.0)
TELEPHONE = 8000

EACH_TONE = 120
TONES = {"": "1", "2": "2", "3": "3", "4": "4"}  # by the last sign of a folder's name, where 1 is the neutral tone
READERS = {"3": "GPL-3.0-only OR LGPL-3.0-only", "5": "CC-BY-3.0"}


def tasks(packages: Mapping[str, Package], random: np.random.Generator) -> list[Task]:
    """Both tasks, in two folds: each fold's speakers are unseen by what was trained on the other."""
    return [
        Task(
            "language",
            settings("Language of five, unseen speakers", "speech", "language", "accuracy"),
            _languages(packages, random),
            "folds by speaker; every clip was brought to 8 kHz GSM 06.10, as two of the ten voices are: no codec tells",
        ),
        Task(
            "mandarin_tone",
            settings("Mandarin tone, unseen speaker and syllables", "speech", "tone", "accuracy"),
            _tones(packages["gcin-voice"], random),
            "folds by speaker, groups by syllable; without the neutral tone, which has 13 syllables",
        ),
    ]


def _languages(packages: Mapping[str, Package], random: np.random.Generator) -> Iterator[Clip]:
    for fold, speakers in enumerate(FOLDS):
        for speaker in speakers:
            package, licence, files = _recordings(packages, speaker)
            row = {"language": speaker[:2], "speaker": speaker, "split": f"fold{fold}"}
            for name, samples in _telephoned(files, random):
                yield Clip(f"{speaker}_{name}", samples, package.source(files[name]), licence, row)


def _recordings(packages: Mapping[str, Package], speaker: str) -> tuple[Package, str, dict[str, Path]]:
    """Package, licence and files by name of one speaker."""
    if voice := PROMPTS.get(speaker):
        files = prompt_files(packages, voice, "")
        return packages[voice.package], voice.licence, {path.stem: path for path in files}
    language, role = speaker.split("_")
    lines = [line for line in fillets.lines(packages, language) if line.role == role]
    package = packages[f"fillets-ng-data-{language}"]
    return package, fillets.LICENCE, {f"{line.level}_{line.path.stem}": line.path for line in lines}


def _telephoned(files: Mapping[str, Path], random: np.random.Generator) -> Iterator[tuple[str, Samples]]:
    """As many of the files as are wanted and long enough, in random order."""
    wanted = EACH_SPEAKER
    for name in random.permutation(sorted(files)):
        if not wanted:
            return
        samples = recording(files[name])
        if SECONDS[0] <= len(samples) / RATE <= SECONDS[1]:
            wanted -= 1
            yield str(name), _telephone(samples)


def _telephone(samples: Samples) -> Samples:
    """What GSM 06.10 at 8 kHz leaves."""
    coded = BytesIO()
    soundfile.write(coded, soxr.resample(level(samples), RATE, TELEPHONE), TELEPHONE, format="RAW", subtype="GSM610")
    coded.seek(0)
    return decode(coded, **HEADERLESS[".gsm"])


def _tones(package: Package, random: np.random.Generator) -> Iterator[Clip]:
    """Each reader says the one half of the syllables, whatever their tones: no syllable is in both folds."""
    folders = sorted((package.folder / "usr/share/gcin-voice/ogg").iterdir())
    syllables = sorted({_toneless(folder) for folder in folders})
    halves = np.array_split(random.permutation(syllables), len(READERS))
    for fold, (reader, half) in enumerate(zip(READERS, halves, strict=True)):
        mine = [folder / f"{reader}.ogg" for folder in folders if _toneless(folder) in half]
        for mark, tone in TONES.items():
            said = [path for path in mine if path.exists() and path.parent.name == _toneless(path.parent) + mark]
            for path in _some(said, EACH_TONE, random):
                name = f"reader{reader}_tone{tone}_{folders.index(path.parent):04d}"
                group = {"speaker": f"reader{reader}", "group": _toneless(path.parent), "split": f"fold{fold}"}
                samples = fit(recording(path), 1.0)
                yield Clip(name, samples, package.source(path), READERS[reader], {"tone": tone} | group)


def _toneless(folder: Path) -> str:
    return folder.name.rstrip("1234")


def _some(paths: Sequence[Path], most: int, random: np.random.Generator) -> list[Path]:
    return [paths[index] for index in sorted(random.permutation(len(paths))[:most])]
