"""crossfade dynamic-superb score, compare, report"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option

from crossfade.cli.options import Json, Overwrite, Quiet
from crossfade.cli.output import some
from crossfade.errors import InputError

if TYPE_CHECKING:
    from crossfade.instructions.judge import Judge
    from crossfade.instructions.pairs import Answers
    from crossfade.instructions.readers import Reader
    from crossfade.instructions.runs import Run
    from crossfade.instructions.scores import Scores
    from crossfade.progress import Progress

ReaderName = Annotated[
    Literal["exact", "normalised", "judge"] | None,
    Option(
        "--reader",
        help="Whose figures stand for an instance.  [default: the judge's if there is one, else normalised]",
        show_default=False,
    ),
]
JudgeFile = Annotated[
    Path | None,
    Option("--judge", metavar="JUDGE.yaml", help="A chat endpoint that reads answers too: url, model, api_key_env."),
]


def score(
    run: Annotated[Path, Argument(metavar="RUN", help="What `run` or `join` wrote, finished or not.")],
    output: Annotated[Path, Option("--output", "-o", metavar="SCORES.json", help="Appears whole or not at all.")],
    judge: JudgeFile = None,
    baseline: Annotated[
        Path | None,
        Option(metavar="RUN|SCORES.json", help="A model on the same instances that relative scores are relative to."),
    ] = None,
    submission: Annotated[
        Path | None, Option(metavar="MODEL.json", help="Write the benchmark's submission file too.")
    ] = None,
    seen: Annotated[
        list[str] | None, Option("--seen", metavar="NAME...", help="Instances or tasks that the model was trained on.")
    ] = None,
    reader: ReaderName = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Score every instance under every reader: exact match, rules, and a judge where one is given.

    \b
    Examples:
      crossfade dynamic-superb score runs/mine -o mine.json
      crossfade dynamic-superb score runs/mine --judge judge.yaml --baseline runs/cascade -o mine.json
      crossfade dynamic-superb score runs/mine -o mine.json --submission my_model.json
    """
    from crossfade.cli.output import show_table
    from crossfade.cli.progress import progress
    from crossfade.instructions.scores import save_scores
    from crossfade.instructions.standing import relative_to
    from crossfade.instructions.submission import save_submission
    from crossfade.instructions.submission import submission as submitted
    from crossfade.probing.results import require_free
    from crossfade.report.instructions import shown_model, tree_table

    for path in filter(None, (output, submission)):
        require_free(path, overwrite=overwrite)
    if seen and submission is None:
        raise InputError("--seen is about a submission, and --submission is not given; add --submission MODEL.json")
    with ExitStack() as opened:
        judged = _judge(judge, opened, progress(quiet))
        if baseline is not None:
            _require_baseline(baseline, reader or ("judge" if judge else None))
        made = _scores(run, judged, progress(quiet))
        if baseline is not None:
            made = made.model_copy(
                update={"relative": relative_to(made, _scores(baseline, judged, progress(quiet)), reader)}
            )
    chosen = made.reader(reader)
    told = submitted(made, reader=chosen, seen=seen or ()) if submission else None
    save_scores(output, made, overwrite=overwrite)
    closing = [*_closing(made), f"Written to {output}."]
    if submission and told:
        save_submission(submission, told[0], overwrite=overwrite)
        closing += [f"Not submitted: {line}." for line in told[1]] + [f"Submission: {submission}."]
    title = f"{shown_model(made)}, {chosen} reader"
    show_table(
        title, tree_table([made], chosen), "\n".join(closing), _facts(made, output), quiet=quiet, as_json=as_json
    )


def _judge(path: Path | None, opened: ExitStack, watched: "Progress") -> "Judge | None":
    from crossfade.instructions.judge import open_judge

    return opened.enter_context(open_judge(path, watched)) if path else None


def _require_baseline(path: Path, reader: "Reader | None") -> None:
    """InputError where a baseline is none, or its scores are of other readers: before a judge is asked anything."""
    from crossfade.instructions.runs import read_run
    from crossfade.instructions.scores import load_scores

    if not path.is_file():
        read_run(path)
        return
    scores = load_scores(path)
    if reader and not any(reader in one.readers for one in scores.instances):
        raise InputError(
            f"--baseline {path}: {scores.model} was not scored by '{reader}'; score it with --judge, give the run "
            "itself, or choose --reader normalised"
        )


