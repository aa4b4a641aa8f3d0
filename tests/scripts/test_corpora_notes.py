"""Scores of the corpora: who plays what, and what is never played because it measures."""

import numpy as np
import pytest
from audio_pack.music import MELODY_PROGRAMS, RHYTHM_PROGRAMS
from audio_pack.score import DRUMS, Score
from distil_corpora.notes import KITS, LEADERS, LINE, PLAYERS, beats, chords, lines, notes
from probe_tasks.music import PROGRAMS, VALID_KEYS, VALID_PROGRAMS

EVERY = [
    score for program in PLAYERS for make in (notes, chords, lines) for score in make(program, np.random.default_rng(0))
]


def _keys(scores: list[Score]) -> list[int]:
    return [note.key for score in scores for note in score.notes]


def test_what_validates_is_not_played() -> None:
    assert len(PLAYERS) == 124
    assert not {PROGRAMS[name] for name in VALID_PROGRAMS} & set(PLAYERS)
    tested = [score for score in EVERY if score.program in PROGRAMS.values()]
    assert len({score.program for score in tested}) == 12
    assert not set(_keys(tested)) & set(VALID_KEYS)
    assert set(VALID_KEYS) < set(_keys(EVERY))


def test_programs_whose_melodies_and_rhythms_are_tested_play_no_lines() -> None:
    assert not set(LEADERS) & {*MELODY_PROGRAMS, *RHYTHM_PROGRAMS}
    assert len(LEADERS) == 78


@pytest.mark.parametrize("program", [0, 7, 73, 127])
def test_single_notes_have_every_pitch_class_in_two_octaves(program: int) -> None:
    keys = _keys(notes(program, np.random.default_rng(0)))
    assert sorted(key % 12 for key in keys) == sorted([*range(12)] * 2)
    assert len(set(keys)) == 24


def test_everything_fits_midi_and_its_clip() -> None:
    drums = [score for kit in KITS for score in beats(kit, np.random.default_rng(0))]
    assert {score.channel for score in drums} == {DRUMS}
    for score in (*EVERY, *drums):
        assert score.notes
        for note in score.notes:
            assert 0 <= note.key <= 127
            assert 40 <= note.velocity <= 120
            assert note.start >= 0
            assert note.start + note.length <= LINE
