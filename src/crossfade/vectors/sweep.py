"""`crossfade.vectors.sweep`: encoders at every weight of a grid, on one stage: one results file, one figure."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from crossfade import __version__
from crossfade.audio.sources import Source
from crossfade.encoders.encoder import Encoder
from crossfade.encoders.sidecars import read_json
from crossfade.encoders.writer import output_folder
from crossfade.errors import InputError
from crossfade.locks import held, leaving_nothing
from crossfade.parallel import side_by_side
from crossfade.probing.exam import Exam, set_exam
from crossfade.probing.learners import Layers, ProtocolName
from crossfade.probing.results import Result, load_results, save_results
from crossfade.probing.schema import Head
from crossfade.probing.scores import Preset
from crossfade.progress import SILENT, Progress
from crossfade.report.sweeps import write_sweep
from crossfade.vectors.grid import Grid, Weights, grid_points, read_points
from crossfade.vectors.mixing import ALONE, PAIR, Hearing, Job, Mixer, check_methods
from crossfade.vectors.operands import open_operands, require_some
from crossfade.vectors.stage import Measured, Stage
from crossfade.vectors.standing import MEAN, Standing, check_score, front, standing

RESULTS, RECORD, KEPT = "results.json", "sweep.json", "points"


@dataclass(frozen=True)
class Point:
    """One encoder of a sweep: how it was made (`method`, `weights` of the operands), and where it stands.

    Method "alone": students, base and models that were named; "pair": students side by side. `values` are of each task,
    `seconds` what making and opening it took beyond measuring it, 0 where it was measured before. `sweep` names the
    other sweep that it is from, if it is.
    """

    name: str
    method: str
    weights: Weights | None
    parameters: int
    standing: Standing
    values: Mapping[str, float]
    seconds: float = 0.0
    sweep: str | None = None


@dataclass(frozen=True)
class Sweep:
    """What a sweep found: its `points`, those on the Pareto `front`, and every single result.

    `geometry`: barriers and CKA of the two students (`crossfade.vectors.geometry`), where a method aligned them.
    """

    path: Path
    recipe: Mapping[str, Any]
    points: tuple[Point, ...]
    front: tuple[str, ...]
    results: tuple[Result, ...] = field(repr=False)
    geometry: Mapping[str, Any] | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single predictions, ready for JSON."""
        return {
            "path": str(self.path),
            "crossfade": __version__,
            "recipe": dict(self.recipe),
            "points": [asdict(point) for point in self.points],
            "front": list(self.front),
            "geometry": self.geometry,
        }


