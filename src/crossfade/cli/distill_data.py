"""crossfade distill-data fit, sample, train, evaluate"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Argument, Option

from crossfade.cli.options import MODEL, CacheFolder, Device, Json, Output, Overwrite, Quiet, Seed, Set, names, settings
from crossfade.errors import InputError

if TYPE_CHECKING:
    from crossfade.condensing.artefact import Distilled
    from crossfade.condensing.evaluating import Evaluation, Standing

distill_data = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Put a small generator of features in the place of a labelled data set.",
)

Model = Annotated[str, Argument(metavar="MODEL", help=f"The encoder whose features are made. {MODEL}")]
Task = Annotated[
    str, Argument(metavar="DATA", help="A labelled folder, or a task by its name, with one class for each clip.")
]
Generator = Annotated[Path, Argument(metavar="GENERATOR", help="A folder that `fit` wrote.")]
Data = Annotated[
    str | None, Option("--data", metavar="DIR", help="Where the data of a named task is, if not its own place.")
]
Layer = Annotated[str, Option(metavar="mean|N", help="The mean of all layers, or one by its number.")]
FoldNumber = Annotated[int, Option("--fold", min=0, metavar="N", help="The fold whose test clips are left out.")]
Licence = Annotated[
    str | None,
    Option(metavar="TEXT", help="Of the data.  [default: what its manifest says]", show_default=False),
]
File = Annotated[Path, Option("--output", "-o", metavar="FILE", help="Where the points go.")]
Results = Annotated[
    Path, Option("--output", "-o", metavar="FILE", help="The results file; a run that was killed goes on from it.")
]
PerClass = Annotated[int, Option(metavar="N", help="Points of each class.")]
Prior = Annotated[
    Literal["balanced", "original"],
    Option(help="Every class alike, or as many in all, divided as the real clips are."),
]

MEASURABLE = 10_000
"""Points from which on the time that they took says how many a second are made."""

TABLE = ("points", "per class", "prior", "bytes", "UAR", "against the full set", "groups %", "membership", "coverage")


@distill_data.command()
def fit(
    model: Model,
    task: Task,
    output: Output,
    data: Data = None,
    layer: Layer = "mean",
    fold: FoldNumber = 0,
    licence: Licence = None,
    parameters: Set = None,
    cache: CacheFolder = None,
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a generator of an encoder's features on labelled clips, and measure it on clips it never met.

    A training that was interrupted goes on where it was when the same command is given again.

    \b
    Examples:
      crossfade distill-data fit ./unified my/labelled/folder -o generator
      crossfade distill-data fit ./unified er --data iemocap --layer 6 --set distil_steps=2000 -o generator
    """
    where = which(layer)
    from crossfade.cli.output import show_table
    from crossfade.cli.progress import progress
    from crossfade.condensing import fit as train_generator

    made = train_generator(
        model,
        task,
        output,
        data=data,
        layer=where,
        fold=fold,
        seed=seed,
        settings=settings(parameters or (), "noise=48"),
        licence=licence,
        device=device,
        cache=cache,
        overwrite=overwrite,
        progress=progress(quiet),
    )
    show_table("Trained on", _worth(made), _told(made), dict(made.record) | {"path": str(output)}, quiet=quiet,
               as_json=as_json)  # fmt: skip


def which(layer: str) -> Literal["mean"] | int:
    """`--layer` as the library takes it."""
    if layer == "mean":
        return "mean"
    if not layer.isdecimal():
        raise InputError(f"--layer {layer}: expected mean or the number of a layer")
    return int(layer)


def _worth(made: "Distilled") -> tuple[list[str], list[list[str]]]:
    """What the points of a new generator taught, beside real clips."""
    rows = [
        [one["name"], f"{one['points']:,}", f"{one['uar']:.1f} [{one['interval'][0]:.1f}, {one['interval'][1]:.1f}]"]
        for one in made.record["measured"]
    ]
    return ["", "points", "UAR %"], rows


