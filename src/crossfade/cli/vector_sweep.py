"""crossfade vector sweep"""

from collections.abc import Sequence
from typing import Annotated, Literal

from typer import Argument, Option

from crossfade.cli.compare import require_score
from crossfade.cli.options import (
    MODEL,
    Clips,
    Device,
    Json,
    Output,
    Overwrite,
    Partial,
    Quiet,
    ScoreName,
    Seconds,
    Seed,
    Total,
    Trust,
    names,
    settings,
)
from crossfade.cli.probe import Data, Head, Layers, Protocol, Seeds, Tasks, places, require_tasks, which
from crossfade.errors import InputError

Under = Annotated[
    str,
    Argument(metavar="BASE", help=f"The encoder that they stand on, or 'none' where students are only merged. {MODEL}"),
]
Given = Annotated[list[str], Argument(metavar="VECTOR...", help="Vectors on the base, or students of it.")]
Methods = Annotated[
    str,
    Option(
        metavar="NAME,NAME",
        help="How to mix: task-arithmetic, ties, ties-secondary, dare; of two students also linear, slerp, aligned, "
        "aligned-residual, regression.",
    ),
]
Grid = Annotated[
    Literal["simplex", "scale"],
    Option(help="Weights that add up to 1, or one weight for all vectors, 0 to 1."),
]
Step = Annotated[float, Option(metavar="S", help="From one weight to the next.")]
At = Annotated[
    list[str] | None,
    Option("--at", metavar="W,W...", help="These weights instead of a grid.  [default: none]", show_default=False),
]
SetOf = Annotated[
    list[str] | None,
    Option("--set", metavar="METHOD.KEY=VALUE...", help="Settings of a method, as ties.density=0.3."),
]
SweepAudio = Annotated[
    list[str] | None,
    Option("--audio", metavar="DIR DIR", help="What each of two students is for; aligned methods hear it."),
]
Also = Annotated[list[str] | None, Option("--also", metavar="MODEL...", help="Measure these as they are.")]
WithPair = Annotated[bool, Option("--pair", help="Measure two students side by side too, as one wide encoder.")]
Beside = Annotated[
    list[str] | None,
    Option("--beside", metavar="SWEEP...", help="Show the points of other sweeps of these tasks too."),
]
Keep = Annotated[bool, Option("--keep", help="Keep every mixture as a folder, in points/.")]


def sweep(
    base: Under,
    vectors: Given,
    output: Output,
    tasks: Tasks = None,
    methods: Methods = "task-arithmetic",
    grid: Grid = "simplex",
    step: Step = 0.1,
    at: At = None,
    total: Total = None,
    parameters: SetOf = None,
    audio: SweepAudio = None,
    clips: Clips = None,
    seconds: Seconds = 5.0,
    also: Also = None,
    with_pair: WithPair = False,
    beside: Beside = None,
    score: ScoreName = None,
    partial: Partial = False,
    data: Data = None,
    protocol: Protocol = "sweep",
    head: Head = None,
    layers: Layers = None,
    seeds: Seeds = 1,
    seed: Seed = 0,
    device: Device = "auto",
    keep: Keep = False,
    trust_base: Trust = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure mixtures at every weight: one results file, one table, one figure.

    Clips are decoded once for all points. A sweep that was killed goes on where it was.

    \b
    Examples:
      crossfade vector sweep ./base ./speech ./music --task embedded -o sweep
      crossfade vector sweep ./base ./speech ./music --task embedded \\
          --methods task-arithmetic,ties,aligned,regression --step 0.25 \\
          --audio clips/speech clips/music --also ./two-teacher --pair -o stage
      crossfade vector sweep none ./a ./b --methods aligned --task embedded \\
          --audio clips/speech clips/music --beside stage -o both
      crossfade vector sweep ./base ./speech ./music --at 1,-0.2 1,-0.5 \\
          --task embedded -o without-music
    """
    require_score(score, partial)
    chosen = require_tasks(tasks)
    from crossfade.cli.output import show_table
    from crossfade.cli.progress import progress
    from crossfade.probing.scores import load_preset
    from crossfade.report.sweeps import legend, sweep_table
    from crossfade.vectors import sweep as measure

    made = measure(
        None if base == "none" else base,
        vectors,
        output,
        tasks=chosen,
        methods=names(methods),
        grid=grid,
        step=step,
        at=at or (),
        total=total,
        parameters=by_method(parameters or ()),
        audio=audio or (),
        clips=clips,
        seconds=seconds,
        also=also or (),
        with_pair=with_pair,
        beside=beside or (),
        score=load_preset(score) if score else None,
        partial=partial,
        data=places(data),
        protocol=protocol,
        head=head,
        layers=which(layers),
        seeds=seeds,
        seed=seed,
        device=device,
        keep=keep,
        trust_base=trust_base,
        overwrite=overwrite,
        progress=progress(quiet),
    )
    facts = made.to_dict()
    last = f"{legend(facts)}\nWritten to {output}."
    show_table("Sweep", sweep_table(facts), last, facts, quiet=quiet, as_json=as_json)


def by_method(pairs: Sequence[str]) -> dict[str, dict[str, object]]:
    """METHOD.KEY=VALUE pairs as settings of each method."""
    found: dict[str, dict[str, object]] = {}
    for pair in pairs:
        method, dot, rest = pair.partition(".")
        if not dot or "=" in method:
            raise InputError(f"--set expects METHOD.KEY=VALUE, as in ties.density=0.3; received '{pair}'")
        found.setdefault(method, {}).update(settings([rest]))
    return found
