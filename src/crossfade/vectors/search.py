"""`crossfade.vectors.search`: the weights of vectors, for all, by part or by layer, that validation data likes best.

Test data decides nothing: the items of the test split are not even heard before the winner is known. Of tasks with
several folds only the first one's training and validation items are used, and the winner is tested on its test items.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from crossfade import __version__
from crossfade.encoders.encoder import Encoder
from crossfade.encoders.writer import output_folder
from crossfade.errors import InputError, nearest
from crossfade.locks import held, leaving_nothing
from crossfade.probing.exam import Exam, digest, set_exam
from crossfade.probing.results import Result, save_results
from crossfade.probing.schema import Dataset, Fold, Head
from crossfade.probing.scores import Preset
from crossfade.probing.splits import pairs
from crossfade.progress import SILENT, Progress
from crossfade.vectors.combine import combine, plan_sum
from crossfade.vectors.operands import Operands, open_operands, require_some
from crossfade.vectors.stage import Stage
from crossfade.vectors.standing import MEAN, by_domain, check_score, validated

Per = Literal["global", "part", "layer"]
PARTS = ("conv", "attention", "feed_forward")
"""Parts with weights of their own; the rest (projection, positions, norms) shares one."""

REACH, FINEST, DIGITS = 0.25, 0.02, 4
"""How far the optimiser looks first and last, and the decimals of a weight."""

RESULTS, RECORD, WINNER, START = "results.json", "search.json", "winner", "start"

Table = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One evaluation: a table of weights for each vector, score and each task's value, both on validation data."""

    number: int
    weights: Mapping[str, Table]
    score: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class Search:
    """The `winner` among all trials of the `trace`, and test results of it and of where the search started."""

    path: Path
    recipe: Mapping[str, Any]
    winner: Trial
    trace: tuple[Trial, ...]
    results: tuple[Result, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single predictions, ready for JSON."""
        return {
            "path": str(self.path),
            "crossfade": __version__,
            "recipe": dict(self.recipe),
            "winner": asdict(self.winner),
            "trace": [asdict(trial) for trial in self.trace],
        }


def search(
    base: str | Path | Encoder,
    vectors: Sequence[str | Path],
    output: str | Path,
    *,
    tasks: str | Path | Sequence[str | Path],
    per: Per = "global",
    budget: int = 30,
    bounds: tuple[float, float] = (0.0, 1.0),
    start: Sequence[float] = (),
    total: float | None = None,
    method: str = "task-arithmetic",
    parameters: Mapping[str, Any] | None = None,
    score: Preset | None = None,
    partial: bool = False,
    of: str = "average",
    data: str | Path | Mapping[str, str | Path] | None = None,
    head: Head | None = None,
    seed: int = 0,
    device: str = "auto",
    trust_base: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Search:
    """Look for the best weights and write the winner, the trace and its test results to `output`.

    The optimiser is Powell's trust-region method without derivatives (COBYQA, scipy). A search that was killed goes on
    where it was when it is called again.

    Args:
        base, vectors, tasks, data, head, seed: as `crossfade.vectors.sweep` takes them.
        per: one weight for each vector, one for each part (CNN, attention, feed-forward, the rest) or for each layer
            and what is below.
        budget: the most mixtures that are evaluated.
        bounds: of every weight. start: a weight for each vector to begin with; equal shares by default.
        total: what the vectors' weights add up to in every part or layer; None: anything.
        score: a preset; by default the average over tasks. of: "average", or the domain whose score is wanted.

    Raises InputError for what cannot be mixed or measured, tasks without validation data, and a score without tasks.
    """
    require_some(vectors)
    exam = set_exam(tasks, data=data, head=head, seed=seed)
    check_score([dataset.task for dataset, _ in exam.parts], score, partial=partial)
    _check(exam, score, of, budget, bounds)
    shown = _with_data(exam, validation_only)
    output = Path(output)
    work = output.resolve().with_name(f".{output.name}.work")
    with output_folder(output, overwrite=overwrite) as draft, held(work, "another search of this output is running"):
        with leaving_nothing(work):
            operands = open_operands(base, vectors, work, trust_base=trust_base)
            space = Space(operands, per, bounds, total)
            first = space.start(start)
            judge = Judge(space, Stage(work, shown, device), method, dict(parameters or {}), seed, score, of)
            judge.plan(first)
        watched = progress.track(range(budget), total=budget, description="evaluations")
        judge.ask(space.tables(first))  # the optimiser moves a start that is near a bound
        next(watched, None)
        _minimise(judge, first, budget, watched)
        winner = max(judge.trace, key=lambda trial: (trial.score, -trial.number))
        results = _tested(judge, winner, Stage(work, _with_data(exam, first_fold), device))
        judge.write(winner, draft / WINNER)
        recipe = {
            "base": str(operands.base.name if operands.base else None),
            "vectors": [str(one) for one in vectors],
            "students": {name: one.sha256 for name, one in operands.encoders.items()},
            "tasks": [dataset.task.name for dataset, _ in exam.parts],
            "per": per,
            "budget": budget,
            "bounds": list(bounds),
            "start": list(start),
            "total": total,
            "method": method,
            "parameters": dict(parameters or {}),
            "score": f"{of}, {score.name if score else MEAN}, on validation data",
            "head": head,
            "seed": seed,
        }
        made = Search(output, recipe, winner, tuple(judge.trace), tuple(results))
        save_results(draft / RESULTS, results)
        (draft / RECORD).write_text(json.dumps(made.to_dict(), indent=2) + "\n")
    shutil.rmtree(work, ignore_errors=True)
    return made


def _check(exam: Exam, score: Preset | None, of: str, budget: int, bounds: tuple[float, float]) -> None:
    if budget < 1:
        raise InputError(f"budget = {budget}, expected at least 1 evaluation")
    if not (all(map(isfinite, bounds)) and bounds[0] < bounds[1]):
        raise InputError(f"bounds {bounds[0]:g} and {bounds[1]:g}: expected two finite numbers, the smaller one first")
    anchors = score.tasks if score else {}
    asked = [dataset.task for dataset, _ in exam.parts if score is None or dataset.task.name in anchors]
    domains = {anchors[task.name].domain if score else task.domain for task in asked}
    if of not in {"average", *domains}:
        raise InputError(f"of: no task asked for gives a score of {of!r}; {nearest(of, ['average', *domains])}")


def validation_only(dataset: Dataset) -> Dataset:
    """Training and validation items of the first fold, the validation items in the place of the test items.

    Heads choose by the validation items, and what they reach there (`Result.valid`) is the score; as a test it would be
    of no use. Raises InputError where there are no validation items.
    """
    fold = dataset.folds[0]
    if not len(fold.valid):
        raise InputError(f"{dataset.task.name}: no validation items, which alone may drive a search; give it some")
    kept = sorted({*fold.train.tolist(), *fold.valid.tolist()})
    place = {item: number for number, item in enumerate(kept)}
    train, valid = (torch.tensor([place[item] for item in side.tolist()]) for side in (fold.train, fold.valid))
    items, own = tuple(dataset.items[item] for item in kept), Fold(train, valid, valid)
    trials = pairs(items, [own]) if dataset.trials else ()
    sha256 = digest([dataset.sha256, "validation"])
    return replace(dataset, items=items, folds=(own,), trials=trials, sha256=sha256)


def _with_data(exam: Exam, change: Callable[[Dataset], Dataset]) -> Exam:
    """The same exam, the same sounds, of other data."""
    return replace(exam, parts=tuple((change(dataset), question) for dataset, question in exam.parts))


def first_fold(dataset: Dataset) -> Dataset:
    """The data set with its first fold alone: other folds test what a search has seen."""
    if len(dataset.folds) == 1:
        return dataset
    fold: tuple[Fold, ...] = dataset.folds[:1]
    return replace(dataset, folds=fold, sha256=digest([dataset.sha256, "first fold"]))


@dataclass(frozen=True)
class Space:
    """What may be varied: numbers for the groups (parts or layers) of each vector, vector by vector."""

    operands: Operands
    per: Per
    bounds: tuple[float, float]
    total: float | None

    @property
    def groups(self) -> list[str | int]:
        """Names of parts or layers, and "default" for the rest."""
        encoder = next(iter(self.operands.encoders.values()))
        layers = range(encoder.layout.settings["num_hidden_layers"])
        return {"global": ["default"], "part": [*PARTS, "default"], "layer": [*layers, "default"]}[self.per]

    def start(self, given: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Where to begin. Raises InputError for another number of weights, or weights out of bounds."""
        count = len(self.operands.names)
        shares = list(given) or [(1.0 if self.total is None else self.total) / count] * count
        low, high = self.bounds
        if not given and not low <= shares[0] <= high:
            raise InputError(
                f"a sum of {self.total:g} cannot be had of {count} vectors with weights from {low:g} to {high:g}; give "
                "other bounds, or where to start"
            )
        if len(shares) != count or not all(low <= share <= high for share in shares):
            told = ", ".join(f"{share:g}" for share in shares)
            raise InputError(f"start {told}: expected a weight from {low:g} to {high:g} for each of {count} vectors")
        return np.repeat(np.array(shares, np.float64), len(self.groups))

    def tables(self, place: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Table]:
        """A table of weights for each vector, brought to the sum that was asked for."""
        numbers = place.clip(*self.bounds).reshape(len(self.operands.names), -1)
        if self.total is not None:
            sums = numbers.sum(0)
            even = np.full_like(numbers, 1 / len(numbers))
            numbers = self.total * np.divide(numbers, sums, out=even, where=np.abs(sums) > 1e-9)
        tables: dict[str, Table] = {}
        for name, row in zip(self.operands.names, numbers.round(DIGITS).tolist(), strict=True):
            told = dict(zip(self.groups, row, strict=True))
            layers = {key: value for key, value in told.items() if isinstance(key, int)}
            parts = {key: value for key, value in told.items() if isinstance(key, str)}
            tables[name] = {**parts, **({"layers": layers} if layers else {})}
        return tables


class _SpentError(Exception):
    """The budget is used up."""


@dataclass
class Judge:
    """Evaluates weights on validation data; the same weights once."""

    space: Space
    stage: Stage
    method: str
    parameters: dict[str, Any]
    seed: int
    score: Preset | None
    of: str
    trace: list[Trial] = field(default_factory=list)

    def plan(self, place: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        """InputError where such weights cannot be combined."""
        plan_sum(self._given(self.space.tables(place)), self._base, self.method, self.parameters, seed=self.seed)

    def ask(self, tables: dict[str, Table]) -> float:
        """The score of weights, of which more is better."""
        for known in self.trace:
            if known.weights == tables:
                return known.score
        measured = self.stage.measure("trial", self.facts(tables), lambda folder: self._combine(tables, folder))
        wanted = measured.results if self.of == "average" else by_domain(measured.results, self.score)[self.of]
        score = validated(wanted, self.score)
        values = {result.task.name: valid for result in measured.results if (valid := result.valid) is not None}
        self.trace.append(Trial(len(self.trace) + 1, tables, score, values))
        return score

    def facts(self, tables: Mapping[str, Table]) -> list[Any]:
        """All that decides a mixture."""
        hashes = [one.sha256 for one in self.space.operands.encoders.values()]
        return [self.method, self.parameters, hashes, self._base.sha256, dict(tables), self.seed]

    def write(self, trial: Trial, folder: Path) -> None:
        """The mixture of a trial, an ordinary folder."""
        self._combine(trial.weights, folder)

    @property
    def _base(self) -> Encoder:
        assert self.space.operands.base is not None
        return self.space.operands.base

    def _given(self, tables: Mapping[str, Table]) -> list[tuple[Any, Table]]:
        return list(zip(self.space.operands.vectors, tables.values(), strict=True))

    def _combine(self, tables: Mapping[str, Table], folder: Path) -> None:
        given, settings = self._given(tables), self.parameters
        combine(given, folder, base=self._base, method=self.method, parameters=settings, seed=self.seed)


def _minimise(judge: Judge, first: np.ndarray[Any, np.dtype[np.float64]], budget: int, watched: Iterator[int]) -> None:
    """Let the optimiser ask until it has found the place, or the budget is used up."""
    from scipy.optimize import minimize

    def ask(place: np.ndarray[Any, np.dtype[np.float64]]) -> float:
        before = len(judge.trace)
        tables = judge.space.tables(place)
        if before >= budget and all(known.weights != tables for known in judge.trace):
            raise _SpentError
        found = judge.ask(tables)
        if len(judge.trace) > before:
            next(watched, None)
        return -found

    low, high = judge.space.bounds
    options: Any = {"maxfev": 4 * budget + 100, "initial_tr_radius": REACH * (high - low), "final_tr_radius": FINEST}
    try:
        minimize(ask, first, method="COBYQA", bounds=[(low, high)] * len(first), options=options)
    except _SpentError:
        return


def _tested(judge: Judge, winner: Trial, stage: Stage) -> list[Result]:
    """Test results of the winner and of the first trial."""
    results = []
    for name, trial in ((WINNER, winner), (START, judge.trace[0])):

        def make(folder: Path, trial: Trial = trial) -> None:
            judge.write(trial, folder)

        results += stage.measure(name, [name, *judge.facts(trial.weights)], make).results
    return results
