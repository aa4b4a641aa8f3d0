"""Results as text: a value with its intervals; a row for each task and condition, a column for each model."""

from collections.abc import Iterable, Sequence

from crossfade.probing.results import ModelInfo, Result
from crossfade.report.page import Table, half, with_interval


def digits(percent: bool) -> int:
    """Decimals that a value is shown with."""
    return 1 if percent else 3


def shown_value(result: Result) -> str:
    """`45.3 ±4.9`, or `45.3 ±4.9 (±8.2)` where there is an interval over groups."""
    places = digits(result.percent)
    value = with_interval(result.value, result.interval, digits=places)
    return f"{value} ({half(result.group_interval, places)})" if result.group_interval else value


def meaning(results: Iterable[Result]) -> str:
    """What is behind the ± of `shown_value`."""
    grouped = any(result.group_interval for result in results)
    brackets = ", in brackets over groups of test clips (speakers, kits)" if grouped else ""
    return f"± is half the width of the 95 % interval{brackets}."


def results_table(results: Sequence[Result]) -> Table:
    """Values with half their 95 % intervals; tasks down, models across."""
    names = column_names([result.model for result in results])
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for result in results:
        condition = "" if result.protocol.condition == "clean" else f" ({result.protocol.condition})"
        key = f"{result.task.name}{condition}", f"{result.metric}{'' if result.better == 'higher' else ' ↓'}"
        rows.setdefault(key, {})[names[result.model]] = shown_value(result)
    models = list(dict.fromkeys(names.values()))
    cells = [[*key, *(found.get(model, "–") for model in models)] for key, found in rows.items()]
    return ["task", "metric", *models], cells


def column_names(models: Sequence[ModelInfo]) -> dict[ModelInfo, str]:
    """What each model is called: its name, or its path where another has the same name."""
    named: dict[str, set[ModelInfo]] = {}
    for model in models:
        named.setdefault(model.name, set()).add(model)
    return {model: model.name if len(named[model.name]) == 1 else str(model.path) for model in models}
