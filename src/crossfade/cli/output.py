"""What a verb leaves on standard output: a summary to read, and a line of JSON to parse."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table

WIDE = 1000
"""Columns of a file, for which no line is too long."""


class Reportable(Protocol):
    """A result that can be written as JSON."""

    def to_dict(self) -> dict[str, Any]: ...


def show(result: Reportable, told: Mapping[str, Any] | None = None, *, quiet: bool, as_json: bool) -> None:
    """Print what is `told` (else everything), unless quiet; then, where asked, the JSON, always as the last line."""
    facts = result.to_dict()
    if not quiet:
        Console(highlight=False, markup=False).print(summary(told or facts))
    if as_json:
        print(json.dumps(facts, default=str), flush=True)


def show_table(
    title: str,
    table: tuple[Sequence[str], Sequence[Sequence[str]]],
    last: str,
    facts: Mapping[str, Any],
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Print a titled table and closing lines, unless quiet; then, where asked, `facts` as JSON.

    A terminal that is too narrow wraps cells; in a file or a pipe every row is one line.
    """
    if not quiet:
        console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDE)
        header, rows = table
        drawn = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        for number, heading in enumerate(header):
            drawn.add_column(heading, justify="right" if number else "left", overflow="fold")
        for row in rows:
            drawn.add_row(*row)
        console.print(drawn)
        console.print(last, soft_wrap=True)
    if as_json:
        print(json.dumps(facts, default=str), flush=True)


def some(names: Sequence[str], shown: int = 3, between: str = ", ") -> str:
    """The first of some names, and how many there are beyond."""
    return between.join(names[:shown]) + (f" and {len(names) - shown:,} more" if len(names) > shown else "")


def left_out(skipped: Sequence[tuple[str, str]]) -> str:
    """How many were left out, and the first of them with the reason; empty where none was."""
    named = some([f"{name}: {reason}" for name, reason in skipped], between="; ")
    return f"{len(skipped):,} ({named})" if skipped else ""


def summary(facts: Mapping[str, Any]) -> RenderableType:
    """A line for each fact that is not empty, then a table for each list of things that have facts of their own."""
    lists = {name: value for name, value in facts.items() if _is_list_of_things(value)}
    lines = Table.grid(padding=(0, 2, 0, 0))
    for name, value in facts.items():
        if name not in lists and value not in (None, (), [], {}, ""):
            lines.add_row(_title(name), _text(name, value))
    return Group(lines, *(_things(value) for value in lists.values()))


def _is_list_of_things(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _things(items: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each thing, or a column for each where that is the narrower."""
    rows = [[_title(name) for name in items[0]]]
    rows += [[_text(name, value) for name, value in item.items()] for item in items]
    if len(rows) < len(rows[0]):
        rows = [list(column) for column in zip(*rows, strict=True)]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in rows[0]:
        table.add_column(heading, overflow="fold")
    for row in rows[1:]:
        table.add_row(*row)
    return table


def _title(name: str) -> str:
    return name.removesuffix("_bytes").removesuffix("_seconds").replace("_seconds_", "_").replace("_", " ")


def _text(name: str, value: object) -> str:
    """A value as a person writes it; the name tells the unit."""
    if value in (None, (), []):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("bytes") and isinstance(value, int):
        return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.1f} MB"
    if isinstance(value, Mapping):
        return ", ".join(f"{_title(key)} {_text(key, part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(_text(name, part) for part in value)
    if isinstance(value, float):
        return f"{value:.1f} s" if "seconds" in name else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
