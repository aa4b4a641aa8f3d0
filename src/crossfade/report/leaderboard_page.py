"""A leaderboard as Markdown or as one HTML page: the table, what its columns are, where every number is from."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from crossfade.errors import InputError
from crossfade.probing.compare import FALSE_FINDINGS
from crossfade.probing.pairing import asked, shown
from crossfade.probing.results import Result, write_file
from crossfade.report.leaderboard import Leaderboard
from crossfade.report.page import Table, document, html_table, with_interval
from crossfade.report.results import digits, meaning, shown_value

BEST = " ★"
NONE = "–"
FORMATS = (".html", ".md")
TITLE = "Leaderboard"


def write_leaderboard(path: Path, board: Leaderboard, *, overwrite: bool = False) -> None:
    """Write `board` to `path` as HTML or Markdown, as its ending says. Raises InputError for another ending."""
    if path.suffix not in FORMATS:
        raise InputError(f"{path}: expected a name that ends in {' or '.join(FORMATS)}")
    write_file(path, to_html(board) if path.suffix == ".html" else to_markdown(board), overwrite=overwrite)


def to_markdown(board: Leaderboard) -> str:
    """The leaderboard as a Markdown document."""
    blocks = [f"# {TITLE}", markdown_table(*main_table(board)), _legend(board)]
    for heading, table in _details(board):
        blocks += [f"## {heading}", markdown_table(*table)]
    if board.notes:
        blocks += ["## Notes", "\n".join(f"- {note}" for note in board.notes)]
    return "\n\n".join(blocks) + "\n"


def to_html(board: Leaderboard) -> str:
    """The leaderboard as one page without scripts or links to elsewhere."""
    blocks = [f"<h1>{TITLE}</h1>", html_table(*main_table(board)), f"<p>{escape(_legend(board))}</p>"]
    for heading, table in _details(board):
        blocks.append(f"<details><summary>{heading}</summary>{html_table(*table)}</details>")
    if board.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in board.notes)
        blocks.append(f"<h2>Notes</h2><ul>{notes}</ul>")
    return document(TITLE, "\n".join(blocks))


def main_table(board: Leaderboard) -> Table:
    """Header and cells: a row for each model, its size, its scores, and its value in every column."""
    header = ["model", "parameters", *board.scores]
    header += [f"{column.name} {'↑' if column.first.result.better == 'higher' else '↓'}" for column in board.columns]
    return header, [list(_row(board, model)) for model in board.models]


def _row(board: Leaderboard, model: str) -> Iterator[str]:
    own = [column.entries[model] for column in board.columns if model in column.entries]
    yield model
    yield f"{own[0].result.model.parameters:,}"
    for scores in board.scores.values():
        found = scores.get(model)
        if found is None:
            yield NONE
            continue
        mark = " (partial)" if found.missing else ""
        yield (with_interval(found.value, found.interval) if found.interval else f"{found.value:.1f}") + mark
    for column in board.columns:
        entry = column.entries.get(model)
        yield shown_value(entry.result) + (BEST if column.best == model else "") if entry else NONE


def _legend(board: Leaderboard) -> str:
    told = [
        meaning(entry.result for column in board.columns for entry in column.entries.values()),
        "↑: higher is better, ↓: lower is better.",
        f"{BEST.strip()}: better than every other model in the column, by paired tests on the same items "
        f"(Benjamini-Hochberg over all of them, at most {100 * FALSE_FINDINGS:g} % false). In a column without one "
        "chance could have decided who is first.",
    ]
    if any(model not in column.entries for column in board.columns for model in board.models):
        told.append(f"{NONE}: not measured.")
    if board.scores:
        told.append("A score's interval tells of the test items of its tasks; its references are taken as they are.")
    return " ".join(told)


def _details(board: Leaderboard) -> list[tuple[str, Table]]:
    return [("Columns", column_table(board)), ("Where each number is from", source_table(board))]


def column_table(board: Leaderboard) -> Table:
    """Header and cells: what each column measures, and how."""
    rows = []
    for column in board.columns:
        result = column.first.result
        task = result.task
        counts = f"{task.train:,} / {task.valid:,} / {task.test:,}"
        told = ", ".join(f"{key} {shown(value)}" for key, value in asked(result).items())
        rows.append([column.name, task.title, task.domain, result.metric, counts, task.sha256[:8], told])
    return ["column", "task", "domain", "metric", "train / valid / test clips", "data", "protocol"], rows


def source_table(board: Leaderboard) -> Table:
    """Header and cells: a row for every number of the main table, with the file it is from."""
    rows = []
    for column in board.columns:
        for model, entry in column.entries.items():
            result, exact = entry.result, digits(entry.result.percent) + 1
            low, high = (f"{bound:.{exact}f}" for bound in result.interval)
            row = [model, (result.model.sha256 or "")[:8], column.name, f"{result.value:.{exact}f}", f"{low} to {high}"]
            row += [result.interval_method, " ".join(map(str, result.seeds)), chosen(result)]
            rows.append([*row, f"{len(result.skipped)}", entry.source])
    header = ["model", "weights", "column", "value", "95 % interval", "found by", "seeds", "chosen"]
    return [*header, "skipped clips", "file"], rows


def chosen(result: Result) -> str:
    """What validation data chose, each choice once: `rate 0.001; rate 0.01`, `layer 3, neighbours 5`, `damping 10`."""
    names = ("rate", "layer", "neighbours", "damping")
    points = [point.model_dump(include={*names}) for point in result.sweep if point.chosen]
    told = points or [{"rate": rate} for rate in result.chosen]
    settings = (
        ", ".join(f"{name} {shown(point[name])}" for name in names if point.get(name) is not None) for point in told
    )
    return "; ".join(dict.fromkeys(settings))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; bars in cells are escaped."""
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
