"""Results as a table for a terminal: a row for each task and condition, a column for each model."""

from collections.abc import Sequence

from crossfade.probing.results import Result
from crossfade.report.page import Table, with_interval


def results_table(results: Sequence[Result]) -> Table:
    """Values with half their 95 % intervals; tasks down, models across."""
    models = list(dict.fromkeys(result.model.name for result in results))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for result in results:
        condition = "" if result.protocol.condition == "clean" else f" ({result.protocol.condition})"
        key = f"{result.task.name}{condition}", f"{result.metric}{'' if result.better == 'higher' else ' ↓'}"
        rows.setdefault(key, {})[result.model.name] = with_interval(result.value, result.interval)
    return ["task", "metric", *models], [
        [*key, *(cells.get(model, "–") for model in models)] for key, cells in rows.items()
    ]
