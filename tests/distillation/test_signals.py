"""What teachers want of a crop: heard now, or kept in bytes of the whole clip, at the student's frames either way."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from distilling import FIELD, STRIDE
from hypothesis import given
from hypothesis import strategies as st

from crossfade.audio.decode import read_audio
from crossfade.distillation.clips import Clip, Grid, list_clips
from crossfade.distillation.objectives import align_time
from crossfade.distillation.recipe import Corpus
from crossfade.distillation.recipe import Teacher as Wanted
from crossfade.distillation.signals import Stored, Teacher, open_teachers, store
from crossfade.errors import InputError
from crossfade.probing.cache import Cache
from crossfade.probing.codes import dequantise, split_codes

GRID = Grid(16000, STRIDE, FIELD)
COARSE = Grid(16000, 320, 400)


def opened(home: Path, grid: Grid = GRID, **wanted: object) -> Teacher:
    (teacher,) = open_teachers([Wanted.model_validate({"model": str(home / "teacher")} | wanted)], [None], grid, "cpu")
    return teacher


def clips_of(home: Path, longest: int = 10**6) -> list[Clip]:
    (clips,), _ = list_clips([Corpus(source=str(home / "speech"))], GRID, shortest=[800], longest=longest)
    return clips


@pytest.fixture(scope="module")
def kept(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stored]:
    """What teachers of 400 and 100 frames a second said, for students of 400 and of 50."""
    cache = Cache(tmp_path_factory.mktemp("cache"))
    teachers = {
        "equal": opened(home, layers=[0, 2]),
        "faster": opened(home, COARSE, model="logmel"),
        "slower": opened(home, GRID, model="logmel"),
    }
    return {name: store(teacher, clips_of(home), cache)[0] for name, teacher in teachers.items()}


def test_a_teacher_is_heard_at_the_students_frames(home: Path) -> None:
    teacher = opened(home, layers=[1, 3])
    sounds = torch.stack([read_audio(clip.file, 16000, 0.0, GRID.samples(90) / 16000) for clip in clips_of(home)])
    heard = teacher.listen(sounds, 90)
    (alone,) = teacher.upstream.features([sounds[2]])
    assert heard.shape == (6, 2, 90, 48)
    # Student and teacher have the same stride and field, so frames are the same.
    torch.testing.assert_close(heard[2], alone[[1, 3]], atol=1e-5, rtol=0)


def test_the_last_layer_unless_told(home: Path) -> None:
    assert opened(home).layers == (3,)
    with pytest.raises(InputError, match=r"teachers\[0\].layers: .*teacher has no layer 4; expected 0 to 3"):
        opened(home, layers=[4])


def test_frames_have_their_centres(home: Path) -> None:
    """A Kaldi frame is the middle of 400 samples; the student's first frame is that of its field."""
    assert opened(home).offset == 0
    assert opened(home, COARSE, model="logmel").offset == pytest.approx(0, abs=1e-4)
    assert opened(home, GRID, model="logmel").offset == pytest.approx((400 - FIELD) / 2 / 16000, abs=1e-4)


def test_frames_that_end_apart_are_refused(home: Path) -> None:
    teacher = opened(home)
    twice = replace(teacher, upstream=replace(teacher.upstream, frames_per_second=200.0))
    with pytest.raises(InputError, match=r"teacher: teacher and student cannot be aligned in time"):
        twice.hear_noise(100)
    teacher.hear_noise(100)


def test_domains_choose_corpora(home: Path) -> None:
    wanted = [Wanted(model="logmel", domain="b"), Wanted(model="logmel")]
    one, other = open_teachers(wanted, ["a", "b", None, "b"], GRID)
    assert (one.corpora, other.corpora) == (frozenset({1, 3}), frozenset({0, 1, 2, 3}))
    assert one.upstream is other.upstream


@given(st.sampled_from(["equal", "faster", "slower"]), st.integers(0, 5), st.integers(0, 99), st.integers(1, 60))
def test_a_crop_of_what_is_kept_is_a_crop_of_the_whole(
    kept: dict[str, Stored], name: str, number: int, skip: int, frames: int
) -> None:
    """Aligned after it is cut out, or cut out after the whole is aligned: the same."""
    stored, clip = kept[name], next(clip for clip in CLIPS if clip.number == number)
    grid = stored.teacher.grid
    frames = min(frames, grid.frames(clip.samples))
    skip = min(skip, grid.frames(clip.samples) - frames)
    found = stored.crops([(clip, skip * grid.stride)] * 2, frames).aligned(stored.teacher, frames, torch.device("cpu"))
    whole = dequantise(*split_codes(stored.features.frames(stored.places[number])))
    rates = stored.teacher.upstream.frames_per_second, grid.rate / grid.stride
    aligned = align_time(whole, *rates, grid.frames(clip.samples), stored.teacher.offset)
    for crop in found:
        torch.testing.assert_close(crop, aligned[:, skip : skip + frames], atol=1e-4, rtol=1e-5)


CLIPS: list[Clip] = []


@pytest.fixture(autouse=True, scope="module")
def listed(home: Path) -> None:
    CLIPS[:] = clips_of(home)


def test_what_is_kept_is_what_was_heard(home: Path, kept: dict[str, Stored]) -> None:
    stored = kept["equal"]
    (heard,) = stored.teacher.upstream.features([read_audio(CLIPS[1].file, 16000)])
    whole = dequantise(*split_codes(stored.features.frames(stored.places[1])))
    wanted = heard[[0, 2]]
    assert ((whole - wanted).abs().amax(1) <= (wanted.amax(1) - wanted.amin(1)) / 509).all()


def test_what_is_kept_is_not_heard_again(home: Path, tmp_path: Path) -> None:
    for layers, computed in (([1], 6), ([1], 0), ([2], 6)):
        stored, skipped = store(opened(home, layers=layers), clips_of(home), Cache(tmp_path))
        assert (stored.features.computed, stored.features.cached, skipped) == (computed, 6 - computed, [])
    pieces, _ = store(opened(home, layers=[1]), clips_of(home, longest=6000), Cache(tmp_path))
    assert pieces.features.computed == 12


def test_what_cannot_be_heard_is_skipped(home: Path, tmp_path: Path) -> None:
    clips = clips_of(home)
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    lost = replace(clips[2], file=replace(clips[2].file, name="broken.wav", content=broken))
    stored, skipped = store(opened(home), [*clips[:2], lost], Cache(tmp_path / "cache"))
    assert sorted(stored.places) == [0, 1]
    assert [(skip.name, skip.reason) for skip in skipped] == [("broken.wav", "unreadable: not a known audio format")]
