"""Figures from results: files in, pictures out."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crossfade.errors import InputError

INK, GRID, COLOURS = "#1f2933", "#e4e7eb", ("#9aa5b1", "#2f80ed", "#27ae60", "#eb5757")
MORE_COLOURS = (*COLOURS[1:], "#9b51e0", "#f2994a", "#56ccf2", "#6fcf97", "#bb6bd9", COLOURS[0])
MARKS = ("s", "D", "^", "v", "P", "X", "*", "p", "<", ">")
FEW = 12
"""Mixtures that all have room for their weights in a figure."""


FORMATS = (".png", ".svg", ".pdf")
"""How the name of a figure may end."""


def require_plots() -> None:
    """InputError without matplotlib: to be asked before long work that ends in a figure."""
    if find_spec("matplotlib") is None:
        raise InputError("figures need matplotlib: pip install 'crossfade[plots]'")


def require_format(path: Path) -> None:
    """InputError unless a figure can be drawn to `path`: to be asked before long work."""
    require_plots()
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"figure {path}: expected a name that ends in {', '.join(FORMATS)}")


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


def draw_front(
    path: Path, points: Sequence[Mapping[str, Any]], front: Collection[str], domains: tuple[str, str], score: str
) -> None:
    """Scores of two domains against each other with 95 % intervals: a line for each way to mix, ends at its students.

    What was measured as it is has a mark of its own; the legend gives its number of parameters. Of many mixtures only
    those in `front` have their weights beside them.
    """
    across, up = domains
    alone = [point for point in points if point["method"] in ("alone", "pair")]
    mixed = [point for point in points if point not in alone]
    with _figure(path, 9, 6) as axes:
        for place, method in enumerate(dict.fromkeys(point["method"] for point in mixed)):
            colour = MORE_COLOURS[place % len(MORE_COLOURS)]
            own = [point for point in mixed if point["method"] == method]
            if line := mixing_line(method, points):
                axes.plot(*zip(*(_place(point, domains) for point in line), strict=True), color=colour, linewidth=1)
            sizes = sorted({point["parameters"] for point in own})
            label = f"{method}, {' and '.join(_millions(size) for size in sizes)}"
            _draw_spreads(axes, own, domains, colour, label, "o")
        for point in mixed:
            if len(mixed) <= FEW or point["name"] in front:
                label = ":".join(f"{weight:g}" for weight in point["weights"])
                axes.annotate(label, _place(point, domains), fontsize=7, xytext=(3, 3), textcoords="offset points")
        for place, point in enumerate(alone):
            label = f"{point['name']}, {_millions(point['parameters'])}"
            _draw_spreads(axes, [point], domains, INK, label, MARKS[place % len(MARKS)])
        axes.set_xlabel(f"{across}: {score}", color=INK)
        axes.set_ylabel(f"{up}: {score}", color=INK)
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


def mixing_line(method: str, points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A method's mixtures of two students, from the second student to the first; [] where they are more than two.

    The students are those of the mixtures' own sweep, as far as it measured them: all of the weight is theirs.
    """
    own = [point for point in points if point["method"] == method]
    if not all(len(point["weights"]) == 2 for point in own):
        return []
    alone = [point for point in points if point["method"] == "alone" and point["sweep"] == own[0]["sweep"]]
    return sorted([*own, *(end for end in alone if any(end["weights"] or ()))], key=_first_weight)


def _first_weight(point: Mapping[str, Any]) -> float:
    return float(point["weights"][0])


def _place(point: Mapping[str, Any], domains: Sequence[str]) -> tuple[float, ...]:
    return tuple(point["standing"]["domains"][domain]["value"] for domain in domains)


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:.2f} M"


def _draw_spreads(
    axes: Any, points: Sequence[Mapping[str, Any]], domains: Sequence[str], colour: str, name: str, mark: str
) -> None:
    spreads = [[point["standing"]["domains"][domain] for point in points] for domain in domains]
    halves = [[(one["interval"][1] - one["interval"][0]) / 2 for one in own] for own in spreads]
    places = [[one["value"] for one in own] for own in spreads]
    style = {"fmt": mark, "color": colour, "elinewidth": 0.4, "ms": 4 if mark == "o" else 7}
    axes.errorbar(*places, xerr=halves[0], yerr=halves[1], label=name, **style)


def draw_geometry(path: Path, geometry: Mapping[str, Any], measure: str) -> None:
    """A measure of two encoders ("barrier" by stage, or "cka" by layer), unaligned and aligned."""
    titles = {"barrier": "barrier, of the output's variance", "cka": "linear CKA"}
    lines = geometry[measure]
    names = geometry["stages"] if measure == "barrier" else [f"{layer}" for layer in range(len(lines["parents"]))]
    with _figure(path, 7, 3.5) as axes:
        for colour, way in ((INK, "parents"), (COLOURS[0], "unaligned"), (COLOURS[1], "aligned")):
            if way in lines:
                label = "students with each other" if way == "parents" else f"mixture, {way}"
                axes.plot(names, lines[way], "o-", color=colour, label=label)
        axes.set_ylabel(titles[measure], color=INK)
        axes.set_xlabel("stage" if measure == "barrier" else "layer (0: what enters the transformer)", color=INK)
        axes.tick_params(axis="x", rotation=30)
        axes.legend(frameon=False, fontsize=8)


def draw_prompts(path: Path, found: Mapping[str, Any]) -> None:
    """What soft prompts do layer by layer (`prompts.analysis.inspection`): attention drawn, representations moved."""
    layers = range(1, len(found["attention"]) + 1)
    with _figure(path, 7, 4) as axes:
        axes.plot(layers, found["attention"], "o-", color=COLOURS[1], label="attention that frames give to prompts")
        axes.axhline(found["even"], color=COLOURS[0], linestyle="--", label="the same, were all attended to alike")
        for measure, colour, name in (("cosine", COLOURS[2], "1 - cosine"), ("cka", COLOURS[3], "1 - CKA")):
            moved = [1 - value for value in found[measure]]
            axes.plot(range(len(moved)), moved, "s-", color=colour, label=f"{name}, with and without prompts")
        axes.set_xlabel("layer (0: what enters the first)", color=INK)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=8)