def sweep(
    base: str | Path | Encoder | None,
    vectors: Sequence[str | Path],
    output: str | Path,
    *,
    tasks: str | Path | Sequence[str | Path],
    methods: Sequence[str] = ("task-arithmetic",),
    grid: Grid = "simplex",
    step: float = 0.1,
    at: Sequence[str | Sequence[float]] = (),
    total: float | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    audio: Sequence[Source] = (),
    clips: int | None = None,
    seconds: float = 5.0,
    also: Sequence[str | Path] = (),
    with_pair: bool = False,
    beside: Sequence[str | Path] = (),
    score: Preset | None = None,
    partial: bool = False,
    data: str | Path | Mapping[str, str | Path] | None = None,
    protocol: ProtocolName = "sweep",
    head: Head | None = None,
    layers: Layers | None = None,
    seeds: int = 1,
    seed: int = 0,
    device: str = "auto",
    keep: bool = False,
    trust_base: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Sweep:
    """Measure mixtures of students at every weight of a grid; write results, table and figure to `output`.

    A run that was killed goes on where it was when it is called again; until it is done, what it has lies beside the
    output, in `.NAME.work`.

    Args:
        base, vectors: an encoder, and vectors on it or students of it, known by their folders' names. Without a base,
            two encoders that are only merged.
        tasks, data, protocol, head, layers, seeds: as `crossfade.probe` takes them.
        methods: ways to mix: those of `combine`, and linear, slerp, aligned, aligned-residual, regression, which merge
            two students. `parameters` are settings by method.
        grid, step: "simplex": multiples of `step` that add up to 1; "scale": one weight for all, from 1 to 0.
        at: these weights instead, each `"0.9,0.1"` or numbers; with `total` they must add up to it.
        audio: one source for each of the two students, which aligned methods hear; `clips`, `seconds`: how much.
        also: models that are measured as they are; `with_pair`: the students side by side, as one wide encoder.
        beside: folders of other sweeps of the same tasks, whose points are shown with these.
        score: a preset; by default the averages over the tasks of each domain. `partial`: without some of its tasks.
        keep: keep every mixture as a folder, in `points/`.

    At weights with a single 1 and zeros it is the student that is measured, at zeros the base: once for all methods.
    Raises InputError for what cannot be mixed or measured, weights of another sum, and a score without tasks.
    """
    exam = set_exam(tasks, data=data, protocol=protocol, head=head, layers=layers, seeds=seeds, seed=seed)
    check_score([dataset.task for dataset, _ in exam.parts], score, partial=partial)
    require_some(vectors)
    output = Path(output)
    work = output.resolve().with_name(f".{output.name}.work")
    points = read_points(at, len(vectors), total) if at else grid_points(len(vectors), grid, step)
    others = [one for folder in beside for one in read_beside(Path(folder), exam, score)]
    with output_folder(output, overwrite=overwrite) as draft, held(work, "another sweep of this output is running"):
        with leaving_nothing(work):
            operands = open_operands(base, vectors, work, trust_base=trust_base)
            hearing = Hearing(list(audio), clips, seconds, seed, device)
            check_methods(methods, operands, points, hearing)
            mixer = Mixer(operands, parameters or {}, hearing, work, work / KEPT if keep else None)
            jobs = [*mixer.jobs(methods, points), *mixer.others(also, with_pair=with_pair)]
        found = measure_all(jobs, Stage(work, exam, device), score, progress)
        recipe = {
            "base": operands.base.name if operands.base else None,
            "vectors": [str(one) for one in vectors],
            "students": {name: one.sha256 for name, one in operands.encoders.items()},
            "tasks": [dataset.task.name for dataset, _ in exam.parts],
            "methods": list(methods),
            "parameters": {name: dict(one) for name, one in (parameters or {}).items()},
            "weights": points,
            "audio": [str(one) for one in audio],
            "clips": clips,
            "seconds": seconds,
            "also": [str(one) for one in also],
            "beside": [str(one) for one in beside],
            "score": score.name if score else MEAN,
            "protocol": protocol,
            "head": head,
            "layers": layers,
            "seeds": seeds,
            "seed": seed,
        }
        made = replace(assemble(output, recipe, [*found, *_new(others, found)]), geometry=mixer.geometry(methods))
        save_results(draft / RESULTS, made.results)
        (draft / RECORD).write_text(json.dumps(made.to_dict(), indent=2) + "\n")
        write_sweep(draft, made.to_dict())
        if keep and (work / KEPT).exists():
            shutil.move(work / KEPT, draft / KEPT)
    shutil.rmtree(work, ignore_errors=True)
    return made


Found = tuple[Point, list[Result]]


def measure_all(jobs: Sequence[Job], stage: Stage, score: Preset | None, progress: Progress) -> list[Found]:
    """A point and its results for every job, in order; several at a time, each on one thread.

    Raises InputError where two are named alike.
    """
    names = [job.name for job in jobs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two encoders are named '{twice[0]}'; rename one of the folders, or leave one out")
    done = side_by_side(lambda job: job.measure(stage), jobs)
    measured = progress.track(done, total=len(jobs), description="points")
    return [(_point(job, one, score), one.results) for job, one in zip(jobs, measured, strict=True)]


def _point(job: Job, measured: Measured, score: Preset | None) -> Point:
    results = measured.results
    return Point(
        name=job.name,
        method=job.method,
        weights=job.weights,
        parameters=results[0].model.parameters,
        standing=standing(results, score),
        values={result.task.name: result.value for result in results},
        seconds=measured.seconds,
    )


def assemble(output: Path, recipe: Mapping[str, Any], found: Sequence[Found]) -> Sweep:
    """All points, and which of them are on the front."""
    points = tuple(point for point, _ in found)
    best = front({point.name: point.standing for point in points if point.method != PAIR})
    return Sweep(output, recipe, points, tuple(best), tuple(result for _, results in found for result in results))


def read_beside(folder: Path, exam: Exam, score: Preset | None) -> list[Found]:
    """The points of another sweep, scored as these are; its mixtures' methods are named after its folder.

    Raises InputError where there is no sweep, or one of other tasks.
    """
    if not (folder / RECORD).is_file():
        raise InputError(f"{folder}: no {RECORD}; expected a folder that `crossfade vector sweep` wrote")
    record = read_json(folder / RECORD)
    by_model: dict[str, list[Result]] = {}
    for result in load_results(folder / RESULTS):
        by_model.setdefault(result.model.name, []).append(result)
    wanted = {dataset.sha256 for dataset, _ in exam.parts}
    found = []
    for told in record["points"]:
        results = by_model.get(told["name"], [])
        if {result.task.sha256 for result in results} != wanted:
            raise InputError(f"{folder}: '{told['name']}' was measured on other tasks or clips; sweep it on these")
        method = told["method"] if told["method"] in (ALONE, PAIR) else f"{told['method']} ({folder.name})"
        point = Point(
            name=told["name"],
            method=method,
            weights=tuple(told["weights"]) if told["weights"] else None,
            parameters=told["parameters"],
            standing=standing(results, score),
            values=told["values"],
            sweep=folder.name,
        )
        found.append((point, results))
    return [_named(one, folder.name) for one in found]


def _named(found: Found, folder: str) -> Found:
    """A point of another sweep under a name that says so."""
    point, results = found
    name = f"{point.name} ({folder})"
    models = [result.model.model_copy(update={"name": name}) for result in results]
    renamed = [result.model_copy(update={"model": model}) for result, model in zip(results, models, strict=True)]
    return Point(**{**vars(point), "name": name}), renamed


def _new(others: Sequence[Found], found: Sequence[Found]) -> list[Found]:
    """Those of another sweep whose weights were not measured here."""
    known = {results[0].model.sha256 for _, results in found if results[0].model.sha256}
    return [(point, results) for point, results in others if results[0].model.sha256 not in known]
