"""crossfade probe"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from typer import Argument, Context, Option

from crossfade.cli.options import MODEL, CacheFolder, Device, Json, Overwrite, Precision, Quiet, Seed, size, typed
from crossfade.errors import InputError

if TYPE_CHECKING:
    from crossfade.probing.results import Result

Models = Annotated[
    list[str],
    Argument(
        metavar="MODEL", help=f"Encoders to probe, A+B for two side by side, or the baselines fbank and logmel. {MODEL}"
    ),
]
Tasks = Annotated[
    list[str] | None,
    Option(
        "--task",
        metavar="NAME|DIR...",
        help="Tasks by name, 'embedded' for those in the package, or labelled folders with a manifest.",
    ),
]
Output = Annotated[
    Path, Option("--output", "-o", metavar="FILE", help="The results file; a run that was killed goes on from it.")
]
Data = Annotated[
    list[str] | None,
    Option(
        "--data",
        metavar="DIR|NAME=DIR...",
        help="Where the data of named tasks is: a folder in its published layout, or hf:NAME[@REVISION].",
    ),
]
Protocol = Annotated[
    Literal["sweep", "published"],
    Option(help="Eleven learning rates, chosen on validation data, or the task's published training."),
]
Head = Annotated[
    Literal["linear", "mlp", "ridge", "knn", "blstm", "frame"] | None,
    Option(help="What is trained on the features.  [default: as published]", show_default=False),
]
Layers = Annotated[
    str | None,
    Option(metavar="weighted|last|N", help="Which layers it sees.  [default: as published]", show_default=False),
]
Seeds = Annotated[int, Option(min=1, metavar="N", help="Heads to train, each from another start.")]
Shots = Annotated[int | None, Option(min=1, metavar="K", help="Train on K clips of each class only.")]
Draws = Annotated[
    int | None, Option(min=1, metavar="N", help="How often those K clips are drawn.  [default: 10]", show_default=False)
]
Noise = Annotated[
    list[str] | None,
    Option("--noise", metavar="DIR...", help="Test clips are heard over these sounds too: noise, music under speech."),
]
Snr = Annotated[
    list[float] | None,
    Option("--snr", metavar="DB...", help="At these levels, clip over background.  [default: 10]", show_default=False),
]
Beam = Annotated[int, Option(min=1, metavar="N", help="Width of the search for text; 1 is greedy.")]
Window = Annotated[
    Literal["clip", "30"], Option(help="Whisper hears the clip alone, or padded to 30 s as in training.")
]
CacheSize = Annotated[
    str | None, Option(metavar="SIZE", help="How much is kept there, as 20GB; what was not used longest goes first.")
]


def probe(
    context: Context,
    models: Models,
    output: Output,
    tasks: Tasks = None,
    data: Data = None,
    protocol: Protocol = "sweep",
    head: Head = None,
    layers: Layers = None,
    seeds: Seeds = 1,
    shots: Shots = None,
    draws: Draws = None,
    noise: Noise = None,
    snr: Snr = None,
    beam: Beam = 1,
    precision: Precision = "float32",
    window: Window = "clip",
    cache: CacheFolder = None,
    cache_size: CacheSize = None,
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure what frozen encoders know of tasks.

    A small head is trained on each encoder's features, which are computed once and kept.
    With a recipe, what is given on the command line wins over what the recipe says.

    \b
    Examples:
      crossfade probe ./unified fbank --task embedded -o results.json
      crossfade probe ./unified ./speech+./music --task embedded -o pair.json
      crossfade probe ./unified --task my/labelled/folder --shots 5 -o few.json
      crossfade probe ./a ./b --task ks --data ks=/data/speech_commands -o ks.json
      crossfade probe ./a --task er --data iemocap --noise musan -o er.json
      crossfade probe recipe.yaml -o results.json
    """
    if draws and not shots:
        raise InputError("--draws says how often --shots are drawn, which is not given; add --shots K")
    options: dict[str, Any] = {
        "tasks": tasks,
        "data": places(data),
        "protocol": protocol,
        "head": head,
        "layers": which(layers),
        "seeds": seeds,
        "shots": shots,
        "draws": draws or 10,
        "noise": noise or (),
        "snr": snr,
        "beam": beam,
        "seed": seed,
        "precision": precision,
        "window": window,
    }
    if len(models) == 1 and models[0].endswith((".yaml", ".yml")):
        from crossfade.probing.recipe import read_recipe

        options = read_recipe(Path(models[0])) | typed(context, options)
    else:
        options["models"] = models
    require_tasks(options["tasks"])

    from crossfade.cli.output import show_table
    from crossfade.cli.progress import progress
    from crossfade.probing import probe as measure
    from crossfade.report.results import meaning, results_table

    found = measure(
        **options,
        output=output,
        device=device,
        cache=cache,
        cache_bytes=size("--cache-size", cache_size) if cache_size else None,
        overwrite=overwrite,
        progress=progress(quiet),
    )
    skipped = sum(len(result.skipped) for result in found)
    last = meaning(found) + (f" Clips that could not be used: {skipped}; the file names them." if skipped else "")
    show_table(
        "Frozen features",
        results_table(found),
        f"{last}\nWritten to {output}.",
        {"output": str(output), "results": [told(result) for result in found]},
        quiet=quiet,
        as_json=as_json,
    )


def told(result: "Result") -> dict[str, object]:
    """A result without its single predictions."""
    kept = ("metric", "better", "value", "interval", "group_interval", "values")
    named = {"model": result.model.name, "task": result.task.name, "condition": result.protocol.condition}
    return named | {name: getattr(result, name) for name in kept}


def which(layers: str | None) -> Literal["weighted", "last"] | int | None:
    """`--layers` as the library takes it."""
    if layers is None or layers in ("weighted", "last"):
        return cast(Literal["weighted", "last"] | None, layers)
    if not layers.isdecimal():
        raise InputError(f"--layers {layers}: expected weighted, last or the number of a layer")
    return int(layers)


def require_tasks(tasks: list[str] | None) -> list[str]:
    """What to measure. Raises InputError where nothing was given."""
    if not tasks:
        raise InputError("--task: expected what to measure: names of tasks, 'embedded', or labelled folders")
    return tasks


def places(data: list[str] | None) -> str | dict[str, str] | None:
    """`--data` as one place for all tasks, or one for each NAME=DIR."""
    if not data:
        return None
    if len(data) == 1 and "=" not in data[0]:
        return data[0]
    found = dict(entry.partition("=")[::2] for entry in data)
    if bad := [entry for entry in data if "=" not in entry]:
        raise InputError(f"--data {bad[0]}: expected NAME=DIR where several are given, as in ks=/data/speech_commands")
    return found
