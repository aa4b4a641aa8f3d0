"""Neighbours: exact, chosen on validation data alone."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossfade.errors import InputError
from crossfade.probing import knn
from crossfade.probing.kinds import encode_clips
from crossfade.probing.knn import fit_knn, neighbours_of
from crossfade.probing.schema import Fold

NONE = torch.tensor([], dtype=torch.int64)


def clips(seed: int, count: int, informative: int | None = None) -> tuple[Tensor, list[str]]:
    """Features (count, 3 layers, 6) and classes, which layer `informative` alone knows of."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(3, (count,), generator=generator)
    features = torch.randn(count, 3, 6, generator=generator)
    if informative is not None:
        features[:, informative] += 4 * torch.eye(6)[classes]
    return features, [f"c{number}" for number in classes.tolist()]


@settings(max_examples=25)
@given(st.integers(0, 999), st.integers(6, 30))
def test_a_clip_is_its_own_neighbour(seed: int, count: int) -> None:
    features, labels = clips(seed, count)
    everyone = torch.arange(count)
    targets = encode_clips("classification", [*labels[:-2], "x", "y"])
    own = neighbours_of(features, targets, everyone, 1, 1)
    cosines, nearest = own.nearest(features, 1)
    assert nearest[:, 0].tolist() == everyone.tolist()
    torch.testing.assert_close(cosines, torch.ones(count, 1))
    assert tuple(targets.decode(own.scores(features)[0])) == targets.labels


@settings(max_examples=25)
@given(st.integers(0, 999), st.floats(0.1, 10), st.floats(-5, 5))
def test_scale_and_shift_of_a_channel_change_nothing(seed: int, scale: float, shift: float) -> None:
    features, labels = clips(seed, 30, 2)
    targets, train = encode_clips("classification", [*labels[:-2], "x", "y"]), torch.arange(20)
    scales = torch.linspace(1, scale, 6)
    plain, _ = neighbours_of(features, targets, train, 0, 5).nearest(features, 5)
    features = features * scales + shift
    moved, _ = neighbours_of(features, targets, train, 0, 5).nearest(features, 5)
    torch.testing.assert_close(plain, moved, atol=1e-3, rtol=1e-3)


def test_votes_are_counted_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "_COMPARED", 7)  # several chunks
    features, labels = clips(1, 40, 1)
    targets, train = encode_clips("classification", labels), torch.arange(25)
    found = neighbours_of(features, targets, train, 1, 5).scores(features)
    own = features[:25, 1]
    standard = (features[:, 1] - own.mean(0)) / (own.std(0, correction=0) + 1e-5)
    cosines = torch.nn.functional.cosine_similarity(standard[:, None], standard[None, :25], dim=-1)
    for clip in range(40):
        votes = torch.zeros(3)
        for near in cosines[clip].argsort(descending=True)[:5].tolist():
            votes[int(targets.wanted[near, 0])] += 1 + cosines[clip, near]
        torch.testing.assert_close(found[0, clip], votes / votes.sum())


def test_validation_chooses_the_layer_that_knows() -> None:
    features, labels = clips(0, 90, 1)
    targets = encode_clips("classification", labels)
    fold = Fold(torch.arange(40), torch.arange(40, 65), torch.arange(65, 90))
    fitted = fit_knn(features, targets, fold, neighbours=(1, 5, 100))
    assert fitted.layer == 1
    assert {(choice.layer, choice.neighbours) for choice in fitted.curve} == {
        (layer, count) for layer in range(3) for count in (1, 5, 40)
    }
    best = max(choice.valid or 0 for choice in fitted.curve)
    first = next(choice for choice in fitted.curve if choice.valid == best)
    assert (fitted.layer, fitted.neighbours) == (first.layer, first.neighbours)
    predicted = targets.decode(fitted.scores(features[fold.test])[0])
    assert sum(a == b for a, b in zip(predicted, labels[65:], strict=True)) >= 22
    assert [choice for choice in fitted.curve if choice.chosen] == [first]


def test_test_clips_change_nothing() -> None:
    features, labels = clips(0, 60, 0)
    fold = Fold(torch.arange(30), torch.arange(30, 45), torch.arange(45, 60))
    other = features.clone()
    other[45:] = 100
    fits = [fit_knn(each, encode_clips("classification", labels, fold.train), fold) for each in (features, other)]
    assert fits[0].curve == fits[1].curve


@pytest.mark.parametrize(("kind", "labels"), [("regression", [(1.0, 2.0), (3.0, 5.0)]), ("tagging", [("a",), ("b",)])])
def test_other_kinds_are_averaged(kind: Any, labels: list[Any]) -> None:
    features, _ = clips(0, 20)
    targets = encode_clips(kind, labels * 10)
    found = neighbours_of(features, targets, torch.arange(20), 0, 20).scores(features)
    assert found.shape == (1, 20, 2)
    assert (found >= targets.dense.min()).all()
    assert (found <= targets.dense.max()).all()


def test_without_validation_there_is_nothing_to_choose_by() -> None:
    features, labels = clips(0, 20)
    targets = encode_clips("classification", labels)
    fold = Fold(torch.arange(10), NONE, torch.arange(10, 20))
    with pytest.raises(InputError, match="3 layers and 4 numbers of neighbours, but no validation clips"):
        fit_knn(features, targets, fold)
    assert fit_knn(features, targets, fold, neighbours=(3,), layers=(2,)).layer == 2
    with pytest.raises(InputError, match="expected linear or mlp"):
        fit_knn(features, encode_clips("verification", labels), fold)
