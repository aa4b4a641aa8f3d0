"""How points are divided among classes, and the file they travel in."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from crossfade.condensing.points import Points, budget, read_points, write_points
from crossfade.errors import InputError


def test_budgets_by_hand() -> None:
    assert budget(10, [30, 10], "balanced").tolist() == [10, 10]
    assert budget(10, [30, 10], "original").tolist() == [15, 5]
    assert budget(1, [1000, 1], "original").tolist() == [1, 1]
    assert budget(2, [997, 1, 2], "original").tolist() == [4, 1, 1]
    with pytest.raises(InputError, match="--per-class 0: expected 1 point or more"):
        budget(0, [1, 2], "balanced")


@given(st.integers(1, 60), st.lists(st.integers(2, 500), min_size=2, max_size=12))
def test_the_original_prior_keeps_sum_and_order(per_class: int, sizes: list[int]) -> None:
    found = budget(per_class, sizes, "original").tolist()
    assert sum(found) == per_class * len(sizes)
    assert min(found) >= 1
    for size, points in zip(sizes, found, strict=True):
        assert all(points <= others for bigger, others in zip(sizes, found, strict=True) if bigger > size)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    points = Points(torch.randn(3, 2), torch.tensor([0, 1, 1]), ("anger", "joy"), {"layer": "mean", "damping": 0.1})
    write_points(tmp_path / "new" / "points.safetensors", points)
    found = read_points(tmp_path / "new" / "points.safetensors")
    assert torch.equal(found.features, points.features)
    assert torch.equal(found.classes, points.classes)
    assert (found.names, found.about) == (points.names, points.about)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["points.safetensors"]
    with pytest.raises(InputError, match="already exists; pass --overwrite"):
        write_points(tmp_path / "new" / "points.safetensors", points)
    write_points(tmp_path / "new" / "points.safetensors", points, overwrite=True)


def test_what_is_no_file_of_points_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such file; expected a file of `crossfade distill-data sample`"):
        read_points(tmp_path / "nowhere")
    (tmp_path / "text").write_text("points")
    with pytest.raises(InputError, match="text: cannot be read"):
        read_points(tmp_path / "text")
    bad = Points(torch.full((2, 2), torch.nan), torch.tensor([0, 1]), ("a", "b"))
    write_points(tmp_path / "nan", bad)
    with pytest.raises(InputError, match="no finite row and class of every point"):
        read_points(tmp_path / "nan")


def test_weights_of_something_else_are_no_points(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"model.safetensors: is no points file; expected a file of `crossfade"):
        read_points(tmp_path / "model.safetensors")
