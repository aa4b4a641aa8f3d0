"""Which clip is heard when: nothing padded, nothing forgotten, shares kept, the same from every start."""

from itertools import accumulate, islice
from pathlib import Path

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from crossfade.audio.sources import AudioFile
from crossfade.distillation.clips import Clip, Grid, Plan, Planner, corpus_shares, cut, drawn, list_clips
from crossfade.distillation.recipe import Corpus
from crossfade.errors import InputError

GRID = Grid(rate=16000, stride=320, field=400)


def corpus(number: int, lengths: list[int], first: int = 0) -> list[Clip]:
    files = [AudioFile(f"{number}/{place}.wav", Path(f"{place}.wav")) for place in range(len(lengths))]
    return [
        Clip(first + place, file, number, 0, length)
        for place, (file, length) in enumerate(zip(files, lengths, strict=True))
    ]


def planner(*lengths: list[int], shares: tuple[float, ...] = (1.0,), batch: int = 160_000, crop: int = 48_000, seed=0):
    clips = [corpus(number, own, 1000 * number) for number, own in enumerate(lengths)]
    return Planner(clips, shares, GRID, batch, crop, seed)


@given(st.integers(1, 10**6), st.integers(10**3, 10**6))
def test_cuts_are_few_even_and_whole(samples: int, longest: int) -> None:
    parts = cut(samples, longest)
    assert sum(length for _, length in parts) == samples
    lengths = [length for _, length in parts]
    assert [start + length for start, length in parts] == list(accumulate(lengths))
    assert max(lengths) <= longest
    assert max(lengths) - min(lengths) <= 1
    assert (len(parts) - 1) * longest < samples


@given(st.integers(0, 10**6))
def test_a_grid_knows_how_many_samples_make_how_many_frames(samples: int) -> None:
    frames = GRID.frames(samples)
    assert frames >= 0
    assert (GRID.samples(frames) <= samples) if frames else samples < GRID.field
    assert GRID.samples(frames + 1) > samples
    assert GRID.frames(GRID.samples(frames + 1)) == frames + 1


LENGTHS = st.lists(st.integers(2_000, 96_000), min_size=3, max_size=60)


@given(LENGTHS, st.integers(0, 3))
def test_batches_are_full_of_clips_of_like_length(lengths: list[int], seed: int) -> None:
    made = planner(lengths, seed=seed)
    for plan in islice(made.plans(), 70):
        samples = GRID.samples(plan.frames)
        assert 0 < samples <= made.crop_samples
        assert len(plan.crops) * samples <= made.batch_samples
        for crop in plan.crops:
            assert crop.offset % GRID.stride == 0
            assert 0 <= crop.offset <= crop.clip.samples - samples
        shortest = min(min(crop.clip.samples, made.crop_samples) for crop in plan.crops)
        assert shortest - samples < GRID.stride
        # Nothing that is as long would fit besides.
        assert (len(plan.crops) + 1) * shortest > made.batch_samples - 48_000


def test_every_clip_is_heard_in_every_pass() -> None:
    lengths = [3_000 + 371 * place for place in range(100)]
    heard = [(c.visit, c.clip.number) for plan in islice(planner(lengths).plans(), 200) for c in plan.crops]
    assert len(set(heard)) == len(heard)
    done = max(visit for visit, _ in heard) - 8
    assert done > 2
    for visit in range(done):
        assert sum(one == visit for one, _ in heard) == 100


def test_long_clips_are_cropped_all_over() -> None:
    offsets = [c.offset for plan in islice(planner([160_000] * 9, crop=16_000).plans(), 100) for c in plan.crops]
    assert len(set(offsets)) > 200
    assert 0 in range(min(offsets), 10_000)
    assert max(offsets) > 130_000


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.2, 0.8)])
def test_corpora_have_their_shares(shares: tuple[float, ...]) -> None:
    made = planner([40_000, 30_000, 70_000], [9_000 + 10 * place for place in range(300)], shares=shares)
    heard = [0, 0]
    for plan in islice(made.plans(), 320):
        for crop in plan.crops:
            heard[crop.clip.corpus] += GRID.samples(plan.frames)
    assert heard[0] / sum(heard) == pytest.approx(shares[0], abs=0.02)


@given(LENGTHS, st.integers(0, 90), st.integers(1, 4))
def test_any_batch_can_be_the_first(lengths: list[int], start: int, every: int) -> None:
    made = planner(lengths)
    all_of_them = list(islice(made.plans(), start + 3 * every))
    assert list(islice(made.plans(start, every), 3)) == all_of_them[start::every]
    assert [plan.number for plan in all_of_them] == list(range(start + 3 * every))


def test_seeds_decide_the_order() -> None:
    def first(seed: int) -> list[Plan]:
        return list(islice(planner(list(range(4000, 60000, 500)), seed=seed).plans(), 5))

    assert first(1) == first(1)
    assert first(1) != first(2)


def said(*shares: float | None) -> list[Corpus]:
    return [Corpus(source="here", share=share) for share in shares]


def test_shares() -> None:
    assert corpus_shares(said(None, None), [30.0, 10.0]) == [0.75, 0.25]
    assert corpus_shares(said(3, 1), [1.0, 100.0]) == [0.75, 0.25]
    assert corpus_shares(said(0.5, None, None), [7.0, 30.0, 10.0]) == [0.5, 0.375, 0.125]
    with pytest.raises(InputError, match=r"shares sum to 1.5 and leave nothing for data\[1\]"):
        corpus_shares(said(1.5, None), [1.0, 1.0])


def test_files_become_clips(tmp_path: Path) -> None:
    tiny.sounds(tmp_path / "long", 0, clips=2, seconds=1.0)
    tiny.sounds(tmp_path / "short", 0, clips=3, seconds=0.1)
    (tmp_path / "short" / "3.wav").write_bytes(b"no sound")
    corpora = [Corpus(source=str(tmp_path / "long")), Corpus(source=str(tmp_path / "short"))]
    clips, skipped = list_clips(corpora, GRID, shortest=[400, 1000], longest=6400)
    assert [(clip.number, clip.start, clip.samples) for clip in clips[0]][:4] == [
        (0, 0, 5333), (1, 5333, 5333), (2, 10666, 5334), (3, 0, 5333)
    ]  # fmt: skip
    assert [(clip.number, clip.corpus, clip.samples) for clip in clips[1]] == [(6, 1, 1600), (7, 1, 1600), (8, 1, 1600)]
    assert clips[0][1].name(16000).endswith("0.wav from 0.333313 s")
    assert [(Path(skip.name).name, skip.reason) for skip in skipped] == [
        ("3.wav", "unreadable: not a known audio format")
    ]
    with pytest.raises(
        InputError, match=r"data\[1\] .*short: no usable sound; first: .*too short: 1600 samples of 1700"
    ):
        list_clips(corpora, GRID, shortest=[400, 1700], longest=6400)


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=40), most=st.integers(1, 400))
def test_hours_are_whole_files_drawn_once(lengths: list[int], most: int) -> None:
    files = [(AudioFile(str(number), Path(str(number))), samples) for number, samples in enumerate(lengths)]

    kept = drawn(files, most)

    assert kept == drawn(files, most)
    assert kept == [file for file in files if file in kept]
    assert len(kept) == 1 or sum(samples for _, samples in kept) <= most
    assert sum(samples for _, samples in kept) > min(sum(lengths), most) - max(lengths)
    assert set(drawn(files, most / 2)) <= set(kept)
