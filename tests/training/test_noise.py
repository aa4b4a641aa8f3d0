"""Draws of a recipe's noise: what they depend on, and how often what is drawn."""

import pickle
from collections import Counter
from collections.abc import Iterable
from math import inf, nan
from pathlib import Path

import pytest

from crossfade.audio.corruption import Corruption, MadeNoise, RecordedNoise
from crossfade.audio.rooms import DECAYS, DIRECTS, MadeRoom
from crossfade.audio.sources import AudioFile
from crossfade.errors import InputError
from crossfade.training.noise import NoiseDraws
from crossfade.training.settings import Noise

CLIPS = [f"clip {number}" for number in range(2000)]


def students(noise: Noise, seed: int = 0, clips: Iterable[str] = CLIPS) -> list[Corruption]:
    draws = NoiseDraws(noise, seed)
    return [draws.draw(clip, 0)[0] for clip in clips]


def sounds(folder: Path, *names: str) -> str:
    folder.mkdir()
    for name in names:
        (folder / name).touch()  # nothing is opened to draw
    return str(folder)


# What a draw depends on -----------------------------------------------------------------------------------------------


def test_a_draw_is_the_same_on_any_machine() -> None:
    drawn, clean = NoiseDraws(Noise(white=1, chance=1, reverb=1), 3).draw("speech/a.flac", 7)
    assert clean == Corruption()
    assert drawn == Corruption(
        MadeNoise("white", 3680953490579923230),
        1.8660026885575887,
        MadeRoom(0.7992565867220565, 3.929938680292567, 2467672326173608866),
    )


def test_a_draw_depends_on_seed_clip_number_and_listener_alone(tmp_path: Path) -> None:
    folders = sounds(tmp_path / "a", "1.wav", "2.wav"), sounds(tmp_path / "b", "3.wav")
    noise = Noise(folders=folders, white=1, chance=1, reverb=0.5, heard="independent")
    draws = NoiseDraws(noise, 0)
    found = {(clip, number): draws.draw(clip, number) for clip in CLIPS[:100] for number in range(3)}
    turned = pickle.loads(pickle.dumps(NoiseDraws(noise.model_copy(update={"folders": folders[::-1]}), 0)))
    assert all(turned.draw(*key) == found[key] for key in reversed(found))
    assert all(NoiseDraws(noise, 1).draw(*key) != drawn for key, drawn in found.items())
    everyone = [one for pair in found.values() for one in pair]
    assert len({(one.noise, one.snr, one.room) for one in everyone}) == len(everyone) == 600


def test_settings_change_what_they_say_alone() -> None:
    base = Noise(white=1, pink=1, chance=1, reverb=0.5)
    found = students(base)
    louder = students(base.model_copy(update={"snr": (-10.0, 0.0)}))
    assert [(one.noise, one.room) for one in louder] == [(one.noise, one.room) for one in found]
    assert [one.snr for one in louder] == pytest.approx([one.snr / 2 - 10 for one in found])
    dry = students(base.model_copy(update={"reverb": 0.0}))
    assert dry == [Corruption(one.noise, one.snr) for one in found]
    rarer = students(base.model_copy(update={"chance": 0.3}))
    assert all(few in (one, Corruption(room=one.room)) for few, one in zip(rarer, found, strict=True))
    for heard in ("same", "independent"):
        assert students(base.model_copy(update={"heard": heard})) == found


# Who hears it ---------------------------------------------------------------------------------------------------------


def test_who_hears_it() -> None:
    for heard in ("student", "same", "independent"):
        draws = NoiseDraws(Noise(white=1, chance=0.5, heard=heard), 0)
        pairs = [draws.draw(clip, 0) for clip in CLIPS]
        alike = sum(student == teacher for student, teacher in pairs)
        noisy = sum(teacher.noise is not None for _, teacher in pairs)
        both = sum(student.noise is not None and teacher.noise is not None for student, teacher in pairs)
        assert {"student": noisy == 0, "same": alike == 2000, "independent": abs(both - 500) < 60}[heard]
        assert heard == "student" or abs(noisy - 1000) < 70


