"""Which weights a sweep tries."""

from collections.abc import Iterator, Sequence
from math import isclose, isfinite
from typing import Literal

from crossfade.errors import InputError

Grid = Literal["simplex", "scale"]
Weights = tuple[float, ...]

MOST = 2000
"""Points of a grid: more is a slip."""


def grid_points(count: int, grid: Grid, step: float) -> list[Weights]:
    """Weights of `count` vectors, the first one's largest share first.

    "simplex": all multiples of `step` that add up to 1; "scale": the same weight for all, from 1 down to 0. Raises
    InputError for a step that does not divide 1.
    """
    if not (isfinite(step) and 0 < step <= 1) or not isclose(1 / step, round(1 / step), rel_tol=1e-6):
        raise InputError(f"step = {step:g}, expected a part of 1 such as 0.1 or 0.25")
    parts = round(1 / step)
    if grid == "scale":
        return [(round(part / parts, 9),) * count for part in range(parts, -1, -1)]
    points = []
    for shares in _compositions(parts, count):
        points.append(tuple(round(share / parts, 9) for share in shares))
        if len(points) > MOST:
            raise InputError(f"step = {step:g} with {count} vectors gives over {MOST} points; take a larger step")
    return points


def _compositions(total: int, count: int) -> Iterator[tuple[int, ...]]:
    """All ways to deal `total` to `count`, in order, the first one's largest part first."""
    if count == 1:
        yield (total,)
        return
    for first in range(total, -1, -1):
        for rest in _compositions(total - first, count - 1):
            yield (first, *rest)


def read_points(
    texts: Sequence[str | Sequence[float]], count: int, total: float | None, what: str = "at"
) -> list[Weights]:
    """Weights as they are typed, `0.9,0.1`, which errors call `what`.

    Raises InputError for another number of them, one that is not finite, or another sum.
    """
    points: list[Weights] = []
    for text in texts:
        try:
            numbers = text.split(",") if isinstance(text, str) else text
            weights = tuple(float(number) for number in numbers)
        except ValueError:
            raise InputError(f"{what} '{text}': expected weights with commas between them, as in 0.9,0.1") from None
        told = ",".join(f"{weight:g}" for weight in weights)
        if len(weights) != count:
            raise InputError(f"{what} '{told}': expected a weight for each of {count} vectors, received {len(weights)}")
        if not all(map(isfinite, weights)):
            raise InputError(f"{what} '{told}': expected finite weights")
        if total is not None and not isclose(sum(weights), total, abs_tol=1e-6):
            raise InputError(f"{what} '{told}': a sum of {sum(weights):g}, expected {total:g}")
        points.append(weights)
    return list(dict.fromkeys(points))


def corner(weights: Weights) -> int | None:
    """Which vector alone has weight 1 while all others have 0, if so."""
    active = [place for place, weight in enumerate(weights) if weight]
    return active[0] if len(active) == 1 and weights[active[0]] == 1 else None


def told(weights: Weights) -> str:
    """`0.9:0.1`, as the papers write them."""
    return ":".join(f"{weight:g}" for weight in weights)
