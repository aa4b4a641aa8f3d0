"""A sweep as a table in the papers' form, a figure and a page."""

from collections.abc import Mapping
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crossfade.report.figures import draw_front, draw_geometry
from crossfade.report.leaderboard_page import markdown_table
from crossfade.report.page import Table, document, html_table, picture, with_interval

TABLE, PAGE, FRONT = "table.md", "report.html", "front.png"
AXES = ("speech", "music")
TITLE = "Sweep"
GEOMETRY = (
    "Barrier: how much further the first student's output moves when one stage is half the second's than half of what "
    "it moves when the stage is wholly the second's. CKA does not see the order of channels, so the students' own is "
    "the same before and after alignment; of the half-and-half mixture it is the mean with both students."
)


def write_sweep(folder: Path, sweep: Mapping[str, Any]) -> None:
    """Write table.md, report.html and, where speech and music were measured and matplotlib is there, front.png."""
    table = sweep_table(sweep)
    (folder / TABLE).write_text(f"# {TITLE}\n\n{markdown_table(*table)}\n\n{legend(sweep)}\n")
    blocks = [f"<h1>{TITLE}</h1>"]
    if find_spec("matplotlib") and set(AXES) <= {*sweep["points"][0]["standing"]["domains"]}:
        draw_front(folder / FRONT, sweep["points"], sweep["front"], AXES, sweep["recipe"]["score"])
        blocks.append(picture(folder / FRONT))
    blocks += [html_table(*table), f"<p>{escape(legend(sweep))}</p>"]
    if sweep["geometry"]:
        blocks += ["<h2>Layer by layer, before and after alignment</h2>", f"<p>{GEOMETRY}</p>"]
        for measure in ("barrier", "cka") if find_spec("matplotlib") else ():
            draw_geometry(folder / f"{measure}.png", sweep["geometry"], measure)
            blocks.append(picture(folder / f"{measure}.png"))
    (folder / PAGE).write_text(document(TITLE, "\n".join(blocks)))


def sweep_table(sweep: Mapping[str, Any]) -> Table:
    """Header and cells: a row for every point, a column for every task, then the scores, as the papers have them."""
    first = sweep["points"][0]
    tasks, domains = list(first["values"]), list(first["standing"]["domains"])
    header = ["encoder", "weights", "parameters", *tasks, *domains, "average", "front"]
    rows = []
    for point in sweep["points"]:
        standing = point["standing"]
        spreads = [*(standing["domains"][domain] for domain in domains), standing["average"]]
        rows.append(
            [
                point["name"] if point["method"] in ("alone", "pair") else point["method"],
                ":".join(f"{weight:g}" for weight in point["weights"] or ()),
                f"{point['parameters']:,}",
                *(f"{point['values'][task]:.1f}" for task in tasks),
                *(with_interval(one["value"], one["interval"]) for one in spreads),
                "◆" if point["name"] in sweep["front"] else "",
            ]
        )
    return header, rows


def legend(sweep: Mapping[str, Any]) -> str:
    """What the table's columns are."""
    return (
        f"Scores: {sweep['recipe']['score']}. ± is half the width of the 95 % interval over test clips. ◆: no other "
        "single encoder is better in one domain without being worse in another, by value; `crossfade compare "
        "results.json` tells which differences are real."
    )