def _told(made: "Distilled") -> str:
    """In words: which generator was kept, what it weighs, and whether training went well."""
    training, data = made.record["training"], made.record["data"]
    start = "" if training["kept"] else ", the start: training made it no better on validation clips"
    said = (
        f"Kept: update {training['kept']:,} of {training['steps']:,}{start}. The generator takes {made.nbytes:,} "
        f"bytes, the features of its {data['train']:,} training clips {data['feature_bytes']:,}."
    )
    settings = made.record["settings"]
    most, ended = settings["gan_steps"] + settings["distil_steps"], ""
    if training["collapsed"]:
        ended = f"\nTraining collapsed and was ended: {training['collapsed']}."
    elif training["steps"] < most:
        ended = f"\nTraining ended at update {training['steps']:,} of at most {most:,}: no look was better for long "
        ended += f"(patience={settings['patience']})."
    return f"{said}{_left_out(data['skipped'])}{ended}\nWritten to {made.path}."


def _left_out(skipped: Sequence[Mapping[str, str]]) -> str:
    """The clips that could not be used, the first by name; the card has all."""
    from crossfade.cli.output import left_out

    if not skipped:
        return ""
    return f"\nClips that could not be used: {left_out([(one['clip'], one['reason']) for one in skipped])}."


@distill_data.command()
def sample(
    generator: Generator,
    output: File,
    per_class: PerClass = 50,
    prior: Prior = "balanced",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make any number of labelled points: a safetensors file with `features` and `classes`.

    \b
    Examples:
      crossfade distill-data sample generator --per-class 100 -o points.safetensors
      crossfade distill-data sample generator --per-class 10 --prior original --seed 1 -o few.safetensors
    """
    from crossfade.cli.output import show
    from crossfade.condensing import sample as make

    made = make(generator, output, per_class, prior=prior, seed=seed, overwrite=overwrite)
    told = made.to_dict()
    if made.points < MEASURABLE:
        del told["points_per_second"]
    show(made, told, quiet=quiet, as_json=as_json)


@distill_data.command()
def train(
    source: Annotated[Path, Argument(metavar="POINTS|GENERATOR", help="What `sample` or `fit` wrote.")],
    output: Output,
    per_class: Annotated[
        int | None, Option(metavar="N", help="Points of each class of a generator.  [default: 50]",
                           show_default=False),
    ] = None,
    prior: Annotated[
        Literal["balanced", "original"] | None,
        Option(help="How a generator divides them.  [default: balanced]", show_default=False),
    ] = None,
    damping: Annotated[
        float | None,
        Option(metavar="X", help="Weight of the squared weights.  [default: the generator's]",
               show_default=False),
    ] = None,
    seed: Annotated[
        int | None, Option(min=0, metavar="N", help="Which points a generator makes.  [default: 0]",
                           show_default=False),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Train a classifier on made points alone.

    \b
    Examples:
      crossfade distill-data train points.safetensors -o classifier
      crossfade distill-data train generator --per-class 100 -o classifier
    """
    from crossfade.cli.output import show
    from crossfade.condensing import train as learn

    made = learn(source, output, per_class=per_class, prior=prior, damping=damping, seed=seed, overwrite=overwrite)
    told: dict[str, Any] = {"path": made.path, "classes": ", ".join(made.classes), "points": made.about["points"],
                            "encoder": made.about["encoder"]["name"], "layer": made.about["layer"]}  # fmt: skip
    show(made, told, quiet=quiet, as_json=as_json)


@distill_data.command()
def evaluate(
    generator: Generator,
    task: Task,
    output: Results,
    data: Data = None,
    model: Annotated[
        str | None,
        Option(metavar="MODEL", help="Where the encoder is now.  [default: where it was]", show_default=False),
    ] = None,
    per_class: Annotated[str, Option(metavar="N,N", help="Budgets: points of each class.")] = "10,50,100",
    priors: Annotated[str, Option(metavar="NAME,NAME", help="balanced, original, or both.")] = "balanced,original",
    folds: Annotated[
        Literal["own", "all"], Option(help="The generator's own fold, or one fitted by its settings in every fold.")
    ] = "own",
    seeds: Annotated[int, Option(min=1, metavar="N", help="Generators to fit in each fold, with their draws.")] = 1,
    cache: CacheFolder = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Test what points teach, against real subsets, coresets, Gaussians, matched points and the full set.

    The output is a results file too: `crossfade compare` tests any two of its rows, `crossfade report` shows them.

    \b
    Examples:
      crossfade distill-data evaluate generator my/labelled/folder -o results.json
      crossfade distill-data evaluate generator my/labelled/folder --folds all --seeds 3 -o results.json
    """
    asked = numbers("--per-class", per_class)
    if not names(priors) or {*names(priors)} - {"balanced", "original"}:
        raise InputError(f"--priors {priors}: expected balanced, original or both")
    from crossfade.cli.output import show_table
    from crossfade.cli.progress import progress
    from crossfade.condensing import evaluate as test

    kinds: list[Any] = list(names(priors))
    made = test(
        generator,
        task,
        output,
        data=data,
        model=model,
        per_class=asked,
        priors=kinds,
        folds=folds,
        seeds=seeds,
        device=device,
        cache=cache,
        overwrite=overwrite,
        progress=progress(quiet),
    )
    rows = [_row(row) for row in made.rows]
    show_table("Trained on", (["", *TABLE], rows), _meaning(made), made.to_dict(), quiet=quiet, as_json=as_json)


def numbers(flag: str, text: str) -> tuple[int, ...]:
    """The whole numbers of `10,50,100`."""
    parts = names(text)
    if not parts or not all(part.isdecimal() and int(part) for part in parts):
        raise InputError(f"{flag} {text}: expected whole numbers of 1 or more, as in 10,50,100")
    return tuple(map(int, parts))


def _row(row: "Standing") -> list[str]:
    """A standing as the table has it; ± is half an interval."""
    beside = "–" if row.difference is None else f"{row.difference:+.1f} {_within(row.difference_interval)}"
    groups, membership = row.leakage.get("groups"), row.leakage.get("membership")
    covered = row.coverage.get("coverage")
    return [
        row.method,
        f"{row.points:,.0f}",
        "–" if row.per_class is None else str(row.per_class),
        "–" if row.per_class is None else row.prior,
        f"{row.bytes:,.0f}",
        f"{row.uar:.1f} {_within(row.interval)}",
        beside,
        f"{groups.value:.1f}" if groups else "–",
        f"{membership.value:.3f}" if membership else "–",
        f"{covered.value:.2f}" if covered else "–",
    ]


def _within(interval: tuple[float, float] | None) -> str:
    return f"[{interval[0]:.1f}, {interval[1]:.1f}]" if interval else ""


def _meaning(made: "Evaluation") -> str:
    """What the columns are, what training costs, and which fits did not go well."""
    full = made.training[-1]
    costs = ", ".join(f"{one.points:,} points {one.seconds:.2f} s" for one in made.training[:-1])
    collapsed = [f"fold {fit['fold']}, seed {fit['seed']}: {fit['collapsed']}" for fit in made.fits if fit["collapsed"]]
    ended = f"\nTraining collapsed and was ended early: {'; '.join(collapsed)}." if collapsed else ""
    return (
        f"UAR: recall in percent, mean over classes, on {made.about['clips']:,} clips; brackets are 95 % intervals. "
        "groups: share of training clips whose speaker (group) the points betray; membership: 0.5 tells nothing.\n"
        f"A probe's head, as many epochs: {costs}, the full set of {full.points:,} {full.seconds:.2f} s.{ended}\n"
        f"Written to {made.path}."
    )
