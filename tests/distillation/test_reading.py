"""From plans to batches: the right stretch of the right file, at every listener's rate, with its noise."""

from itertools import islice
from math import inf
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from distilling import FIELD, STRIDE

from crossfade.audio.corruption import corrupt
from crossfade.audio.decode import read_audio
from crossfade.audio.sources import AudioFile
from crossfade.distillation.clips import Clip, Crop, Grid, Plan, Planner, list_clips
from crossfade.distillation.reading import Batch, Reader, read_ahead, resampled
from crossfade.distillation.recipe import Corpus
from crossfade.training.noise import NoiseDraws
from crossfade.training.settings import Noise

GRID = Grid(16000, STRIDE, FIELD)


def plans(home: Path, count: int) -> list[Plan]:
    corpora = [Corpus(source=str(home / name)) for name in ("speech", "music")]
    clips, _ = list_clips(corpora, GRID, shortest=[800, 800], longest=10**6)
    return list(islice(Planner(clips, (0.5, 0.5), GRID, 32_000, 6_400, 0).plans(), count))


def equal(one: Batch, other: Batch) -> bool:
    tensors = [(one.samples, other.samples), (one.snrs, other.snrs), (one.corpora, other.corpora)]
    tensors += [(one.sounds[rate], other.sounds[rate]) for rate in one.sounds]
    return (one.number, one.names) == (other.number, other.names) and all(torch.equal(*pair) for pair in tensors)


def test_batches_hold_what_was_planned(home: Path) -> None:
    for plan in plans(home, 4):
        batch = Reader(GRID, rates=[16000])[plan]
        assert batch.samples.shape == (len(plan.crops), GRID.samples(plan.frames))
        assert batch.sounds[16000] is batch.samples or torch.equal(batch.sounds[16000], batch.samples)
        assert (batch.snrs == inf).all()
        for samples, crop, name, corpus in zip(batch.samples, plan.crops, batch.names, batch.corpora, strict=True):
            start = crop.clip.start + crop.offset
            assert torch.equal(samples, read_audio(crop.clip.file, 16000)[start : start + len(samples)])
            assert (name, int(corpus)) == (crop.clip.file.name, crop.clip.corpus)
        assert batch.of(frozenset({1})).tolist() == [n for n, crop in enumerate(plan.crops) if crop.clip.corpus == 1]


def test_workers_read_the_same(home: Path) -> None:
    wanted = plans(home, 5)
    reader = Reader(GRID, rates=[22050], noise=NoiseDraws(Noise(white=1.0, folder=0.0), 3))
    here, there = (list(read_ahead(reader, wanted, workers)) for workers in (0, 2))
    assert [batch.number for batch in there] == [0, 1, 2, 3, 4]
    assert all(equal(*pair) for pair in zip(here, there, strict=True))


def test_teachers_hear_at_their_own_rate() -> None:
    seconds = np.arange(8000) / 16000
    tones = torch.from_numpy(np.stack([np.sin(2 * np.pi * hertz * seconds) for hertz in (440, 3000)])).float()
    heard = resampled(tones, 16000, 22050)
    assert heard.shape == (2, 11025)
    expected = np.sin(2 * np.pi * 3000 * np.arange(11025) / 22050)
    assert np.abs(heard[1].numpy() - expected)[500:-500].max() < 1e-3
    assert resampled(tones, 16000, 16000) is tones


@pytest.mark.parametrize("heard", ["student", "same", "independent"])
def test_noise_is_heard_by_those_who_should(home: Path, heard: str) -> None:
    noise = Noise.model_validate({"heard": heard, "chance": 1.0, "white": 1.0, "folder": 0.0})
    (plan,), draws = plans(home, 1), NoiseDraws(noise, 7)
    clean, noisy = Reader(GRID, rates=[16000])[plan], Reader(GRID, rates=[16000], noise=draws)[plan]
    assert ((noisy.snrs[0] >= 0) & (noisy.snrs[0] <= 20)).all()
    assert not torch.equal(noisy.samples, clean.samples)
    assert torch.equal(noisy.sounds[16000], clean.samples) == (heard == "student")
    assert torch.equal(noisy.sounds[16000], noisy.samples) == (heard == "same")
    assert torch.equal(noisy.snrs[0], noisy.snrs[1]) == (heard == "same")
    crop = plan.crops[1]
    drawn = corrupt(clean.samples[1], 16000, draws.draw(noisy.names[1], crop.visit)[0])
    assert torch.equal(noisy.samples[1], drawn.samples)


def test_what_cannot_be_read_is_left_out(home: Path, tmp_path: Path) -> None:
    """A header that promises more than there is, silence, and a file that has gone."""
    good = plans(home, 1)[0].crops[0]
    soundfile.write(tmp_path / "short.wav", np.ones(900) / 9, 16000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(5000), 16000)
    lost = [
        Crop(Clip(90, AudioFile(name, tmp_path / name), 1, 0, 5000), 0, 0)
        for name in ("short.wav", "silent.wav", "gone.wav")
    ]
    batch = Reader(GRID, rates=[16000])[Plan(3, (lost[0], good, *lost[1:]), 60)]
    assert batch.samples.shape == (1, GRID.samples(60))
    assert batch.names == (good.clip.file.name,)
    assert [(skip.name, skip.reason.partition(":")[0]) for skip in batch.skipped] == [
        ("short.wav", "too short"),
        ("silent.wav", "silent"),
        ("gone.wav", "cannot be opened"),
    ]
    nothing = Reader(GRID, rates=[16000, 22050])[Plan(4, tuple(lost), 60)]
    assert nothing.samples.shape == (0, GRID.samples(60))
    assert (nothing.snrs.shape, nothing.corpora.dtype, nothing.names) == ((2, 0), torch.int64, ())


def test_noise_that_cannot_be_added_is_told(home: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(9000), 16000)
    draws = NoiseDraws(Noise(chance=1.0, folders=(str(tmp_path),)), 0)
    (plan,) = plans(home, 1)
    batch = Reader(GRID, noise=draws)[plan]
    assert torch.equal(batch.samples, Reader(GRID)[plan].samples)
    assert (batch.snrs == inf).all()
    assert "silent" in batch.skipped[0].reason
