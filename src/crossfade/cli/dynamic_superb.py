"""crossfade dynamic-superb list, check, run, join, score, compare, report"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Option

from crossfade.cli.dynamic_superb_run import join, run
from crossfade.cli.dynamic_superb_score import compare, report, score
from crossfade.cli.options import Bench, Json, Quiet

if TYPE_CHECKING:
    from crossfade.instructions.benchmark import Instance, Problem
    from crossfade.instructions.rules import Checked

dynamic_superb = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Run models on Dynamic-SUPERB, the benchmark of instructions about speech, music and sound.",
)

Kinds = Literal["classification", "regression", "generation", "unsupported"]
SHOWN = 3
"""Names that a line about many instances gives."""


@dynamic_superb.command(name="list")
def list_instances(
    bench: Bench,
    kind: Annotated[Kinds | None, Option(help="Only this kind of answer.")] = None,
    domain: Annotated[Literal["speech", "music", "audio"] | None, Option(help="Only what is about this.")] = None,
    keyword: Annotated[
        str | None, Option(metavar="WORD", help="Only with this in a keyword, the name or the description.")
    ] = None,
    language: Annotated[str | None, Option(metavar="nl", help="Only in this language, as ISO 639-1 says it.")] = None,
    metric: Annotated[str | None, Option(metavar="NAME", help="Only what is scored by this.")] = None,
    size: Annotated[
        int | None, Option(min=1, metavar="N", help="Only with at most N items, where that is known.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """List the instances of a benchmark, with the commit that each is pinned to.

    \b
    Examples:
      crossfade dynamic-superb list ./dynamic-superb
      crossfade dynamic-superb list confirmed_instances.csv --kind regression --domain speech
    """
    from crossfade.cli.output import show_table
    from crossfade.instructions.benchmark import read_benchmark

    found = read_benchmark(bench)
    chosen = found.chosen(kind, domain, keyword, language, metric, items=size)
    header = ["instance", "kind", "domains", "languages", "metrics", "items", "version"]
    rows = [
        [
            one.name,
            one.kind,
            ", ".join(one.domains) or "-",
            ", ".join(one.languages) or "-",
            ", ".join(one.metrics) or "-",
            "-" if one.items is None else f"{one.items:,}",
            "local" if one.local else (one.revision or "not pinned")[:10],
        ]
        for one in chosen
    ]
    closing = "\n".join([counted(chosen), *_told(found.problems)])
    facts = {
        "sha256": found.sha256,
        "instances": [_facts(one) for one in chosen],
        "problems": [{"source": one.source, "what": one.what} for one in found.problems],
    }
    show_table(str(bench), (header, rows), closing, facts, quiet=quiet, as_json=as_json)


@dynamic_superb.command()
def check(
    bench: Bench,
    hub: Annotated[bool, Option("--hub", help="Fetch the items of instances on the hub, too, and check them.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Check every instance against the benchmark's published rules.

    What breaks a rule is named and stops nothing. The items of instances that are on the hub are fetched only on
    --hub; else they are checked by what their instance.json says.

    \b
    Examples:
      crossfade dynamic-superb check ./my-instances
      crossfade dynamic-superb check ./dynamic-superb --json
    """
    from crossfade.cli.output import show_table
    from crossfade.cli.progress import progress
    from crossfade.instructions.benchmark import read_benchmark
    from crossfade.instructions.rules import check_benchmark

    found = read_benchmark(bench)
    checked = check_benchmark(found, hub=hub, progress=progress(quiet))
    lines = [(one.instance.name, line) for one in checked for line in one.broken]
    lines += [(one.source, one.what) for one in found.problems]
    good = sum(not one.broken for one in checked)
    told = f"{good} of {len(checked)} instances break no rule that was checked; {_looked_at(checked)}."
    closing = f"{counted([one.instance for one in checked])}\n{told}"
    facts: dict[str, Any] = {
        "good": good,
        "instances": [
            {"name": one.instance.name, "items": one.items, "seconds": round(one.seconds, 3), "broken": one.broken}
            for one in checked
        ],
        "problems": [{"source": one.source, "what": one.what} for one in found.problems],
    }
    table = (["what", "instances", "which"], _grouped(list(dict.fromkeys(lines))) or [["nothing is wrong", "0", "-"]])
    show_table(str(bench), table, closing, facts, quiet=quiet, as_json=as_json)


def counted(instances: Sequence["Instance"]) -> str:
    """How many instances, tasks and kinds, and how many of them are pinned."""
    kinds = Counter(one.kind for one in instances)
    pinned = sum(one.revision is not None and not one.local for one in instances)
    local = sum(one.local for one in instances)
    places = [f"{pinned} pinned to a commit"] * bool(pinned) + [f"{local} local"] * bool(local)
    if loose := len(instances) - pinned - local:
        places.append(f"{loose} not pinned")
    told = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    return f"{len(instances)} instances of {len({one.task for one in instances})} tasks: {told}; {', '.join(places)}."


def _facts(one: "Instance") -> dict[str, Any]:
    return {**vars(one), "source": str(one.source)}


def _told(problems: Sequence["Problem"]) -> list[str]:
    return [
        f"{what}: {number} ({names})" for what, number, names in _grouped([(one.source, one.what) for one in problems])
    ]


def _grouped(lines: Sequence[tuple[str, str]]) -> list[list[str]]:
    """What is wrong, in how many instances, and the first of them."""
    groups: dict[str, list[str]] = {}
    for name, what in lines:
        groups.setdefault(what, []).append(name)
    return [
        [what, str(len(names)), ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")]
        for what, names in sorted(groups.items(), key=lambda group: -len(group[1]))
    ]


def _looked_at(checked: Sequence["Checked"]) -> str:
    items = sum(one.items or 0 for one in checked)
    seconds = sum(one.seconds for one in checked)
    return f"{items:,} items with {seconds / 3600:.2f} hours of sound were looked at"


for verb in (run, join, score, compare, report):
    dynamic_superb.command()(verb)
