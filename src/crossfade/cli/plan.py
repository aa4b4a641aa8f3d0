"""crossfade plan"""

import typer

from crossfade.cli.options import Json, Other, Quiet, Reference


def plan(reference: Reference, other: Other, quiet: Quiet = False, as_json: Json = False) -> None:
    """Say what a merge would do, or every reason why it can't.

    Reads configs and headers alone: no weights are downloaded. Exits with 2 when the answer is no.

    \b
    Examples:
      crossfade plan facebook/hubert-base-ls960 m-a-p/MERT-v0-public
      crossfade plan ./speech ./music --json
    """
    from crossfade.cli.output import show
    from crossfade.encoders.plan import plan as make_plan

    made = make_plan(reference, other)
    show(made, quiet=quiet, as_json=as_json)
    if not made.ok:
        raise typer.Exit(2)
