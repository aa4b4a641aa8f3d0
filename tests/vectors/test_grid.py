"""The weights that a sweep tries."""

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.errors import InputError
from crossfade.vectors.grid import corner, grid_points, read_points, told


def test_two_vectors_in_tenths_are_eleven_points() -> None:
    points = grid_points(2, "simplex", 0.1)
    assert len(points) == 11
    assert points[:2] == [(1.0, 0.0), (0.9, 0.1)]
    assert points[-1] == (0.0, 1.0)
    assert [told(point) for point in points[5:7]] == ["0.5:0.5", "0.4:0.6"]


@given(st.integers(1, 4), st.integers(1, 8))
def test_a_simplex_is_whole(count: int, parts: int) -> None:
    points = grid_points(count, "simplex", 1 / parts)
    assert len({*points}) == len(points) == comb(parts + count - 1, count - 1)
    assert all(abs(sum(point) - 1) < 1e-6 and min(point) >= 0 for point in points)
    assert sum(corner(point) is not None for point in points) == count


def test_one_weight_for_all() -> None:
    assert grid_points(3, "scale", 0.5) == [(1.0,) * 3, (0.5,) * 3, (0.0,) * 3]


def test_corners() -> None:
    assert [corner(point) for point in ((0.0, 1.0), (1.0, 0.0), (0.0, 0.5), (1.0, 1.0), (0.0, 0.0))] == [
        1, 0, None, None, None,
    ]  # fmt: skip


def test_points_as_they_are_typed() -> None:
    assert read_points(["0.9,0.1", (0.5, 0.5), "0.9, 0.1"], 2, 1.0) == [(0.9, 0.1), (0.5, 0.5)]
    assert read_points(["1,-0.5"], 2, None) == [(1.0, -0.5)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grid_points(2, "simplex", 0.3), "step = 0.3, expected a part of 1"),
        (lambda: grid_points(2, "simplex", 0.0), "step = 0"),
        (lambda: grid_points(6, "simplex", 0.05), "gives over 2000 points"),
        (lambda: read_points(["0.9"], 2, None), "at '0.9': expected a weight for each of 2 vectors, received 1"),
        (lambda: read_points(["0.9,x"], 2, None), "expected weights with commas"),
        (lambda: read_points(["0.9,0.2"], 2, 1.0), "at '0.9,0.2': a sum of 1.1, expected 1"),
        (lambda: read_points(["nan,1"], 2, None), "at 'nan,1': expected finite weights"),
    ],
)
def test_what_is_refused(call: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        call()  # type: ignore[operator]
    assert message in str(caught.value)
