"""crossfade align"""

from typing import Annotated, Literal

from typer import Option

from crossfade.cli.options import (
    POINTS,
    Audio,
    Clips,
    Device,
    Json,
    Other,
    Output,
    Overwrite,
    Points,
    Quiet,
    Reference,
    Seconds,
    Seed,
    names,
)

Method = Annotated[
    Literal["correlation", "weights"],
    Option(help="Match channels by what they hear (needs --audio), or by their weights alone."),
]


def align(
    reference: Reference,
    other: Other,
    output: Output,
    audio: Audio = None,
    method: Method = "correlation",
    points: Points = POINTS,
    clips: Clips = None,
    seconds: Seconds = 5.0,
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Rewrite OTHER in REFERENCE's basis, its function unchanged.

    Writes a Hugging Face folder and alignment.json, which `crossfade merge --alignment DIR` can use again.

    \b
    Examples:
      crossfade align ./speech ./music --audio clips/speech clips/music -o music-aligned
      crossfade align ./speech ./music --method weights -o music-aligned
    """
    from crossfade.alignment import align as bring
    from crossfade.cli.output import show
    from crossfade.cli.progress import progress

    made = bring(
        reference,
        other,
        audio,
        output=output,
        method=method,
        points=names(points),
        clips=clips,
        seconds=seconds,
        seed=seed,
        device=device,
        overwrite=overwrite,
        progress=progress(quiet),
    )
    show(made, {"path": output, **made.to_dict()}, quiet=quiet, as_json=as_json)