def _scores(path: Path, judge: "Judge | None", watched: "Progress") -> "Scores":
    """The scores of a run, or those in a file."""
    from crossfade.instructions.runs import read_run
    from crossfade.instructions.scores import load_scores, score_run

    return load_scores(path) if path.is_file() else score_run(read_run(path), judge=judge, progress=watched)


def _closing(made: "Scores") -> list[str]:
    failed = sum(one.failed for one in made.instances)
    items = sum(one.items for one in made.instances)
    lines = ["Averages over tasks in percent, more is better, ± half the 95 % interval."]
    lines.append(f"{items:,} items of {len(made.instances)} instances, {failed:,} of them without an answer.")
    if not made.comparable:
        lines.append("A probed encoder: not comparable with the benchmark's leaderboard.")
    if made.relative:
        lines.append(f"Relative to {made.relative.baseline} on {len(made.relative.scores)} instances.")
        lines += [f"No relative score: {name}: {reason}." for name, reason in made.relative.lost.items()]
    notes: dict[str, list[str]] = {}
    for one in made.instances:
        for note in one.notes:
            notes.setdefault(note, []).append(one.name)
    lines += [f"{some(names)}: {note}." for note, names in notes.items()]
    return lines + [f"{note.rstrip('.')}." for note in made.notes]


def _facts(made: "Scores", output: Path) -> dict[str, Any]:
    from crossfade.instructions.standing import standings

    readers = {reader for one in made.instances for reader in one.readers}
    return {
        "path": str(output),
        "model": made.model,
        "comparable": made.comparable,
        "standings": {reader: [asdict(one) for one in standings(made, reader)] for reader in sorted(readers)},
        "instances": [
            one.model_dump(mode="json", exclude={"readers": {"__all__": {"examples"}}}) for one in made.instances
        ],
        "relative": made.relative.model_dump(mode="json") if made.relative else None,
    }


def compare(
    runs: Annotated[list[Path], Argument(metavar="RUN...", help="Two runs or more; the first is the reference.")],
    judge: JudgeFile = None,
    reader: ReaderName = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Say which differences between models are real, instance by instance, by each one's first metric.

    McNemar's test for right and wrong, else a paired bootstrap; corrected for their number (Benjamini-Hochberg, 5 %).

    \b
    Examples:
      crossfade dynamic-superb compare runs/cascade runs/mine
    """
    from crossfade.cli.compare import closing, table
    from crossfade.cli.output import show_table
    from crossfade.cli.progress import progress
    from crossfade.instructions.pairs import answers_of, compare_answers, names_of
    from crossfade.instructions.runs import read_run

    if reader == "judge" and judge is None:
        raise InputError("--reader judge asks a judge, and --judge is not given; add --judge JUDGE.yaml")
    read = [read_run(path) for path in runs]
    with ExitStack() as opened:
        judged = _judge(judge, opened, progress(quiet))
        chosen = reader or ("judge" if judged else "normalised")
        models: dict[str, Answers] = {
            name: answers_of(run, chosen, judged) for name, run in zip(names_of(read), read, strict=True)
        }
    made = compare_answers(models, _unlike(read))
    title = f"Compared with {made.reference} on the same items, {chosen} reader"
    show_table(title, table(made), "\n".join(closing(made)), made.to_dict(), quiet=quiet, as_json=as_json)


def _unlike(runs: "Sequence[Run]") -> list[str]:
    if len({run.header.comparable for run in runs}) > 1:
        return [
            "Some of these are probed encoders, which learned from such items: their answers are not those of a model"
        ]
    return []


def report(
    files: Annotated[list[Path], Argument(metavar="SCORES.json...", help="What `score` wrote, of one model each.")],
    output: Annotated[Path, Option("--output", "-o", metavar="REPORT.html", help="Appears whole or not at all.")],
    reader: ReaderName = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """One page: the tree with scores, every instance, failures, cost.

    \b
    Examples:
      crossfade dynamic-superb report cascade.json mine.json -o report.html
    """
    from crossfade.cli.output import show_table
    from crossfade.instructions.scores import load_scores
    from crossfade.report.instructions import TITLE, tree_table, write_report

    scores = [load_scores(path) for path in files]
    write_report(output, scores, reader=reader, overwrite=overwrite)
    facts = {"path": str(output), "models": [one.model for one in scores]}
    show_table(TITLE, tree_table(scores, reader), f"Written to {output}.", facts, quiet=quiet, as_json=as_json)
