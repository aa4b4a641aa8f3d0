"""crossfade dynamic-superb run, join"""

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from crossfade.cli.options import Bench, Json, Overwrite, Quiet
from crossfade.cli.output import some
from crossfade.errors import InputError

if TYPE_CHECKING:
    from crossfade.instructions.benchmark import Instance
    from crossfade.instructions.runs import Run

ModelFile = Annotated[
    Path,
    Option(
        "--model",
        metavar="MODEL.yaml",
        help="What answers: kind chat, hub, whisper, cascade, python, or encoder for probe mode.",
    ),
]
Output = Annotated[
    Path, Option("--output", "-o", metavar="RUN", help="The run's folder; the same command goes on with it.")
]
Names = Annotated[
    list[str] | None, Option("--task", metavar="NAME...", help="Only these instances or tasks.  [default: all]")
]
Limit = Annotated[int | None, Option(min=1, metavar="N", help="Only the first N items of each instance.")]
Shard = Annotated[str | None, Option(metavar="I/N", help="Only every N-th item, from the I-th: one machine of N.")]
Concurrency = Annotated[
    int | None,
    Option(min=1, metavar="N", help="Questions that are asked at a time.  [default: 8 over HTTP, else 1]",
           show_default=False),
]  # fmt: skip
BatchSize = Annotated[
    int | None, Option(min=1, metavar="N", help="Questions that a local model hears together.  [default: as it says]")
]
Seed = Annotated[int, Option(min=0, metavar="N", help="Sent to the model, and of splits in probe mode.")]
CacheFolder = Annotated[Path | None, Option("--cache", metavar="DIR", help="Where probe mode keeps features.")]

OVER_HTTP = ("chat", "cascade")


def run(
    bench: Bench,
    model: ModelFile,
    output: Output,
    task: Names = None,
    limit: Limit = None,
    shard: Shard = None,
    concurrency: Concurrency = None,
    batch: BatchSize = None,
    seed: Seed = 33,
    cache: CacheFolder = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Ask a model every item of a benchmark; killed at any time, the same command goes on.

    What failed is noted with its reason, and asked again by the same command.

    \b
    Examples:
      crossfade dynamic-superb run ./dynamic-superb --model qwen.yaml -o runs/qwen
      crossfade dynamic-superb run ./mine --model whisper.yaml -o runs/whisper --task SpeechRecognition --limit 20
      crossfade dynamic-superb run ./mine --model qwen.yaml -o runs/qwen-2 --shard 2/8
    """
    from crossfade.cli.output import show
    from crossfade.cli.progress import progress
    from crossfade.instructions.benchmark import read_benchmark
    from crossfade.instructions.models import EncoderSpec, open_model, read_model

    spec, part = read_model(model), parts(shard)
    benchmark = read_benchmark(bench)
    told: dict[str, Any] = {"path": bench, "limit": limit, "seed": seed, "progress": progress(quiet)}
    told["instances"] = benchmark.chosen(names=task) if task else None
    if isinstance(spec, EncoderSpec):
        from crossfade.instructions.probe import probe_run

        require_whole(part)
        found = probe_run(benchmark, spec, output, cache=cache, **told)
    else:
        from crossfade.instructions.running import run as ask

        at_once = concurrency or (8 if spec.kind in OVER_HTTP else 1)
        opened = open_model(spec, seed=seed)
        found = ask(benchmark, opened, output, shard=part, concurrency=at_once, batch=batch, **told)
    wanted = benchmark.chosen(names=task) if task else benchmark.instances
    unread = {} if task else benchmark.left_out
    told_of = Told(found, unread | not_asked(found, wanted) | dict(found.left_out))
    show(told_of, told_of.to_read(), quiet=quiet, as_json=as_json)


def join(
    runs: Annotated[list[Path], Argument(metavar="RUN...", help="Runs of one model on shards of one benchmark.")],
    output: Output,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Join the shards of many machines into one run.

    \b
    Examples:
      crossfade dynamic-superb join runs/qwen-1 runs/qwen-2 -o runs/qwen
    """
    from crossfade.cli.output import show
    from crossfade.instructions.joining import join as joined

    told_of = Told(joined(runs, output, overwrite=overwrite))
    show(told_of, told_of.to_read(), quiet=quiet, as_json=as_json)


class Told:
    """A run as it is summed up: what was asked, what failed and why most often, what it took."""

    def __init__(self, run: "Run", left_out: Mapping[str, str] | None = None) -> None:
        self.run, self.left_out = run, left_out or {}

    def to_dict(self) -> dict[str, Any]:
        """Facts, ready for JSON."""
        header, costs = self.run.header, self.run.costs()
        sittings = costs.pop("sittings", None)
        last = sittings[-1] if isinstance(sittings, list) and sittings else None
        return {
            "run": str(self.run.folder),
            "model": header.model,
            "note": header.note,
            "instances": len(header.instances),
            **costs,
            "not_asked_here": self.run.missing,
            "last_sitting": last,
            "failures": most_frequent(self.run),
            "left_out": self.left_out,
            "metrics_of_ours": {one.name: one.metrics for one in header.instances if one.metrics_are_ours},
        }

    def to_read(self) -> dict[str, Any]:
        """The same for people: a line for each failure, instance that was left out, and choice of metrics of ours."""
        facts = self.to_dict()
        chosen: dict[str, list[str]] = {}
        for name, metrics in facts["metrics_of_ours"].items():
            chosen.setdefault(", ".join(metrics) or "none fits, not scored", []).append(name)
        return facts | {
            "failures": [f"{count:,} × {error}" for error, count in facts["failures"].items()],
            "left_out": [f"{name}: {why}" for name, why in facts["left_out"].items()],
            "metrics_of_ours": [f"{metrics}: {some(names)}" for metrics, names in chosen.items()],
        }


def not_asked(run: "Run", wanted: "Iterable[Instance]") -> dict[str, str]:
    """Instances that a run does not ask, and why."""
    asked = {one.name for one in run.header.instances}
    why = "probe mode answers classifications and regressions" if not run.header.comparable else "answers are sounds"
    lost = {one.name: f"{one.kind}: {why}" for one in wanted if one.name not in asked}
    return lost | {one.name: "it has no items" for one in run.header.instances if not one.items}


def most_frequent(run: "Run", shown: int = 3) -> dict[str, int]:
    """The errors that were met most often."""
    from crossfade.instructions.runs import counted

    return dict(islice(counted(one.error for one in run.answers() if one.error is not None).items(), shown))


def parts(shard: str | None) -> tuple[int, int] | None:
    """`2/8` as two numbers."""
    if shard is None:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", shard.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError(f"--shard {shard}: expected which of how many, as 2/8")
    return int(match[1]), int(match[2])


def require_whole(shard: tuple[int, int] | None) -> None:
    """InputError for a shard in probe mode."""
    if shard is not None:
        raise InputError("--shard: probe mode learns from all items of an instance; divide the instances by --task")
