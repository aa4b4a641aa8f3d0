"""Instances about speech: words, languages, speakers, tones, phones, noise."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np
from audio_pack.sound import RATE, Samples
from instruction_sets.layout import Entry
from instruction_sets.recordings import Recording, balanced, read, some
from probe_tasks.phones import TRANSCRIPTS, transcripts

Maker = Callable[[int, np.random.Generator], list[Entry]]
LANGUAGES = {"cs": "Czech", "es": "Spanish", "fr": "French", "it": "Italian", "nl": "Dutch"}
TONES = {"1": "first", "2": "second", "3": "third", "4": "fourth"}
LEVELS = (-5, 0, 5, 10, 15, 20)
"""SNR in dB."""
PAUSE = "pau"
ALPHABET = (
    "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa quebec romeo "
    "sierra tango uniform victor whiskey xray yankee zulu"
)
WORDS = {word[0]: word for word in ALPHABET.split(" ")}


def makers(tasks: Path, pack: Path, russian: Path) -> dict[str, Maker]:
    """What makes each instance, by its name; `russian` is the unpacked package of the Russian voice."""
    dutch, czech = read(tasks / "asr_nl"), read(tasks / "asr_cs")
    language, phones = read(tasks / "language"), read(tasks / "phones_ru")
    words = partial(labelled, label=lambda one: one.row["text"])
    return {
        "SpeechRecognition_Fillets-nl": partial(words, dutch),
        "SpeechRecognition_Fillets-cs": partial(words, czech),
        "SpeechRecognition_Festvox-ru": partial(_transcribed, phones, transcripts(russian / TRANSCRIPTS)),
        "PhonemeRecognition_Festvox-ru": partial(labelled, phones, label=lambda one: " ".join(_phones(one))),
        "PhoneClassification_Festvox-ru": partial(labelled, read(pack / "russian_phone"), label=plain),
        "SpeakingRatePrediction_Festvox-ru": partial(labelled, phones, label=_pace),
        "LanguageIdentification_Voices": partial(labelled, language, label=lambda one: LANGUAGES[one.row["language"]]),
        "SpeakerVerification_Voices": partial(_verified, language),
        "SpeakerCounting_Voices": partial(_counted, language),
        "MandarinToneRecognition_Gcin": partial(
            labelled, read(tasks / "mandarin_tone"), label=lambda one: TONES[one.row["tone"]]
        ),
        "MandarinInitialPhonemeRecognition_Gcin": partial(labelled, read(pack / "mandarin_initial"), label=plain),
        "KeywordSpotting_Prompts-SpellingAlphabet": partial(
            labelled, read(pack / "spelling_word"), label=lambda one: WORDS[one.row["label"]]
        ),
        "MonthRecognition_Prompts": partial(labelled, read(pack / "month"), label=plain),
        "SpeechTextMatching_Fillets-nl": partial(_matched, dutch),
        "SpokenTermDetection_Fillets-cs": partial(_contained, czech),
        "WordCounting_Fillets-cs": partial(labelled, czech, label=lambda one: str(len(one.row["text"].split()))),
        "SpeechDetection_Fillets-cs": partial(_reversed, czech),
        "NoiseDetection_Fillets-nl-Gaussian": partial(_noisy, dutch),
        "NoiseSNRPrediction_Fillets-nl-Gaussian": partial(_levelled, dutch),
        "AudioDurationPrediction_Fillets-nl": partial(_timed, dutch),
    }


def plain(one: Recording) -> str:
    """The label of a task of the quickstart's pack."""
    return one.row["label"]


def labelled(
    recordings: Sequence[Recording], most: int, random: np.random.Generator, *, label: Callable[[Recording], str]
) -> list[Entry]:
    """Recordings as they are, as many of each label."""
    chosen = balanced(recordings, label, most, random)
    return [Entry([one.samples()], label(one), [one]) for one in chosen]


def _transcribed(
    recordings: Sequence[Recording], said: Mapping[str, str], most: int, random: np.random.Generator
) -> list[Entry]:
    return labelled(recordings, most, random, label=lambda one: said[one.path.stem])


def _segments(one: Recording) -> Iterable[tuple[float, float, str]]:
    return ((start, end, name) for start, end, name in one.row["segments"] if name != PAUSE)  # type: ignore[misc]


def _phones(one: Recording) -> list[str]:
    return [name for _, _, name in _segments(one)]


