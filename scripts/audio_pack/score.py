"""Notes to sound: a list of short scores, one MIDI file, one run of fluidsynth, one clip a score."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_pack.sound import RATE, Samples, read

TICKS = 480  # a second: 240 ticks a quarter note at MIDI's default of 120 a minute
DRUMS = 9
LEAD = 24  # ticks of silence before a score begins


@dataclass(frozen=True)
class Note:
    """`start` and `length` in seconds, `key` and `velocity` as in MIDI."""

    start: float
    key: int
    length: float
    velocity: int = 90


@dataclass(frozen=True)
class Score:
    """What one General MIDI `program` plays on one channel; channel `DRUMS` takes `program` as the drum kit."""

    program: int
    notes: Sequence[Note]
    channel: int = 0


def render(scores: Sequence[Score], soundfont: Path, folder: Path, *, seconds: float) -> list[Samples]:
    """Each score as `seconds` of 16 kHz sound without reverb or chorus; works in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    slot = seconds + 2.0  # room for the release, so that no score sounds into the next
    (folder / "scores.mid").write_bytes(_midi(scores, round(slot * TICKS)))
    options = ["-n", "-i", "-q", "-R", "0", "-C", "0", "-r", "44100", "-g", "0.5", "-T", "wav"]
    files = [str(soundfont), str(folder / "scores.mid")]
    subprocess.run(["fluidsynth", *options, "-F", str(folder / "scores.wav"), *files], check=True)
    sound = read(folder / "scores.wav")
    starts = (round(index * slot * RATE) for index in range(len(scores)))
    return [sound[start : start + round(seconds * RATE)] for start in starts]


def _midi(scores: Sequence[Score], slot: int) -> bytes:
    events = [event for index, score in enumerate(scores) for event in _events(score, index * slot)]
    body, now = b"", 0
    for tick, message in sorted(events, key=lambda event: event[0]):
        body += _variable_length(tick - now) + message
        now = tick
    body += _variable_length(slot) + b"\xff\x2f\x00"
    header = b"MThd" + bytes([0, 0, 0, 6, 0, 0, 0, 1]) + (TICKS // 2).to_bytes(2, "big")
    return header + b"MTrk" + len(body).to_bytes(4, "big") + body


def _events(score: Score, begin: int) -> list[tuple[int, bytes]]:
    events = [(begin, bytes([0xC0 | score.channel, score.program]))]
    for note in score.notes:
        on = begin + LEAD + round(note.start * TICKS)
        off = on + round(note.length * TICKS)
        events.append((on, bytes([0x90 | score.channel, note.key, note.velocity])))
        events.append((off, bytes([0x80 | score.channel, note.key, 0])))
    return events


def _variable_length(number: int) -> bytes:
    """MIDI's big-endian base-128 number."""
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(0x80 | number & 0x7F)
    return bytes(reversed(digits))
