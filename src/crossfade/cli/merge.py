"""crossfade merge"""

from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Context, Option

from crossfade.cli.options import (
    MODEL,
    POINTS,
    Audio,
    Clips,
    Device,
    Json,
    Output,
    Overwrite,
    Quiet,
    Seconds,
    Seed,
    Set,
    names,
    settings,
    size,
    typed,
)
from crossfade.errors import InputError

First = Annotated[
    str,
    Argument(metavar="REFERENCE|RECIPE.yaml", help=f"The encoder that sets the basis, or a recipe on its own. {MODEL}"),
]
Second = Annotated[str | None, Argument(metavar="OTHER", help="The encoder that is merged into it.")]
Weight = Annotated[float, Option(metavar="W", help="REFERENCE's share, 0 to 1.")]
Method = Annotated[
    str,
    Option(
        metavar="NAME",
        help="linear, slerp, task-arithmetic, ties, dare, regression, or a method of yours as FILE.py:NAME.",
    ),
]
Align = Annotated[
    Literal["none", "weights", "correlation"] | None,
    Option(
        help="How OTHER is aligned first.  [default: correlation; none where --alignment or --base is given]",
        show_default=False,
    ),
]
ReferenceAudio = Annotated[
    list[str] | None, Option("--reference-audio", metavar="DIR...", help="What REFERENCE is for; regression fits it.")
]
OtherAudio = Annotated[
    list[str] | None, Option("--other-audio", metavar="DIR...", help="What OTHER is for; regression fits it.")
]
Alignment = Annotated[Path | None, Option(metavar="DIR", help="Use what `crossfade align` wrote there.")]
Base = Annotated[str | None, Option(metavar="MODEL", help="The common ancestor, for task-arithmetic, ties and dare.")]
Dtype = Annotated[
    Literal["float32", "float16", "bfloat16"] | None,
    Option(help="How weights are stored.  [default: as in REFERENCE]", show_default=False),
]
Repair = Annotated[
    bool, Option("--repair", help="Mend the merged channels' statistics; needs --reference-audio and --other-audio.")
]
MergePoints = Annotated[
    str | None,
    Option(
        "--points",
        metavar="NAME,NAME",
        help=f"What is permuted: conv, feed_forward, attention, residual.  [default: {POINTS}]",
        show_default=False,
    ),
]
ShardSize = Annotated[str, Option(metavar="SIZE", help="Larger outputs are split into files of this size.")]


def merge(
    context: Context,
    first: First,
    other: Second = None,
    *,
    output: Output,
    weight: Weight = 0.9,
    method: Method = "linear",
    align: Align = None,
    points: MergePoints = None,
    audio: Audio = None,
    reference_audio: ReferenceAudio = None,
    other_audio: OtherAudio = None,
    alignment: Alignment = None,
    base: Base = None,
    dtype: Dtype = None,
    repair: Repair = False,
    parameters: Set = None,
    clips: Clips = None,
    seconds: Seconds = 5.0,
    seed: Seed = 0,
    device: Device = "auto",
    max_shard_size: ShardSize = "5GB",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Merge two encoders into one, an ordinary Hugging Face folder.

    With a recipe, what is given on the command line wins over what the recipe says.

    \b
    Examples:
      crossfade merge ./speech ./music --audio clips -o unified
      crossfade merge ./speech ./music --method regression --audio clips -o u
      crossfade merge ./a ./b --method ties --base ./base --set density=0.2 -o u
      crossfade merge recipe.yaml -o unified
    """
    options: dict[str, Any] = {
        "weight": weight,
        "method": method,
        "align": align,
        "points": names(points) if points is not None else None,
        "audio": audio,
        "reference_audio": reference_audio,
        "other_audio": other_audio,
        "alignment": alignment,
        "base": base,
        "dtype": dtype,
        "repair": repair,
        "parameters": settings(parameters or ()),
        "clips": clips,
        "seconds": seconds,
        "seed": seed,
        "device": device,
        "max_shard_size": size("--max-shard-size", max_shard_size),
        "overwrite": overwrite,
    }
    if other is None:
        options = _recipe(first) | typed(context, options)
    else:
        options |= {"reference": first, "other": other}

    from crossfade.cli.output import show
    from crossfade.cli.progress import progress
    from crossfade.memory import keep_freed_memory
    from crossfade.merging import merge as combine

    keep_freed_memory()
    made = combine(output=output, **options, progress=progress(quiet))
    told = {
        "path": made.path,
        "method": made.recipe["method"],
        "weight": made.recipe["weight"],
        "parameters": made.parameters,
        "seconds": made.seconds,
        "notes": made.notes,
        "alignment": made.alignment.by_point() if made.alignment else "none",
    }
    show(made, told, quiet=quiet, as_json=as_json)


def _recipe(name: str) -> dict[str, Any]:
    """What the recipe says, as arguments of `crossfade.merge`."""
    if not name.endswith((".yaml", ".yml")):
        raise InputError(f"merge expects REFERENCE and OTHER, or a recipe that ends in .yaml; received only '{name}'")
    from crossfade.merging.recipe import read_recipe

    return read_recipe(Path(name))
