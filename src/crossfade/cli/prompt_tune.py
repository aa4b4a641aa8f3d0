"""crossfade prompt-tune"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Argument, Option

from crossfade.cli.options import Device, Json, Output, Overwrite, Precision, Quiet, Seed

if TYPE_CHECKING:
    from crossfade.probing.results import Result

prompt_tune = typer.Typer(
    name="prompt-tune",
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Speech recognition on an encoder that stays as it is: soft prompts, and what they are measured against.",
)

Recipe = Annotated[Path, Argument(metavar="RECIPE.yaml", help="Model, data, text, method, noise, training.")]
Tuned = Annotated[Path, Argument(metavar="TUNED", help="A folder that `train` wrote.")]
Several = Annotated[list[Path], Argument(metavar="TUNED", help="Folders that `train` wrote, of one seed each.")]
Results = Annotated[
    Path, Option("--output", "-o", metavar="FILE", help="The results file; a run that was killed goes on from it.")
]
RecipeSeed = Annotated[
    int | None, Option("--seed", min=0, metavar="N", help="In place of the recipe's.", show_default=False)
]
Method = Annotated[
    Literal["head", "prompts", "deep", "lora", "full"] | None,
    Option(help="In place of the recipe's.", show_default=False),
]
Modes = Annotated[
    list[str] | None,
    Option(
        "--mode",
        metavar="NAME...",
        help="What is heard for prompts: keep, remove, random, shuffled; swapped, interpolated (--with); nearest, "
        "weighted, averaged (--bank).  [default: keep]",
        show_default=False,
    ),
]
Noise = Annotated[
    list[str] | None,
    Option("--noise", metavar="white|pink|DIR...", help="Test clips are heard over these too: colours, recordings."),
]
Snr = Annotated[
    list[float] | None,
    Option("--snr", metavar="DB...", help="At these levels, clip over noise.  [default: 10]", show_default=False),
]
Data = Annotated[Path | None, Option("--data", metavar="DIR", help="Another labelled folder than that of the recipe.")]
Model = Annotated[
    str | None, Option(metavar="MODEL", help="Where the encoder is now.  [default: where it was]", show_default=False)
]
Defence = Annotated[
    Literal["refuse", "bound", "off"],
    Option(help="What becomes of prompts that are not what was recorded: refused, cut to recorded lengths, or heard."),
]


@prompt_tune.command()
def train(
    recipe: Recipe,
    output: Output,
    method: Method = None,
    seed: RecipeSeed = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Tune by one method: the head alone, prompts, deep prompts, LoRA, or everything.

    A training that was interrupted goes on where it was when the same command is given again; its checkpoints are
    beside the output, in .NAME.work.

    \b
    Examples:
      crossfade prompt-tune train recipe.yaml -o tuned
      crossfade prompt-tune train recipe.yaml --method lora --seed 1 -o lora-1
    """
    from crossfade.cli.output import left_out, show
    from crossfade.cli.progress import progress
    from crossfade.prompts.run import train as tune

    made = tune(recipe, output, seed=seed, method=method, device=device, overwrite=overwrite, progress=progress(quiet))
    told = made.to_dict() | {
        "bytes": f"{made.bytes:,}",
        "valid": f"{made.valid:.1f} %",
        "skipped": left_out(list(made.skipped.items())),
        "unknown": ", ".join(f"'{sign}' {count}" for sign, count in made.unknown.items()),
    }
    show(made, told, quiet=quiet, as_json=as_json)