# How often ------------------------------------------------------------------------------------------------------------


def test_rooms_and_noise_are_drawn_apart() -> None:
    found = Counter((one.noise is None, one.room is None) for one in students(Noise(white=1, chance=0.5, reverb=0.5)))
    assert len(found) == 4
    assert all(abs(count - 500) < 60 for count in found.values())


def test_kinds_are_drawn_by_their_weights(tmp_path: Path) -> None:
    folder = sounds(tmp_path / "noise", "1.wav", "2.flac", "notes.txt")
    drawn = students(Noise(folders=folder, folder=0.5, white=0.3, pink=0.2, chance=0.8))
    found = Counter(one.noise.colour if isinstance(one.noise, MadeNoise) else type(one.noise).__name__ for one in drawn)
    for kind, share in {"NoneType": 0.2, "RecordedNoise": 0.4, "white": 0.24, "pink": 0.16}.items():
        assert found[kind] / 2000 == pytest.approx(share, abs=0.03)
    files = Counter(one.noise.file.name for one in drawn if isinstance(one.noise, RecordedNoise))
    assert set(files) == {f"{folder}/1.wav", f"{folder}/2.flac"}
    assert all(count / files.total() == pytest.approx(0.5, abs=0.05) for count in files.values())


def test_without_folders_there_is_no_folder_noise() -> None:
    assert {type(one.noise) for one in students(Noise(white=0.1, chance=1))} == {MadeNoise}


def test_levels_and_positions_are_even(tmp_path: Path) -> None:
    folder = sounds(tmp_path / "noise", "1.wav")
    drawn = students(Noise(folders=folder, snr=(-5, 15), chance=1))
    shares = [(one.snr + 5) / 20 for one in drawn]
    positions = [one.noise.position for one in drawn if isinstance(one.noise, RecordedNoise)]
    for values in (shares, positions):
        quarters = Counter(int(value * 4) for value in values)
        assert sorted(quarters) == [0, 1, 2, 3]
        assert all(abs(count - 500) < 60 for count in quarters.values())


def test_one_level() -> None:
    assert {one.snr for one in students(Noise(white=1, snr=(10, 10), chance=1))} == {10.0}
    assert {one.snr for one in students(Noise(white=1, chance=0))} == {inf}


def test_rooms_are_made_or_taken_from_folders(tmp_path: Path) -> None:
    drawn = students(Noise(chance=0, reverb=1))
    made = [one.room for one in drawn if isinstance(one.room, MadeRoom)]
    assert len({room.seed for room in made}) == len(drawn)
    assert all(DECAYS[0] < room.decay < DECAYS[1] and DIRECTS[0] < room.direct < DIRECTS[1] for room in made)
    folder = sounds(tmp_path / "rooms", "hall.wav", "cave.wav")
    taken = Counter(room.name for one in students(Noise(rooms=folder, chance=0, reverb=1))
                    if isinstance(room := one.room, AudioFile))  # fmt: skip
    assert set(taken) == {f"{folder}/hall.wav", f"{folder}/cave.wav"}
    assert taken.total() == 2000


# What cannot be drawn from --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("snr", [(20.0, 0.0), (nan, 1.0), (0.0, inf)])
def test_levels_that_are_none(snr: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=r"noise\.snr: expected two levels in dB, the lower first, received \["):
        NoiseDraws(Noise(white=1, snr=snr), 0)


def test_nothing_to_draw(tmp_path: Path) -> None:
    for noise in (Noise(), Noise(reverb=1), Noise(folders=sounds(tmp_path / "a", "1.wav"), folder=0)):
        with pytest.raises(InputError, match="noise: none to draw; give `folders`, `white` or `pink`, or `chance: 0`"):
            NoiseDraws(noise, 0)


def test_folders_that_hold_no_sound(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for noise in (Noise(folders=str(tmp_path / "empty")), Noise(chance=0, rooms=str(tmp_path / "empty"))):
        with pytest.raises(InputError, match="empty: no audio in this folder"):
            NoiseDraws(noise, 0)
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        NoiseDraws(Noise(folders="nowhere"), 0)
