"""crossfade distill"""

import os
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from crossfade.cli.options import Device, Json, Output, Overwrite, Quiet

Recipe = Annotated[Path, Argument(metavar="RECIPE.yaml", help="Student, teachers, data, objective, noise, training.")]
Seed = Annotated[
    int | None,
    Option(
        min=0,
        metavar="N",
        help="Fixes everything that is drawn at random.  [default: the recipe's]",
        show_default=False,
    ),
]
Cache = Annotated[
    Path | None,
    Option(
        metavar="DIR",
        help="Where stored signals are kept.  [default: ~/.cache/crossfade/features]",
        show_default=False,
    ),
]


def distill(
    recipe: Recipe,
    *,
    output: Output,
    seed: Seed = None,
    device: Device = "auto",
    cache: Cache = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train one small encoder to say what its teachers say.

    A training that was interrupted goes on where it was when the same command is given again; its checkpoints are
    beside the output, in .NAME.work.

    \b
    Examples:
      crossfade distill recipe.yaml -o student
      accelerate launch --num_processes 2 -m crossfade distill recipe.yaml -o student
    """
    from crossfade.cli.output import show
    from crossfade.cli.progress import progress
    from crossfade.distillation.run import distill as teach

    first = os.environ.get("RANK", "0") == "0"  # of several processes one speaks
    quiet, as_json = quiet or not first, as_json and first
    made = teach(recipe, output, seed=seed, device=device, cache=cache, overwrite=overwrite, progress=progress(quiet))
    told = made.to_dict() | {"skipped": len(made.skipped), "looks": list(made.looks)}
    show(made, told, quiet=quiet, as_json=as_json)