@prompt_tune.command()
def evaluate(
    tuned: Several,
    output: Results,
    mode: Modes = None,
    noise: Noise = None,
    snr: Snr = None,
    clean: Annotated[bool, Option(help="Test on clean clips too.")] = True,
    data: Data = None,
    other: Annotated[
        Path | None, Option("--with", metavar="TUNED", help="Whose prompts are swapped in, or interpolated with.")
    ] = None,
    share: Annotated[float, Option(min=0, max=1, metavar="X", help="Of the other prompts, interpolated.")] = 0.5,
    bank: Annotated[Path | None, Option(metavar="BANK", help="Prompts of known noises, which `bank` wrote.")] = None,
    temperature: Annotated[float, Option(metavar="X", help="How evenly a bank is weighted.")] = 1.0,
    model: Model = None,
    defence: Defence = "refuse",
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "float32",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure error rates on test clips, with 95 % intervals.

    The output is a results file: `crossfade compare` tests any two of its rows, `crossfade report` shows them.

    \b
    Examples:
      crossfade prompt-tune evaluate tuned --mode keep --mode remove --noise white babble/ --snr 0 10 20 -o results.json
      crossfade prompt-tune evaluate tuned --bank bank --mode nearest --noise street/ --no-clean -o unseen.json
    """
    from crossfade.cli.output import left_out, show_table
    from crossfade.cli.progress import progress
    from crossfade.prompts.scoring import evaluate as examine

    found = examine(
        tuned,
        output,
        modes=mode or ["keep"],
        noise=noise or (),
        snr=snr or (10.0,),
        clean=clean,
        data=data,
        other=other,
        share=share,
        bank=bank,
        temperature=temperature,
        model=model,
        defence=defence,
        seed=seed,
        device=device,
        precision=precision,
        overwrite=overwrite,
        progress=progress(quiet),
    )
    table = ("encoder", "task", "method", "mode", "condition", "metric", "%", "95 %", "seeds")
    rows = [_row(result) for result in found.results]
    unheard = left_out(list(dict.fromkeys(skip for result in found.results for skip in result.skipped)))
    last = [*_unknown(found.tuned), *([f"Left out: {unheard}."] if unheard else []), f"Written to {found.path}."]
    show_table("Error rates", (table, rows), "\n".join(last), found.to_dict(), quiet=quiet, as_json=as_json)


def _row(result: "Result") -> list[str]:
    told = result.protocol.model_extra or {}
    return [
        result.model.name,
        result.task.name,
        told["method"],
        told.get("mode", "–"),
        result.protocol.condition,
        result.metric,
        f"{result.value:.1f}",
        f"[{result.interval[0]:.1f}, {result.interval[1]:.1f}]",
        str(len(result.seeds)),
    ]


def _unknown(tuned: Any) -> list[str]:
    """What is no error, but should be known: tokens that no head could write."""
    unknown = {sign: count for one in tuned for sign, count in one["unknown"].items()}
    signs = ", ".join(f"'{sign}' {count}" for sign, count in unknown.items())
    return [f"In no training transcript, so always wrong: {signs}."] if unknown else []


@prompt_tune.command()
def bank(
    prompts: Annotated[list[Path], Argument(metavar="TUNED", help="Prompts tuned under noise, of one encoder.")],
    output: Output,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Put prompts of known noises together, to be combined for a noise that nobody tuned for.

    \b
    Examples:
      crossfade prompt-tune bank white pink babble -o bank
    """
    from crossfade.cli.output import show
    from crossfade.prompts.folders import make_bank

    show(make_bank(prompts, output, overwrite=overwrite), quiet=quiet, as_json=as_json)


@prompt_tune.command()
def inspect(
    tuned: Tuned,
    output: Annotated[Path, Option("--output", "-o", metavar="FILE", help="Where the numbers go, as JSON.")],
    figure: Annotated[Path | None, Option(metavar="FILE", help="Draw them too, as PNG, SVG or PDF.")] = None,
    data: Data = None,
    clips: Annotated[int, Option(min=1, metavar="N", help="How many test clips to hear.")] = 32,
    trusted: Annotated[
        Path | None, Option(metavar="TUNED", help="The same folder from where nobody could change it.")
    ] = None,
    model: Model = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Look into prompts: attention that they draw, representations that they move, norms, and drift from the record.

    \b
    Examples:
      crossfade prompt-tune inspect tuned -o inspected.json --figure inspected.png
    """
    from crossfade.cli.output import show
    from crossfade.prompts.folders import inspect as look
    from crossfade.report.figures import draw_prompts, require_format

    if figure is not None:
        require_format(figure)
    found = look(
        tuned, output, data=data, clips=clips, trusted=trusted, model=model, device=device, overwrite=overwrite
    )
    if figure is not None:
        draw_prompts(figure, found.found)
    told = {key: value for key, value in found.to_dict().items() if key != "heads"}
    show(found, told, quiet=quiet, as_json=as_json)


@prompt_tune.command()
def attack(
    tuned: Tuned,
    output: Output,
    epsilon: Annotated[
        float, Option(min=0, metavar="X", help="How far prompts may move, relative to their norm.")
    ] = 0.5,
    steps: Annotated[int, Option(min=1, metavar="N", help="Steps along the gradient.")] = 50,
    hidden: Annotated[bool, Option("--hidden", help="No vector grows longer than the longest recorded.")] = False,
    data: Data = None,
    model: Model = None,
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Change prompts so that recognition fails, to measure what that does and what a check at load sees of it.

    What is written is refused by every other verb, unless --defence says otherwise.

    \b
    Examples:
      crossfade prompt-tune attack tuned --epsilon 0.5 -o attacked
      crossfade prompt-tune evaluate attacked --defence bound -o bounded.json
    """
    from crossfade.cli.output import show
    from crossfade.cli.progress import progress
    from crossfade.prompts.folders import attack as change

    made = change(
        tuned,
        output,
        data=data,
        epsilon=epsilon,
        steps=steps,
        hidden=hidden,
        seed=seed,
        model=model,
        device=device,
        overwrite=overwrite,
        progress=progress(quiet),
    )
    show(made, quiet=quiet, as_json=as_json)
