"""crossfade compare"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from crossfade.cli.options import Json, Partial, Quiet, ScoreName
from crossfade.errors import InputError

if TYPE_CHECKING:
    from crossfade.probing.compare import Comparison, ScoreDifference

Files = Annotated[list[Path], Argument(metavar="RESULTS.json", help="What `crossfade probe` wrote.")]
Reference = Annotated[
    str | None,
    Option(
        metavar="MODEL", help="The model that the others are compared with.  [default: the first]", show_default=False
    ),
]
Model = Annotated[
    str | None,
    Option("--model", metavar="NAME", help="Only this model: compare it with itself under other heads or layers."),
]
Unit = Annotated[
    Literal["item", "group"],
    Option(help="What chance is about: other test clips, or other groups (speakers, kits), which asks for more."),
]


def compare(
    files: Files,
    reference: Reference = None,
    model: Model = None,
    unit: Unit = "item",
    score: ScoreName = None,
    partial: Partial = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Say which differences between models are real and which chance could have made.

    Paired tests on the same test items: McNemar's for right and wrong, else a paired bootstrap; corrected for their
    number (Benjamini-Hochberg, 5 %). What cannot be compared is named, with the reason. Where the results are of one
    model, its settings (heads, layers) are compared.

    \b
    Examples:
      crossfade compare speech.json merged.json
      crossfade compare results/*.json --reference fbank --unit group
      crossfade compare linear.json ridge.json --model speech
    """
    from crossfade.cli.output import show_table
    from crossfade.probing.compare import FALSE_FINDINGS
    from crossfade.probing.compare import compare as test
    from crossfade.probing.scores import load_preset

    require_score(score, partial)
    made = test(
        *files,
        reference=reference,
        model=model,
        unit=unit,
        score=load_preset(score) if score else None,
        partial=partial,
    )
    show_table(
        f"Compared with {made.reference}, on the same {unit}s; of what is called better or worse at most "
        f"{100 * FALSE_FINDINGS:g} % should be chance",
        table(made),
        "\n".join(closing(made)),
        made.to_dict(),
        quiet=quiet,
        as_json=as_json,
    )


def require_score(score: str | None, partial: bool) -> None:
    """InputError for `--partial` on its own."""
    if partial and score is None:
        raise InputError("--partial says what a score may lack, and --score is not given; add --score PRESET")


def table(made: "Comparison") -> tuple[list[str], list[list[str]]]:
    """Header and cells: a row for every test."""
    header = ["task", "model", "metric", "reference", "value", "difference", "q", "verdict"]
    rows = []
    for one in made.differences:
        exact = 1 if one.percent else 3
        value, reference = f"{one.value:.{exact}f}", f"{one.reference_value:.{exact}f}"
        gap, low, high = (f"{number:+.{exact}f}" for number in (one.difference, *one.interval))
        q = "<0.001" if one.q < 0.001 else f"{one.q:.3f}"
        rows.append([one.setting, one.model, one.metric, reference, value, f"{gap} ({low} to {high})", q, one.verdict])
    return header, rows


def closing(made: "Comparison") -> list[str]:
    """What follows the table: scores, notes, what could not be compared, and the plain sentence."""
    lines = [_score_line(one) for one in made.scores] + [f"{note}." for note in made.notes]
    tasks: dict[tuple[str, str], list[str]] = {}
    for one in made.not_comparable:
        tasks.setdefault((one.model, one.reason), []).append(one.setting)
    models: dict[tuple[str, str], list[str]] = {}
    for (model, reason), on in tasks.items():
        models.setdefault((", ".join(on), reason), []).append(model)
    lines += [f"Not compared: {', '.join(who)} on {on}: {reason}." for (on, reason), who in models.items()]
    return [*lines, made.sentence()]


def _score_line(one: "ScoreDifference") -> str:
    low, high = one.interval
    partial = f" (partial, without {', '.join(one.score.missing)})" if one.score.missing else ""
    return (
        f"{one.score.preset}{partial}: {one.model} {one.score.value:.1f}, reference {one.reference_score.value:.1f}, "
        f"difference {one.difference:+.1f} ({low:+.1f} to {high:+.1f})"
    )