def _pace(one: Recording) -> str:
    """Phones a second, without the pauses."""
    return f"{len(_phones(one)) / sum(end - start for start, end, _ in _segments(one)):.1f}"


def _verified(recordings: Sequence[Recording], most: int, random: np.random.Generator) -> list[Entry]:
    """Two recordings in one language, half of the time by one speaker."""
    chosen, entries = balanced(recordings, lambda one: one.row["speaker"], most, random), []
    for number, one in enumerate(chosen):
        same = number % 2 == 0
        others = [
            other
            for other in recordings
            if other.row["language"] == one.row["language"]
            and (other.row["speaker"] == one.row["speaker"]) == same
            and other is not one
        ]
        other = others[random.integers(len(others))]
        entries.append(Entry([one.samples(), other.samples()], "yes" if same else "no", [one, other]))
    return entries


def _counted(recordings: Sequence[Recording], most: int, random: np.random.Generator) -> list[Entry]:
    """Three recordings after one another, by one to three speakers."""
    speakers = sorted({one.row["speaker"] for one in recordings})
    entries = []
    for number in range(most):
        wanted = number % 3 + 1
        chosen = list(random.permutation(speakers)[:wanted])
        turns = random.permutation((chosen * 3)[: 3 - wanted] + chosen)
        made_of = []
        for speaker in turns:
            own = [one for one in recordings if one.row["speaker"] == speaker and one not in made_of]
            made_of.append(own[random.integers(len(own))])
        label = ("one", "two", "three")[wanted - 1]
        entries.append(Entry([np.concatenate([one.samples() for one in made_of])], label, made_of))
    return entries


def _matched(recordings: Sequence[Recording], most: int, random: np.random.Generator) -> list[Entry]:
    """Speech and a text, half of the time its own."""
    chosen, entries = some(recordings, most, random), []
    for number, one in enumerate(chosen):
        text = (one if number % 2 == 0 else chosen[number - 1]).row["text"]
        label = "yes" if text == one.row["text"] else "no"
        entries.append(Entry([one.samples()], label, [one], {"text": text}))
    return entries


def _contained(recordings: Sequence[Recording], most: int, random: np.random.Generator) -> list[Entry]:
    """Speech and the longest word of it or of another recording."""
    chosen, entries = some(recordings, most, random), []
    for number, one in enumerate(chosen):
        words = (one if number % 2 == 0 else chosen[number - 1]).row["text"].split()
        word = max(words, key=len)
        label = "yes" if word in one.row["text"].split() else "no"
        entries.append(Entry([one.samples()], label, [one], {"text": word}))
    return entries


def _reversed(recordings: Sequence[Recording], most: int, random: np.random.Generator) -> list[Entry]:
    """Speech forwards and backwards."""
    chosen = some(recordings, most, random)
    return [
        Entry([one.samples()[:: -1 if number % 2 else 1].copy()], "no" if number % 2 else "yes", [one])
        for number, one in enumerate(chosen)
    ]


def noisy(samples: Samples, snr: float, random: np.random.Generator) -> Samples:
    """With white noise `snr` dB below it."""
    noise = random.standard_normal(len(samples)).astype(np.float32)
    gain = np.sqrt((samples**2).mean() / (noise**2).mean() / 10 ** (snr / 10))
    return samples + np.float32(gain) * noise


def _noisy(recordings: Sequence[Recording], most: int, random: np.random.Generator) -> list[Entry]:
    entries = []
    for number, one in enumerate(some(recordings, most, random)):
        samples = one.samples()
        heard = noisy(samples, LEVELS[number // 2 % len(LEVELS)], random) if number % 2 else samples
        entries.append(Entry([heard], "yes" if number % 2 else "no", [one]))
    return entries


def _levelled(recordings: Sequence[Recording], most: int, random: np.random.Generator) -> list[Entry]:
    chosen = zip(some(recordings, most, random), cycle(LEVELS), strict=False)
    return [Entry([noisy(one.samples(), snr, random)], str(snr), [one]) for one, snr in chosen]


def _timed(recordings: Sequence[Recording], most: int, random: np.random.Generator) -> list[Entry]:
    entries = []
    for one in some(recordings, most, random):
        samples = one.samples()
        entries.append(Entry([samples], f"{len(samples) / RATE:.1f}", [one]))
    return entries
