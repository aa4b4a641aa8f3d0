"""crossfade quickstart"""

from pathlib import Path

from crossfade.cli.options import Json, Output, Overwrite, Quiet, Seed


def quickstart(
    output: Output = Path("crossfade-quickstart"),
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Merge the two small encoders in the package and measure them.

    Shows what alignment does. Needs no network: models and audio are in the package. About a minute on two cores.

    \b
    Examples:
      crossfade quickstart
      crossfade quickstart -o demo --overwrite
    """
    from crossfade.cli.output import show_tables
    from crossfade.cli.progress import progress
    from crossfade.quickstart import run
    from crossfade.report.page import exactness_table, main_table, task_table

    made = run(output, seed=seed, overwrite=overwrite, progress=progress(quiet))
    facts = made.to_dict()
    tables = {
        "Accuracy of a linear head on frozen features, % (± half the 95 % interval)": main_table(facts["rows"]),
        "Task by task": task_table(facts["rows"], facts["tasks"]),
        "Exactness": exactness_table(facts["largest_change"]),
    }
    last = f"Encoders, figures and report.html are in {output} ({sum(facts['seconds'].values()):.0f} s)."
    show_tables(facts, tables, last, quiet=quiet, as_json=as_json)
