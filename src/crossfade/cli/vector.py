"""crossfade vector extract, combine; sweep and search are next door"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Argument, Option

from crossfade.cli.options import MODEL, Json, Output, Overwrite, Quiet, Seed, Set, Total, Trust, VectorMethod, settings
from crossfade.cli.vector_search import search
from crossfade.cli.vector_sweep import sweep
from crossfade.errors import InputError

vector = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Add, weigh and take away what training taught students of one base.",
)

Student = Annotated[str, Argument(metavar="STUDENT", help=f"An encoder trained from the base. {MODEL}")]
Base = Annotated[str, Option("--base", metavar="BASE", help="The encoder that its training started from.")]
Words = Annotated[
    list[str],
    Argument(
        metavar="[BASE] VECTOR=WEIGHT...",
        help="Folders of vectors and what each counts for, below 0 to take it away; before them the base, unless it is "
        "where the vectors' cards say.",
    ),
]
Dtype = Annotated[
    Literal["float32", "float16", "bfloat16"] | None,
    Option(help="How weights are stored.  [default: the widest of what counts]", show_default=False),
]

NUMBER = r"[-+]?((\d+\.?\d*|\.\d+)(e[-+]?\d+)?|nan|inf|infinity)"
WEIGHTED = re.compile(rf"(?P<vector>.+)=(?P<weight>{NUMBER})", re.IGNORECASE)


@vector.command()
def extract(
    student: Student,
    base: Base,
    output: Output,
    trust_base: Trust = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a student minus its base: a task vector.

    Refuses a base whose hash is not the one that the student's crossfade.json tells.

    \b
    Examples:
      crossfade vector extract ./speech --base ./base -o speech-vector
      crossfade vector extract org/tuned --base org/base --trust-base -o tuned
    """
    from crossfade.cli.output import show
    from crossfade.cli.progress import progress
    from crossfade.vectors import extract as take

    made = take(student, base, output, trust_base=trust_base, overwrite=overwrite, progress=progress(quiet))
    told = {"path": made.path, "base": made.base["name"], "size, of the base's": made.sizes}
    show(made, told, quiet=quiet, as_json=as_json)


@vector.command()
def combine(
    words: Words,
    output: Output,
    method: VectorMethod = "task-arithmetic",
    parameters: Set = None,
    total: Total = None,
    dtype: Dtype = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Put task vectors on their base: an encoder, an ordinary Hugging Face folder.

    A single vector at 1 gives its student back to the bit, 0 the base.

    \b
    Examples:
      crossfade vector combine ./base speech-vector=0.7 music-vector=0.3 -o both
      crossfade vector combine speech-vector=1 music-vector=-0.3 -o unmusical
      crossfade vector combine speech-vector=0.9 music-vector=0.1 \\
          --method ties-secondary --set density=0.3 --sum 1 -o trimmed
    """
    base, weights = weighted(words)
    from crossfade.cli.output import show
    from crossfade.cli.progress import progress
    from crossfade.vectors import combine as put

    made = put(
        weights,
        output,
        base=base,
        method=method,
        parameters=settings(parameters or ()),
        total=total,
        dtype=dtype,
        seed=seed,
        overwrite=overwrite,
        progress=progress(quiet),
    )
    told: dict[str, Any] = {
        "path": made.path,
        "method": made.recipe["method"],
        "exactly": made.exact,
        "parameters": made.parameters,
        "seconds": made.seconds,
        "vectors": made.recipe["vectors"],
    }
    show(made, told, quiet=quiet, as_json=as_json)


def weighted(words: list[str]) -> tuple[str | None, list[tuple[str | Path, float]]]:
    """The base, if the first word is one, and every VECTOR=WEIGHT."""
    found = [WEIGHTED.fullmatch(word) for word in words]
    base = None if found[0] else words[0]
    rest = list(zip(words, found, strict=True))[0 if found[0] else 1 :]
    weights: list[tuple[str | Path, float]] = []
    for word, match in rest:
        if match is None:
            raise InputError(f"'{word}': expected VECTOR=WEIGHT, as in speech-vector=0.7")
        weights.append((match["vector"], float(match["weight"])))
    if not weights:
        raise InputError(f"'{words[0]}': expected vectors after the base, as in speech-vector=0.7")
    return base, weights


vector.command()(sweep)
vector.command()(search)
