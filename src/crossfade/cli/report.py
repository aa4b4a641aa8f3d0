"""crossfade report"""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from crossfade.cli.compare import require_score
from crossfade.cli.options import Json, Overwrite, Partial, Quiet, ScoreName

Sources = Annotated[
    list[Path], Argument(metavar="DIR|RESULTS.json", help="Results files, or folders that hold some at any depth.")
]
File = Annotated[
    Path, Option("--output", "-o", metavar="FILE", help="The leaderboard, .html or .md; appears whole or not at all.")
]


def report(
    sources: Sources,
    output: File,
    score: ScoreName = None,
    partial: Partial = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make a leaderboard of results: models by tasks, with intervals.

    A model is marked as the best on a task only where paired tests show it; every number names its file.

    \b
    Examples:
      crossfade report results -o leaderboard.html
      crossfade report a.json b.json -o leaderboard.md --score superb_chance
    """
    from crossfade.cli.output import show_table
    from crossfade.probing.results import require_free
    from crossfade.probing.scores import load_preset
    from crossfade.report.leaderboard import leaderboard
    from crossfade.report.leaderboard_page import TITLE, main_table, write_leaderboard

    require_score(score, partial)
    require_free(output, overwrite=overwrite)
    made = leaderboard(sources, score=load_preset(score) if score else None, partial=partial)
    write_leaderboard(output, made, overwrite=overwrite)
    facts = {"path": str(output), **made.to_dict()}
    closing = "\n".join([*made.notes, f"Written to {output}."])
    show_table(TITLE, main_table(made), closing, facts, quiet=quiet, as_json=as_json)
