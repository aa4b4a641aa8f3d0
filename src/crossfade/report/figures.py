"""Figures from results: files in, pictures out."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crossfade.errors import InputError

INK, GRID, COLOURS = "#1f2933", "#e4e7eb", ("#9aa5b1", "#2f80ed", "#27ae60", "#eb5757")


def require_plots() -> None:
    """InputError without matplotlib: to be asked before long work that ends in a figure."""
    if find_spec("matplotlib") is None:
        raise InputError("figures need matplotlib: pip install 'crossfade[plots]'")


@contextmanager
def _figure(path: Path, width: float, height: float) -> Iterator[Any]:
    """Axes to draw on; the picture is saved to `path` at the end."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    yield axes
    figure.savefig(path, dpi=150)


def draw_matches(path: Path, matches: Sequence[Mapping[str, Any]]) -> None:
    """Mean correlation of paired channels before and after alignment, permutation by permutation."""
    with _figure(path, 9, 4) as axes:
        names = [match["permutation"] for match in matches]
        for column, colour, name in (("before", COLOURS[0], "unaligned"), ("after", COLOURS[1], "aligned")):
            axes.plot(names, [match[column] for match in matches], "o-", color=colour, label=name)
        axes.set_ylim(bottom=min(0.0, *(match["before"] for match in matches)))
        axes.set_ylabel("mean correlation of paired channels", color=INK)
        axes.tick_params(axis="x", rotation=60)
        axes.legend(frameon=False)


def draw_sweep(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Average accuracy over the speech weight for every way to merge, with 95 % intervals; the inputs at both ends."""
    ends = [row for row in rows if row["weight"] is None]
    with _figure(path, 7, 4.5) as axes:
        names = list(dict.fromkeys(row["name"] for row in rows if row["weight"] is not None))
        for shift, (colour, name) in enumerate(zip(COLOURS, names, strict=False)):
            merges = sorted((row for row in rows if row["name"] == name), key=lambda row: row["weight"])
            places = [row["weight"] + 0.006 * (shift - 1.5) for row in merges]
            speech, music = ends
            line = [(0.0, music), *zip(places, merges, strict=True), (1.0, speech)]
            axes.plot([x for x, _ in line], [row["average"] for _, row in line], color=colour, linewidth=1.5)
            _draw_points(axes, places, merges, colour, name)
        _draw_points(axes, [1.0, 0.0], ends, INK, "one encoder alone")
        axes.set_xlabel("weight of the speech encoder (0: music alone, 1: speech alone)", color=INK)
        axes.set_ylabel("average accuracy, %", color=INK)
        axes.legend(frameon=False)


def _draw_points(axes: Any, places: Sequence[float], rows: Sequence[Mapping[str, Any]], colour: str, name: str) -> None:
    middle = [row["average"] for row in rows]
    errors = [
        [row["average"] - row["average_interval"][0] for row in rows],
        [row["average_interval"][1] - row["average"] for row in rows],
    ]
    axes.errorbar(places, middle, yerr=errors, fmt="o", color=colour, label=name, capsize=2)
