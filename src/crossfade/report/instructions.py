"""Scores of models that follow instructions, as one HTML page: the tree, every instance, failures, cost."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from crossfade.errors import InputError
from crossfade.instructions.readers import READERS, Reader
from crossfade.instructions.scores import Figure, InstanceScore, Scores
from crossfade.instructions.standing import Standing, standings
from crossfade.probing.results import write_file
from crossfade.report.page import Table, document, html_table, with_interval
from crossfade.report.results import digits

TITLE = "Dynamic-SUPERB"
NONE = "–"
INDENT = "\N{EM SPACE}"
NOT_COMPARABLE = "probed encoder: not comparable with the benchmark's leaderboard"
LEGEND = (
    "± is half the width of the 95 % interval over items. n/a: share of the items without a usable answer. Averages "
    "are over tasks, in percent, more is better: error rates from 100 down to 0, correlations times 100; errors of "
    "numbers have no share. Relative: 100 · (value − baseline) / |baseline|, the sign turned where lower is better, "
    "mean over tasks; our reading of the paper."
)
COSTS = ("items", "failed", "retries", "tokens_in", "tokens_out", "answering_seconds")


def write_report(
    path: Path, scores: Sequence[Scores], *, reader: Reader | None = None, overwrite: bool = False
) -> None:
    """Write the page to `path`, whole or not at all. Raises InputError for two models of one name, or no .html."""
    if path.suffix != ".html":
        raise InputError(f"{path}: expected a name that ends in .html")
    names = [one.model for one in scores]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(
            f"two scores are of '{twice[0]}'; write another name under \"model\" in one of the files (for runs to "
            "come, `name:` in model.yaml), or leave one out"
        )
    write_file(path, to_html(scores, reader), overwrite=overwrite)


def to_html(scores: Sequence[Scores], reader: Reader | None = None) -> str:
    """The page, without scripts or links to elsewhere."""
    blocks = [
        f"<h1>{TITLE}</h1>",
        f"<p>{escape(LEGEND)}</p>",
        *(f"<p>{escape(line)}</p>" for line in _notes(scores, reader)),
    ]
    blocks += ["<h2>Tree</h2>", html_table(*tree_table(scores, reader))]
    for branch in _branches(scores):
        rows = html_table(*branch_table(scores, branch))
        blocks.append(f"<details><summary>{escape(' / '.join(branch))}</summary>{rows}</details>")
    for heading, table in (("Failures", failure_table(scores)), ("Cost", cost_table(scores))):
        blocks += [f"<h2>{heading}</h2>", html_table(*table) if table[1] else "<p>None.</p>"]
    if (unread := unread_table(scores))[1]:
        summary = "Answers that were not applicable, some of each instance"
        blocks.append(f"<details><summary>{summary}</summary>{html_table(*unread)}</details>")
    return document(TITLE, "\n".join(blocks))


def _notes(scores: Sequence[Scores], reader: Reader | None) -> Iterator[str]:
    for one in scores:
        if not one.comparable:
            yield f"{one.model}: {NOT_COMPARABLE}."
        judged = f" by {one.judge.get('model', 'a judge')}" if one.judge else ""
        baseline = f"; relative to {one.relative.baseline}" if one.relative else ""
        yield f"{one.model}: answers as the {one.reader(reader)} reader takes them{judged}{baseline}."
        yield from (f"{one.model}: {note.rstrip('.')}." for note in one.notes)
    asked = [{one.name for one in own.instances} for own in scores]
    if any(names != asked[0] for names in asked):
        counts = ", ".join(f"{own.model} {len(names)}" for own, names in zip(scores, asked, strict=True))
        yield (
            f"Not all were asked the same instances ({counts}; {len(set.intersection(*asked))} by all): averages of "
            "different instances do not compare."
        )


def tree_table(scores: Sequence[Scores], reader: Reader | None = None) -> Table:
    """Header and cells: a row for the whole, every domain and every branch; for each model the average and more."""
    found = [{one.branch: one for one in standings(own, own.reader(reader))} for own in scores]
    header = ["branch", "instances"]
    for own in scores:
        header += [shown_model(own), *(["relative"] if own.relative else [])]
    rows = []
    for branch in sorted({branch for own in found for branch in own}):
        name = INDENT * len(branch) + (branch[-1] if branch else "all")
        row = [name, str(len(_below(scores, branch)))]
        for own, standing in zip(scores, (own.get(branch) for own in found), strict=True):
            row.append(shown_average(standing))
            row += [_relative(standing)] if own.relative else []
        rows.append(row)
    return header, rows


def _below(scores: Sequence[Scores], branch: tuple[str, ...]) -> set[str]:
    """The instances of a branch that any model was asked."""
    return {one.name for own in scores for one in own.instances if one.branch[: len(branch)] == branch}


def shown_model(scores: Scores) -> str:
    """A model's name; of a probed encoder it says so wherever it stands."""
    return scores.model if scores.comparable else f"{scores.model} (probed, not comparable)"


