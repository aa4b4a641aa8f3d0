"""Music as it is written: notes, chords, lines and drum patterns, played by a soundfont."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from audio_pack.music import MELODY_PROGRAMS, RHYTHM_PROGRAMS, SOUNDFONT
from audio_pack.packages import Package
from audio_pack.score import DRUMS, Note, Score, render
from audio_pack.sound import fit
from distil_corpora.cutting import audible
from probe_tasks.folders import Clip
from probe_tasks.music import PROGRAMS, VALID_KEYS, VALID_PROGRAMS
from probe_tasks.recordings import tidy

SILENCED = {PROGRAMS[name] for name in VALID_PROGRAMS}
"""Programs that validate `gm_pitch`: they do not play at all. What tests it is another soundfont."""
PLAYERS = [program for program in range(128) if program not in SILENCED]
LEADERS = [program for program in PLAYERS if program not in (*RHYTHM_PROGRAMS, *MELODY_PROGRAMS)]
"""Who plays more than one thing at a time: programs whose rhythms and melodies the pack tests play notes and chords."""
RANGE = range(24, 103)
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), tuple(range(12)))
CHORDS = ((0, 4, 7), (0, 3, 7), (0, 3, 6), (0, 4, 7, 10), (0, 7), (0, 12), (0, 5), (0, 4))
KITS = (0, 8, 16, 24, 25, 32, 40, 48)
DRUM_KEYS = range(35, 60)
NOTE, CHORD, LINE = 1.5, 2.0, 6.0
OCTAVES, CHORDS_EACH, LINES_EACH, BEATS_EACH = 2, 6, 10, 20
TOGETHER = 400  # scores in one run of the synthesiser


def played(package: Package, folder: Path) -> Iterator[Clip]:
    """Single notes, chords and lines of every program that may play them, and drums; `folder` is for the rendering."""
    random = np.random.default_rng(0)
    yield from _clips("note", package, folder, NOTE, [one for program in PLAYERS for one in notes(program, random)])
    yield from _clips("chord", package, folder, CHORD, [one for program in PLAYERS for one in chords(program, random)])
    yield from _clips("line", package, folder, LINE, [one for program in LEADERS for one in lines(program, random)])
    yield from _clips("drums", package, folder, LINE, [one for kit in KITS for one in beats(kit, random)])


def spared(program: int, key: int) -> bool:
    """Whether a program may play a key: the sixteen of `gm_instrument` do not play those that validate it."""
    return program not in PROGRAMS.values() or key not in VALID_KEYS


def notes(program: int, random: np.random.Generator) -> list[Score]:
    """Each pitch class in two octaves, at any velocity, from a quarter of a second to 1.2 seconds long."""
    found = []
    for pitch in range(12):
        keys = [key for key in RANGE if key % 12 == pitch and spared(program, key)]
        for key in random.choice(keys, OCTAVES, replace=False):
            found.append(Score(program, [Note(0.0, int(key), random.uniform(0.25, 1.2), _velocity(random))]))
    return found


def chords(program: int, random: np.random.Generator) -> list[Score]:
    """Two to four notes at once or one after the other, in the middle octaves."""
    found = []
    for _ in range(CHORDS_EACH):
        root, step, velocity = int(random.integers(36, 76)), random.choice([0.0, 0.12]), _velocity(random)
        keys = [root + interval for interval in CHORDS[random.integers(len(CHORDS))]]
        sounding = [
            Note(index * step, key, 1.6 - index * step, velocity)
            for index, key in enumerate(keys)
            if spared(program, key)
        ]
        found.append(Score(program, sounding))
    return found


def lines(program: int, random: np.random.Generator) -> list[Score]:
    """Walks over a scale with any rhythm; every second one over a bass that holds its root."""
    return [Score(program, _line(program, random, bass=bool(index % 2))) for index in range(LINES_EACH)]


def _line(program: int, random: np.random.Generator, *, bass: bool) -> list[Note]:
    scale, root = SCALES[random.integers(len(SCALES))], int(random.integers(40, 72))
    beat, at, degree = random.uniform(0.12, 0.35), 0.0, int(random.integers(8))
    found = [Note(0.0, root - 12, LINE - 0.5, _velocity(random))] if bass else []
    while at < LINE - 1.0:
        length = beat * int(random.choice([1, 1, 2, 3]))
        octave, step = divmod(degree, len(scale))
        found.append(Note(at, root + 12 * octave + scale[step], 0.95 * length, _velocity(random)))
        at += length
        degree = int(np.clip(degree + random.integers(-3, 4), -5, 14))
    return [note for note in found if spared(program, note.key)]


def beats(kit: int, random: np.random.Generator) -> list[Score]:
    """Two bars of up to five drums of a kit, each with a chance of its own to sound on any sixteenth."""
    found = []
    for _ in range(BEATS_EACH):
        step, drums = random.uniform(0.1, 0.16), random.choice(DRUM_KEYS, 5, replace=False)
        grid = random.random((32, 5)) < random.uniform(0.1, 0.4, 5)
        sounding = [
            Note(float(row * step), int(drums[column]), 0.1, _velocity(random)) for row, column in np.argwhere(grid)
        ]
        found.append(Score(kit, sounding, DRUMS))
    return found


def _velocity(random: np.random.Generator) -> int:
    return int(random.integers(40, 121))


def _clips(kind: str, package: Package, folder: Path, seconds: float, scores: Sequence[Score]) -> Iterator[Clip]:
    soundfont = package.folder / SOUNDFONT
    for first in range(0, len(scores), TOGETHER):
        together = scores[first : first + TOGETHER]
        sounds = render(together, soundfont, folder, seconds=seconds + 0.1)  # more than is kept, so that `fit` fades
        for number, (score, samples) in enumerate(zip(together, sounds, strict=True), first):
            if audible(samples):
                group = f"{'kit' if score.channel == DRUMS else 'program'}{score.program:03d}"
                clip = fit(tidy(samples), seconds, grid=0.5)
                yield Clip(f"{kind}_{number:05d}", clip, package.source(soundfont), "MIT", {"group": group})
