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

    Shows what alignment does. Needs no network: models and audio are in the package. Some 80 seconds on two idle cores.

    \b
    Examples:
      crossfade quickstart
      crossfade quickstart -o demo --overwrite
    """
    from crossfade.cli.output import show_table
    from crossfade.cli.progress import progress
    from crossfade.quickstart.story import run
    from crossfade.report.page import main_table

    made = run(output, seed=seed, overwrite=overwrite, progress=progress(quiet))
    facts = made.to_dict()
    change = max(made.largest_change.values())
    show_table(
        "Accuracy of a linear head on frozen features, % (± half the 95 % interval)",
        main_table(facts["rows"]),
        f"Aligning changed no output of the music encoder by more than {change:.0e}.\n"
        f"Encoders, figures and report.html are in {output} ({sum(made.seconds.values()):.0f} s).",
        facts,
        quiet=quiet,
        as_json=as_json,
    )
