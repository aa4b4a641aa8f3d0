"""From a batch to what teachers want of it: their own clips, on a scale that was measured once."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from distilling import FIELD, STRIDE

from crossfade.distillation.clips import Clip, Grid, Planner, list_clips
from crossfade.distillation.distiller import Standard
from crossfade.distillation.lessons import answers, measure_standards, standardised
from crossfade.distillation.reading import Batch, Reader
from crossfade.distillation.recipe import Corpus, Objective
from crossfade.distillation.recipe import Teacher as Wanted
from crossfade.distillation.signals import open_teachers, store
from crossfade.errors import InputError
from crossfade.probing.cache import Cache

GRID, CPU = Grid(16000, STRIDE, FIELD), torch.device("cpu")
DOMAINS = ["speech", "music"]


def listed(home: Path, grid: Grid) -> list[list[Clip]]:
    return list_clips([Corpus(source=str(home / name)) for name in DOMAINS], grid, shortest=[800] * 2, longest=9**9)[0]


def batches(home: Path, count: int, grid: Grid = GRID, **reading: object) -> list[Batch]:
    planner = Planner(listed(home, grid), (0.5, 0.5), grid, 32_000, 6_400, 0)
    reader = Reader(grid, **reading)
    return [reader[plan] for plan in islice(planner.plans(), count)]


def teachers(home: Path, grid: Grid = GRID, **changes: object):
    wanted = [{"model": str(home / "teacher"), "layers": [1, 3]}, {"model": "logmel", "domain": "music"}]
    return open_teachers([Wanted.model_validate(one | changes) for one in wanted], DOMAINS, grid, "cpu")


def standards(clusters: int = 0) -> list[Standard]:
    return [Standard(2, 48, clusters), Standard(1, 80, clusters)]


def test_teachers_answer_for_their_own_clips(home: Path) -> None:
    everyone, musician = teachers(home)
    for batch in batches(home, 3, rates=[16000]):
        said = answers([everyone, musician], batch, CPU)
        assert said[0].places.tolist() == list(range(len(batch.names)))
        assert said[1].places.tolist() == [n for n, corpus in enumerate(batch.corpora.tolist()) if corpus == 1]
        assert said[0].wanted.shape == (len(batch.names), 2, batch.frames, 48)
        expected = musician.listen(batch.sounds[16000][batch.corpora == 1], batch.frames)
        assert torch.equal(said[1].wanted, expected)
    silent = Batch(9, 5, torch.empty(0, 9), {16000: torch.empty(0, 9)}, (), torch.empty(2, 0), torch.empty(0), (), ())
    assert answers([everyone, musician], silent, CPU) == [None, None]


def test_stored_answers_are_those_of_whole_clips(home: Path, tmp_path: Path) -> None:
    """Kaldi's frames are the same in a crop as in the whole clip where the student's are, but for the 8 bits."""
    grid = Grid(16000, 160, 400)
    both = teachers(home, grid)
    clips = [clip for corpus in listed(home, grid) for clip in corpus]
    kept = [store(teacher, clips, Cache(tmp_path))[0] for teacher in both]
    pairs = zip(batches(home, 3, grid, rates=[16000]), batches(home, 3, grid, stored=kept), strict=True)
    for now, then in pairs:
        assert then.sounds == {}
        heard, stored = answers(both, now, CPU), answers(both, then, CPU)
        for one, other in zip(heard, stored, strict=True):
            assert torch.equal(one.places, other.places)
            assert one.wanted.shape == other.wanted.shape
        assert float((heard[1].wanted - stored[1].wanted).abs().max()) < 0.06


def test_scales_are_those_of_the_first_clips(home: Path) -> None:
    both, scales = teachers(home), standards()
    measure_standards(both, scales, iter(batches(home, 8, rates=[16000])), Objective(), CPU, 0)
    said = [standardised(answers(both, batch, CPU), scales) for batch in batches(home, 8, rates=[16000])]
    for teacher in range(2):
        frames = torch.cat([one[teacher].wanted.transpose(0, 1).flatten(1, 2) for one in said if one[teacher]], dim=1)
        assert float(frames.mean(1).abs().max()) < 1e-4
        torch.testing.assert_close(frames.var(1, correction=0), torch.ones_like(frames[:, 0]), atol=1e-3, rtol=0)


def test_raw_scales_where_the_recipe_says_so(home: Path) -> None:
    scales = standards()
    measure_standards(teachers(home, standardise=False), scales, batches(home, 2, rates=[16000]), Objective(), CPU, 0)
    heard = torch.randn(3, 2, 4, 48)
    assert torch.equal(scales[0](heard), heard)


def test_channels_that_never_change(home: Path) -> None:
    both, scales = teachers(home), standards()
    still = batches(home, 2, rates=[16000])
    listen = both[1].upstream.listen
    both[1].upstream.__dict__["listen"] = lambda clips: [
        one.index_fill(2, torch.tensor([3]), 5.1) for one in listen(clips)
    ]
    measure_standards(both, scales, still, Objective(), CPU, 0)
    assert float(scales[1].mean[0, 0, 3]) == pytest.approx(5.1)
    assert float(scales[1].deviation[0, 0, 3]) == 1
    assert answers(both, still[0], CPU)[1].wanted[..., 3].sub(5.1).abs().max() < 1e-6


def test_clusters_are_of_the_last_layer_on_its_scale(home: Path) -> None:
    both, scales, again = teachers(home), standards(5), standards(5)
    for made in (scales, again):
        objective = Objective(masked=1.0, clusters=5)
        measure_standards(both, made, batches(home, 4, rates=[16000]), objective, CPU, 3)
    assert torch.equal(scales[0].centres, again[0].centres)
    assert scales[0].centres.unique(dim=0).shape == (5, 48)
    assert float(scales[0].centres.abs().max()) < 10


def test_a_teacher_without_clips(home: Path) -> None:
    speech = [batch for batch in batches(home, 40, rates=[16000]) if set(batch.corpora.tolist()) == {0}]
    with pytest.raises(InputError, match="logmel: none of the first clips of its data could be read"):
        measure_standards(teachers(home), standards(), speech, Objective(), CPU, 0)
