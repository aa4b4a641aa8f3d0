"""What a check at load sees, and what it does not."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from crossfade.errors import InputError
from crossfade.prompts.drift import bounded, changes, defend, drift, record_of


def drawn(seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(seed))


def turned(vectors: Tensor) -> Tensor:
    """Every vector as long as it was, in another direction."""
    return vectors.roll(1, dims=-1)


def test_a_record_tells_lengths_by_layer() -> None:
    vectors = torch.zeros(2, 2, 4)
    vectors[0, 0, 0], vectors[0, 1, 1], vectors[1, 0, 2] = 3.0, 1.0, -5.0
    record = record_of(vectors)
    assert (record.mean, record.most) == ((2.0, 2.5), (3.0, 5.0))
    assert record.sha256 == record_of(vectors.double()).sha256 != record_of(-vectors).sha256


@given(seed=st.integers(0, 999), scale=st.floats(0.1, 10))
def test_bounded_vectors_are_in_the_recorded_ball(seed: int, scale: float) -> None:
    record, vectors = record_of(drawn(0)), drawn(seed, scale)
    found = bounded(vectors, record)
    most = torch.tensor(record.most)[:, None]
    assert bool((found.norm(dim=-1) <= most * (1 + 2e-5)).all())
    assert torch.equal(bounded(found, record), found)
    inside = vectors.norm(dim=-1) <= most
    assert torch.equal(found[inside], vectors[inside])
    torch.testing.assert_close(torch.cosine_similarity(found, vectors, dim=-1), torch.ones(2, 5))


def test_what_was_saved_passes_every_check() -> None:
    vectors = drawn(0)
    record = record_of(vectors)
    for defence in ("refuse", "bound", "off"):
        assert defend(vectors, record, defence, "x") is vectors
    assert torch.equal(bounded(vectors, record), vectors)


def test_the_hash_sees_any_change_and_norms_only_growth() -> None:
    vectors = drawn(0)
    record = record_of(vectors)
    grown = vectors.clone()
    grown[1, 3] *= 4
    for changed, told in (
        (turned(vectors), "none is longer than any was"),
        (grown, "1 of 10 are longer than any was"),
        (vectors + 1e-6, "none is longer than any was"),
    ):
        line = f"TUNED: its vectors are not those that were saved (another SHA-256 than recorded; {told}); get it again"
        with pytest.raises(InputError, match=re.escape(line)):
            defend(changed, record, "refuse", "TUNED")
        assert told in changes(changed, record)
        assert defend(changed, record, "off", "TUNED") is changed
    assert torch.equal(defend(turned(vectors), record, "bound", "TUNED"), turned(vectors))
    kept = defend(grown, record, "bound", "TUNED")
    assert float(kept[1, 3].norm()) == pytest.approx(record.most[1], rel=1e-5)


def test_without_a_record_nothing_can_be_checked() -> None:
    vectors = drawn(0)
    assert defend(vectors, None, "off", "x") is vectors
    for defence in ("refuse", "bound"):
        with pytest.raises(InputError, match="x: has no record of its vectors, so no check is possible"):
            defend(vectors, None, defence, "x")


def test_drift_is_told_in_numbers() -> None:
    vectors = drawn(0)
    record = record_of(vectors)
    assert drift(vectors, None).keys() == {"mean", "most"}
    same = drift(vectors, record, vectors)
    assert (same["same"], same["longer"], same["distance"]) == (True, 0, 0.0)
    assert same["mean"] == same["recorded_mean"]
    twice = drift(2 * vectors, record, vectors)
    assert twice["same"] is False
    assert twice["longer"] > 0
    assert twice["distance"] == pytest.approx(1.0)
    assert twice["most"] == pytest.approx([2 * most for most in record.most])
