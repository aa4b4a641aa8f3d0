"""crossfade vector search"""

from typing import Annotated, Literal

from typer import Argument, Option

from crossfade.cli.compare import require_score
from crossfade.cli.options import (
    MODEL,
    Device,
    Json,
    Output,
    Overwrite,
    Partial,
    Quiet,
    ScoreName,
    Seed,
    Set,
    Total,
    Trust,
    VectorMethod,
    settings,
)
from crossfade.cli.probe import Data, Head, Tasks, places, require_tasks

Base = Annotated[str, Argument(metavar="BASE", help=f"The encoder that they stand on. {MODEL}")]
Given = Annotated[list[str], Argument(metavar="VECTOR...", help="Vectors on the base, or students of it.")]
Per = Annotated[
    Literal["global", "part", "layer"],
    Option(help="One weight for each vector, or for each of its parts (CNN, attention, feed-forward, rest) or layers."),
]
Budget = Annotated[int, Option(min=1, metavar="N", help="The most mixtures that are evaluated.")]
Low = Annotated[float, Option("--low", metavar="W", help="Least weight; below 0 vectors may be taken away.")]
High = Annotated[float, Option("--high", metavar="W", help="Largest weight.")]
Start = Annotated[
    str | None,
    Option(metavar="W,W...", help="A weight for each vector to begin with.  [default: equal]", show_default=False),
]
Of = Annotated[str, Option("--of", metavar="average|DOMAIN", help="Which score is to be large.")]


def search(
    base: Base,
    vectors: Given,
    output: Output,
    tasks: Tasks = None,
    per: Per = "global",
    budget: Budget = 30,
    low: Low = 0.0,
    high: High = 1.0,
    start: Start = None,
    total: Total = None,
    method: VectorMethod = "task-arithmetic",
    parameters: Set = None,
    score: ScoreName = None,
    partial: Partial = False,
    of: Of = "average",
    data: Data = None,
    head: Head = None,
    seed: Seed = 0,
    device: Device = "auto",
    trust_base: Trust = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Look for the weights that validation data likes best; test data decides nothing.

    Writes the winner, every evaluation, and the winner's test results. A search that was killed goes on where it was.

    \b
    Examples:
      crossfade vector search ./base ./speech ./music --task embedded -o found
      crossfade vector search ./base ./speech ./music --task embedded \\
          --per part --sum 1 --budget 40 -o by-part
      crossfade vector search ./base ./speech ./music --task embedded \\
          --of speech --low -0.5 -o without-music
    """
    require_score(score, partial)
    chosen = require_tasks(tasks)
    from crossfade.cli.output import show
    from crossfade.cli.progress import progress
    from crossfade.probing.scores import load_preset
    from crossfade.vectors import search as look
    from crossfade.vectors.grid import read_points

    made = look(
        base,
        vectors,
        output,
        tasks=chosen,
        per=per,
        budget=budget,
        bounds=(low, high),
        start=read_points([start], len(vectors), total, "start")[0] if start else (),
        total=total,
        method=method,
        parameters=settings(parameters or ()),
        score=load_preset(score) if score else None,
        partial=partial,
        of=of,
        data=places(data),
        head=head,
        seed=seed,
        device=device,
        trust_base=trust_base,
        overwrite=overwrite,
        progress=progress(quiet),
    )
    told = {
        "path": made.path,
        "evaluations": len(made.trace),
        "score": made.recipe["score"],
        "at the start": made.trace[0].score,
        "winner": made.winner.score,
        "weights": [f"{name}: {weights}" for name, weights in made.winner.weights.items()],
        "on test data": [
            f"{result.model.name} {result.task.name}: {result.value:.1f} ({result.metric})" for result in made.results
        ],
    }
    show(made, told, quiet=quiet, as_json=as_json)