def shown_average(standing: Standing | None) -> str:
    """`61.1 ±2.2`, and over how many instances where some have no share."""
    if standing is None or standing.average is None:
        return NONE
    value = f"{standing.average:.1f}"
    if standing.interval is not None:
        value = with_interval(standing.average, standing.interval)
    return (
        value if standing.averaged == standing.instances else f"{value} ({standing.averaged} of {standing.instances})"
    )


def _relative(standing: Standing | None) -> str:
    return NONE if standing is None or standing.relative is None else f"{standing.relative:+.1f}"


def _branches(scores: Sequence[Scores]) -> list[tuple[str, ...]]:
    return sorted({one.branch for own in scores for one in own.instances})


def branch_table(scores: Sequence[Scores], branch: tuple[str, ...]) -> Table:
    """Header and cells: a row for every instance and metric of a branch, a column for every model and reader."""
    columns = [
        (own, reader) for own in scores for reader in READERS if any(reader in one.readers for one in own.instances)
    ]
    header = ["instance", "kind", "metric", "items", *(f"{shown_model(own)}: {reader}" for own, reader in columns)]
    by_name = [{one.name: one for one in own.instances if one.branch == branch} for own, _ in columns]
    firsts: dict[str, InstanceScore] = {name: one for own in by_name for name, one in own.items()}
    rows = []
    for name, first in sorted(firsts.items()):
        for metric in first.readers["exact"].figures:
            cells = [
                _cell(own.get(name), reader, metric.metric) for own, (_, reader) in zip(by_name, columns, strict=True)
            ]
            arrow = "" if metric.better == "higher" else " ↓"
            rows.append([name, first.kind, metric.metric + arrow, f"{first.items:,}", *cells])
    return header, rows


def _cell(one: InstanceScore | None, reader: Reader, metric: str) -> str:
    read = one.readers.get(reader) if one else None
    figure = next((figure for figure in read.figures if figure.metric == metric), None) if read else None
    return NONE if one is None or figure is None else shown_figure(figure, one.items)


def shown_figure(figure: Figure, items: int) -> str:
    """`61.1 ±2.2, 5 % n/a`."""
    unread = f", {100 * figure.not_applicable / items:.0f} % n/a" if figure.not_applicable else ""
    if figure.value is None:
        return f"{NONE}{unread}"
    places = digits(figure.percent)
    if figure.interval is None:
        return f"{figure.value:.{places}f}{unread}"
    return f"{with_interval(figure.value, figure.interval, digits=places)}{unread}"


def failure_table(scores: Sequence[Scores]) -> Table:
    """Header and cells: what went wrong where, how often; labels that cannot be used and the like too."""
    rows = [
        [one.name, shown_model(own), str(count), error]
        for own in scores
        for one in own.instances
        for error, count in one.errors.items()
    ]
    rows += [[one.name, shown_model(own), "", note] for own in scores for one in own.instances for note in one.notes]
    return ["instance", "model", "items", "what"], rows


def cost_table(scores: Sequence[Scores]) -> Table:
    """Header and cells: what each run took."""
    return ["model", *(name.replace("_", " ") for name in COSTS)], [
        [shown_model(own), *(_amount(own.cost.get(name)) for name in COSTS)] for own in scores
    ]


def _amount(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else NONE


def unread_table(scores: Sequence[Scores]) -> Table:
    """Header and cells: answers in which a reader found none."""
    rows = [
        [one.name, shown_model(own), reader, example.label, example.answer]
        for own in scores
        for one in own.instances
        for reader, read in one.readers.items()
        for example in read.examples
    ]
    return ["instance", "model", "reader", "label", "answer"], rows
