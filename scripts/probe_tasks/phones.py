"""Russian read speech with its phones, in time and in order, and with its words."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from audio_pack.packages import Package
from audio_pack.sound import RATE, read
from audio_pack.speech import RUSSIAN, aligned_phones
from probe_tasks.folders import LAPTOP, Clip, Task, settings

LICENCE = "LicenseRef-BSD-festvox-ru"
PAUSE = "pau"
TRANSCRIPTS = f"{RUSSIAN}/etc/txt.done.data"
SPLITS = {"train": 210, "valid": 30, "test": 60}


def tasks(packages: Mapping[str, Package], random: np.random.Generator) -> list[Task]:
    """Phones of unseen utterances, as frames and as sequences, and words; the same utterances in the same splits."""
    package = packages["festvox-ru"]
    splits = _splits(package, random)
    words = transcripts(package.folder / TRANSCRIPTS)
    return [
        Task(
            "phones_ru",
            settings(
                "Russian phones in time, unseen utterances",
                "speech",
                "segments",
                "frame_accuracy",
                kind="frames",
                **LAPTOP,
            ),
            _clips(package, splits, "segments", partial(_segments, package)),
            f"segments are [start, end, phone] in seconds; {PAUSE} is silence",
        ),
        Task(
            "phones_ru_ctc",
            settings(
                "Russian phones, unseen utterances", "speech", "phones", "per", kind="ctc", tokens="words", **LAPTOP
            ),
            _clips(package, splits, "phones", partial(_phones, package)),
            f"without silence ({PAUSE})",
        ),
        Task(
            "asr_ru",
            settings(
                "Russian words, unseen utterances", "speech", "text", "cer", kind="ctc", tokens="characters", **LAPTOP
            ),
            _clips(package, splits, "text", lambda utterance, _: words[utterance]),
            "text: lower case; Russian letters and spaces only",
        ),
    ]


def _splits(package: Package, random: np.random.Generator) -> dict[str, str]:
    """The shortest utterances, in random order."""
    files = sorted((package.folder / RUSSIAN / "wav").glob("*.wav"), key=lambda path: soundfile.info(path).frames)
    chosen = sorted(path.stem for path in files[: sum(SPLITS.values())])
    names = [split for split, count in SPLITS.items() for _ in range(count)]
    return {chosen[index]: name for index, name in zip(random.permutation(len(chosen)), names, strict=True)}


def transcripts(path: Path) -> dict[str, str]:
    """Lower-case words of every utterance; a + marks a stress and goes."""
    lines = re.findall(r'^\( (\S+) "(.*)" \)', path.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: " ".join(re.findall(r"[а-яё]+", text.lower().replace("+", ""))) for name, text in lines}


def _clips(
    package: Package, splits: Mapping[str, str], column: str, label: Callable[[str, float], object]
) -> Iterator[Clip]:
    """Utterances with what `label` makes of their names and seconds."""
    for utterance in sorted(splits):
        path = package.folder / RUSSIAN / "wav" / f"{utterance}.wav"
        samples = read(path)
        row = {column: label(utterance, len(samples) / RATE), "group": utterance, "split": splits[utterance]}
        yield Clip(utterance, samples, package.source(path), LICENCE, row)


def _segments(package: Package, utterance: str, seconds: float) -> list[tuple[float, float, str]]:
    """The alignment, ended with the recording."""
    phones = aligned_phones(package, utterance)
    return [(round(one.start, 4), round(min(one.end, seconds), 4), one.name) for one in phones if one.start < seconds]


def _phones(package: Package, utterance: str, seconds: float) -> str:
    return " ".join(name for _, _, name in _segments(package, utterance, seconds) if name != PAUSE)
