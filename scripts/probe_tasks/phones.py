"""Russian read speech with its phones, in time and in order."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import soundfile
from audio_pack.packages import Package
from audio_pack.sound import RATE, read
from audio_pack.speech import RUSSIAN, aligned_phones
from probe_tasks.folders import LAPTOP, Clip, Task, settings

LICENCE = "LicenseRef-BSD-festvox-ru"
PAUSE = "pau"
SPLITS = {"train": 210, "valid": 30, "test": 60}


def tasks(packages: Mapping[str, Package], random: np.random.Generator) -> list[Task]:
    """Phones of unseen utterances, as frames and as sequences; the same utterances in the same splits."""
    package = packages["festvox-ru"]
    splits = _splits(package, random)
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
            _clips(package, splits, "segments"),
            f"segments are [start, end, phone] in seconds; {PAUSE} is silence",
        ),
        Task(
            "phones_ru_ctc",
            settings(
                "Russian phones, unseen utterances", "speech", "phones", "per", kind="ctc", tokens="words", **LAPTOP
            ),
            _clips(package, splits, "phones"),
            f"without silence ({PAUSE})",
        ),
    ]


def _splits(package: Package, random: np.random.Generator) -> dict[str, str]:
    """The shortest utterances, in random order."""
    files = sorted((package.folder / RUSSIAN / "wav").glob("*.wav"), key=lambda path: soundfile.info(path).frames)
    chosen = sorted(path.stem for path in files[: sum(SPLITS.values())])
    names = [split for split, count in SPLITS.items() for _ in range(count)]
    return {chosen[index]: name for index, name in zip(random.permutation(len(chosen)), names, strict=True)}


def _clips(package: Package, splits: Mapping[str, str], label: str) -> Iterator[Clip]:
    for utterance in sorted(splits):
        path = package.folder / RUSSIAN / "wav" / f"{utterance}.wav"
        samples = read(path)
        segments = _segments(package, utterance, len(samples) / RATE)
        phones = " ".join(name for _, _, name in segments if name != PAUSE)
        row = {label: segments if label == "segments" else phones, "group": utterance, "split": splits[utterance]}
        yield Clip(utterance, samples, package.source(path), LICENCE, row)


def _segments(package: Package, utterance: str, seconds: float) -> Sequence[tuple[float, float, str]]:
    """The alignment, ended with the recording."""
    phones = aligned_phones(package, utterance)
    return [(round(one.start, 4), round(min(one.end, seconds), 4), one.name) for one in phones if one.start < seconds]
