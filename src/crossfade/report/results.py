"""Results as a table for a terminal: a row for each task and condition, a column for each model."""

from collections.abc import Sequence

from crossfade.probing.results import ModelInfo, Result
from crossfade.report.page import Table, with_interval


def results_table(results: Sequence[Result]) -> Table:
    """Values with half their 95 % intervals; tasks down, models across."""
    names = column_names([result.model for result in results])
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for result in results:
        condition = "" if result.protocol.condition == "clean" else f" ({result.protocol.condition})"
        key = f"{result.task.name}{condition}", f"{result.metric}{'' if result.better == 'higher' else ' ↓'}"
        digits = 1 if result.percent else 3
        rows.setdefault(key, {})[names[result.model]] = with_interval(result.value, result.interval, digits=digits)
    models = list(dict.fromkeys(names.values()))
    cells = [[*key, *(found.get(model, "–") for model in models)] for key, found in rows.items()]
    return ["task", "metric", *models], cells


def column_names(models: Sequence[ModelInfo]) -> dict[ModelInfo, str]:
    """What each model is called: its name, or its path where another has the same name."""
    named: dict[str, set[ModelInfo]] = {}
    for model in models:
        named.setdefault(model.name, set()).add(model)
    return {model: model.name if len(named[model.name]) == 1 else str(model.path) for model in models}
