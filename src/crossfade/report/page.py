"""One HTML page without scripts or links to elsewhere: the table, the figures, the numbers behind them."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid #e4e7eb }
th:first-child, td:first-child { text-align: left }
img { max-width: 100%; margin: 1rem 0 } small { color: #616e7c } pre { white-space: pre-wrap; font-size: .8rem }
"""

EXPLANATION = (
    "Accuracy of a linear head on frozen features, in percent, ± half the width of the 95 % interval (bootstrap over "
    "clips); the head has never heard the speaker or instrument it is asked about. Gain: difference of the averages to "
    "the plain linear merge of the same weight, on paired resamples."
)


def write_page(path: Path, story: Mapping[str, Any], images: Sequence[str], sources: Path) -> None:
    """Write the quickstart's page to `path`; `images` are files beside it, `sources` the credits of the audio."""
    body = "\n".join(
        [
            "<h1>Two encoders, one merged, measured</h1>",
            f"<p>{EXPLANATION}</p>",
            html_table(*main_table(story["rows"])),
            *(picture(path.parent / image) for image in images),
            "<h2>Tasks</h2>",
            html_table(*task_table(story["rows"], story["tasks"])),
            "<h2>Exactness</h2>",
            html_table(*exactness_table(story["largest_change"])),
            "<h2>The audio</h2><details><summary>Sources, licences and credits</summary>",
            f"<pre>{escape(sources.read_text())}</pre></details>",
            f"<p><small>Crossfade {escape(story['crossfade'])}, seed {story['seed']}.</small></p>",
        ]
    )
    path.write_text(document("Crossfade quickstart", body))


def document(title: str, body: str) -> str:
    """A whole page around `body`, which is HTML."""
    head = f"<meta charset='utf-8'><title>{escape(title)}</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{body}</body></html>\n"


Table = tuple[list[str], list[list[str]]]


def main_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Header and cells of the table that compares the encoders."""
    header = ["encoder", "weight", "speech", "music", "average", "gain"]
    return header, [
        [
            row["name"],
            "" if row["weight"] is None else f"{row['weight']:g}",
            with_interval(row["speech"], row["speech_interval"]),
            with_interval(row["music"], row["music_interval"]),
            with_interval(row["average"], row["average_interval"]),
            "" if row["gain"] is None else with_interval(row["gain"], row["gain_interval"], sign="+"),
        ]
        for row in rows
    ]


def task_table(rows: Sequence[Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]]) -> Table:
    """Header and cells of the table with one column per task."""
    header = ["encoder", "weight", *(task["name"].replace("_", " ") for task in tasks)]
    chance = ["chance", "", *(f"{100 / task['classes']:.1f}" for task in tasks)]
    cells = [
        [row["name"], "" if row["weight"] is None else f"{row['weight']:g}"]
        + [f"{row['tasks'][task['name']]:.1f}" for task in tasks]
        for row in rows
    ]
    return header, [*cells, chance]


def exactness_table(changes: Mapping[str, float]) -> Table:
    """Header and cells: how far the rewritten encoder's outputs are from the original's."""
    cells = [[name, f"{change:.1e}"] for name, change in changes.items()]
    return ["music encoder rewritten", "largest change of any output"], cells


def with_interval(value: float, interval: Sequence[float], sign: str = "", digits: int = 1) -> str:
    """`61.1 ±2.2`; signed where a difference is meant."""
    return f"{value:{sign}.{digits}f} {half(interval, digits)}"


def half(interval: Sequence[float], digits: int = 1) -> str:
    """`±2.2`."""
    return f"±{(interval[1] - interval[0]) / 2:.{digits}f}"


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, every cell escaped."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def picture(path: Path) -> str:
    """An image file inside the page."""
    encoded = base64.b64encode(path.read_bytes()).decode()
    return f"<img alt='{escape(path.stem)}' src='data:image/png;base64,{encoded}'>"
