"""The linear head, the held-out groups and the intervals."""

from pathlib import Path

import pytest
import torch

from crossfade.encoders.encoder import open_encoder
from crossfade.encoders.model import load_model
from crossfade.quickstart.measure import (
    FOLDS,
    RIDGE,
    LabelledClips,
    correctness,
    features,
    interval,
    resampled_accuracy,
    ridge_head,
)
from crossfade.quickstart.pack import ENCODERS, Task


def labelled(classes: int, groups: int, clips: int, seed: int = 0) -> LabelledClips:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(clips) % classes
    group = torch.randint(groups, (clips,), generator=generator)
    task = Task(
        "made", "Made", "speech", (Path("x"),) * clips, tuple(labels.tolist()), ("g",) * clips, ("a",) * classes
    )
    return LabelledClips(task, (torch.zeros(8),) * clips, labels, group)


def test_the_head_is_ridge_regression_to_one_hot_labels() -> None:
    generator = torch.Generator().manual_seed(1)
    train, test = torch.randn(40, 6, generator=generator), torch.randn(15, 6, generator=generator)
    labels = torch.randint(3, (40,), generator=generator)
    mean, deviation = train.mean(0), train.std(0) + 1e-5
    x, z = (train - mean) / deviation, (test - mean) / deviation
    y = torch.nn.functional.one_hot(labels, 3).float()
    primal = torch.linalg.solve(x.T @ x + 6 * RIDGE * torch.eye(6), x.T @ (y - y.mean(0)))
    assert torch.equal(ridge_head(train, labels, test, 3), (z @ primal + y.mean(0)).argmax(1))


def test_a_group_is_in_one_fold_and_every_fold_is_used() -> None:
    clips = labelled(4, 11, 200)
    folds = clips.folds(3)
    for group in range(11):
        assert len(folds[clips.groups == group].unique()) == 1
    assert folds.unique().tolist() == list(range(FOLDS))


def test_features_that_name_the_group_alone_are_worth_nothing() -> None:
    """Clips of a group look the same and share a label: heads that saw the group would be perfect."""
    clips = labelled(4, 40, 400)
    clips = LabelledClips(clips.task, clips.samples, clips.groups % 4, clips.groups)
    by_group = torch.randn(40, 16, generator=torch.Generator().manual_seed(2))[clips.groups]
    assert correctness(by_group, clips, 0).mean() < 0.5
    known = torch.nn.functional.one_hot(clips.labels, 4).float() + 0.01 * torch.randn(400, 4)
    assert correctness(known, clips, 0).mean() > 0.99


def test_intervals_are_paired_and_as_wide_as_the_binomial() -> None:
    right = (torch.rand(400, generator=torch.Generator().manual_seed(4)) < 0.7).float()
    draws = resampled_accuracy({"task": right}, 0)["task"]
    low, high = interval(draws)
    share = float(right.mean())
    assert draws.mean() == pytest.approx(100 * share, abs=0.2)
    assert (high - low) / 2 == pytest.approx(196 * (share * (1 - share) / 400) ** 0.5, rel=0.1)
    worse = resampled_accuracy({"task": right * 0.5}, 0)["task"]
    torch.testing.assert_close(worse, draws / 2)


def test_features_of_a_batch_are_those_of_a_clip() -> None:
    encoder = open_encoder(ENCODERS["speech"])
    model = load_model(encoder)
    generator = torch.Generator().manual_seed(5)
    clips = [torch.randn(length, generator=generator) for length in (8000, 4000, 8000, 4000, 8000)]
    together = features(model, clips, encoder.preprocessing, 16000)
    assert together.shape == (5, 2 * 5 * 192)
    for index, clip in enumerate(clips):
        alone = features(model, [clip], encoder.preprocessing, 16000)[0]
        torch.testing.assert_close(together[index], alone, atol=2e-5, rtol=1e-4)
