"""`crossfade.condensing.evaluate`: a generator, its rivals on the same budgets and the full set, in folds and seeds."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from threading import Event
from typing import Any, Literal

from crossfade import __version__
from crossfade.condensing.artefact import Distilled, read_generator, rounded
from crossfade.condensing.costs import Training, training_of
from crossfade.condensing.fitting import make_bench
from crossfade.condensing.hearing import Heard, hear, require_same_encoder
from crossfade.condensing.points import Prior
from crossfade.condensing.rivals import FULL
from crossfade.condensing.settings import Settings
from crossfade.condensing.training import fit_generator
from crossfade.condensing.trial import Row, measure, rows_of
from crossfade.errors import InputError
from crossfade.locks import leaving_nothing
from crossfade.parallel import side_by_side
from crossfade.probing.compare import Difference, compare
from crossfade.probing.measure import versions
from crossfade.probing.metrics import METRICS
from crossfade.probing.results import (
    Cost,
    ModelInfo,
    ProtocolInfo,
    Result,
    Scored,
    require_free,
    save_results,
)
from crossfade.probing.schema import Dataset
from crossfade.probing.significance import estimate, t_interval
from crossfade.progress import SILENT, Progress
from crossfade.training.checkpoints import Work

HEAD = "softmax regression"
PER_CLASS = (10, 50, 100)
PRIORS: tuple[Prior, ...] = ("balanced", "original")


@dataclass(frozen=True)
class Mean:
    """A mean over folds and seeds, with Student's 95 % interval of it where there are two or more."""

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Standing:
    """One row: how many points, their bytes, the recall that they taught in percent (`uar`), and beside the full set.

    `interval` is over test clips, `group_interval` over their groups; `difference` is the row's recall minus the full
    set's, paired, `verdict` what is left of it after correction for all rows. `leakage` (groups recognised in percent,
    the largest group's share, the area of membership) and `coverage` are means over fits, for balanced points.
    """

    name: str
    method: str
    per_class: int | None
    prior: Prior
    points: float
    bytes: float
    uar: float
    interval: tuple[float, float]
    group_interval: tuple[float, float] | None
    difference: float | None
    difference_interval: tuple[float, float] | None
    q: float | None
    verdict: str | None
    leakage: Mapping[str, Mean]
    coverage: Mapping[str, Mean]


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found: a standing for every row, single results with every prediction, and what it all costs.

    `fits` says of every generator which fold and seed it is of, which update was kept and whether training collapsed.
    """

    path: Path
    about: Mapping[str, Any]
    rows: tuple[Standing, ...]
    storage: Mapping[str, Any]
    training: tuple[Training, ...]
    fits: tuple[Mapping[str, Any], ...]
    results: tuple[Result, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single predictions, ready for JSON."""
        told = {name: getattr(self, name) for name in ("about", "storage", "fits")}
        rows = {"rows": [asdict(row) for row in self.rows], "training": [asdict(one) for one in self.training]}
        return {"path": str(self.path), "crossfade": __version__, **told, **rows}


@dataclass(frozen=True)
class Fit:
    """A fold and a seed."""

    fold: int
    seed: int

    @property
    def file(self) -> str:
        """Where its measures wait for the others."""
        return f"fold-{self.fold}-seed-{self.seed}.json"


def evaluate(
    generator: str | Path,
    task: str | Path,
    output: str | Path,
    *,
    data: str | Path | None = None,
    model: str | None = None,
    per_class: Sequence[int] = PER_CLASS,
    priors: Sequence[Prior] = PRIORS,
    folds: Literal["own", "all"] = "own",
    seeds: int = 1,
    device: str = "auto",
    cache: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Evaluation:
    """Train a classifier on a generator's points, on every rival's and on all real clips; test each on unseen clips.

    "own" is the fold that the generator was fitted on, whose test clips it never met; "all" fits one by the same
    settings in every other fold too. `seeds` counts from the generator's own; each further one is another fit. Every
    fit's measures are kept in `.NAME.work` beside the output until all are there, so a run that was killed goes on.

    The output is a results file, which `crossfade compare` and `report` take, with all else under "distilled".

    Raises InputError: no generator, other data than it was fitted on, an encoder that differs from the generator's, an
    existing output without `overwrite`, and as `fit` does.
    """
    require_free(output, overwrite=overwrite)
    own, output = read_generator(generator), Path(output)
    if not per_class or min(per_class) < 1 or seeds < 1:
        raise InputError(f"expected 1 point per class and 1 seed or more, received {[*per_class]} and {seeds}")
    record = own.record
    heard = hear(
        model or record["encoder"]["path"],
        task,
        data=data,
        layer=record["layer"],
        seed=record["seed"],
        device=device,
        cache=cache,
        accept=partial(_require_same_data, own),
        progress=progress,
    )
    require_same_encoder(heard, record["encoder"], record["layer"], own.path)
    numbers = [record["data"]["fold"]] if folds == "own" else range(len(heard.dataset.folds))
    for number in numbers:
        heard.material(number)  # what cannot be is refused before time is spent
    fits = [Fit(fold, seed) for fold in numbers for seed in range(record["seed"], record["seed"] + seeds)]
    rows = rows_of(sorted(set(per_class)), list(priors))
    found = _measured(own, heard, fits, rows, Work(output), overwrite, progress)
    made = assemble(output, own, heard, fits, rows, found)
    told = {name: value for name, value in made.to_dict().items() if name != "path"}
    save_results(output, made.results, overwrite=overwrite, more={"distilled": told})
    shutil.rmtree(Work(output).folder, ignore_errors=True)
    return made


def _require_same_data(own: Distilled, dataset: Dataset) -> None:
    """InputError where a generator would be tested on other clips than those it was fitted on, or so divided."""
    data = own.record["data"]
    if dataset.sha256 != data["sha256"]:
        raise InputError(
            f"{own.path}: was fitted on other clips, labels or folds ({data['task']}, {data['sha256'][:8]}) than these "
            f"({dataset.task.name}, {dataset.sha256[:8]}), some of which it may have met; give those that it was "
            "fitted on"
        )


def _measured(
    own: Distilled,
    heard: Heard,
    fits: Sequence[Fit],
    rows: Sequence[Row],
    work: Work,
    overwrite: bool,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Measures of every fit, several at a time; those that an earlier run left are read."""
    settings, stop = Settings.model_validate(own.record["settings"]), Event()
    identity = {
        "generator": own.record["sha256"],
        "data": heard.dataset.sha256,
        "rows": [row.name for row in rows],
    }

    def one(fit: Fit) -> dict[str, Any]:
        known: dict[str, Any] | None = work.read_json(fit.file)
        if known is not None:
            return known
        material = heard.material(fit.fold)
        told: dict[str, Any] = {"fold": fit.fold, "seed": fit.seed, "collapsed": None}
        if (fit.fold, fit.seed) == (own.record["data"]["fold"], own.record["seed"]):
            generator = own.generator
            told |= {name: own.record["training"][name] for name in ("kept", "valid", "valid_of_real", "collapsed")}
        else:
            try:
                fitted = fit_generator(material, settings, fit.seed, stop=stop)
            except InputError as error:
                raise InputError(f"fold {fit.fold}, seed {fit.seed}: {error}") from error
            generator = rounded(fitted.generator)
            told |= {"kept": fitted.best.step, "valid": fitted.best.valid, "valid_of_real": fitted.reference}
            told["collapsed"] = fitted.collapsed
        measures = measure(make_bench(heard, material, fit.fold), generator, rows, fit.seed)
        found = {"fit": told, "rows": measures}
        work.write_json(fit.file, found)
        return found

    with leaving_nothing(work.folder), work.begin(identity, overwrite=overwrite):
        done = side_by_side(one, fits, stop=stop)
        return list(progress.track(done, total=len(fits), description="fits"))


def assemble(
    output: Path,
    own: Distilled,
    heard: Heard,
    fits: Sequence[Fit],
    rows: Sequence[Row],
    found: Sequence[Mapping[str, Any]],
) -> Evaluation:
    """Results and standings of measures, one of each fit."""
    names = {number: heard.material(number).names for number in dict.fromkeys(fit.fold for fit in fits)}
    results = {row.name: result_of(row, heard, names, fits, found) for row in rows}
    differences = {one.model: one for one in compare(list(results.values()), reference=FULL).differences}
    standings = [
        standing(row, results[row.name], differences.get(row.name), [one["rows"][row.name] for one in found])
        for row in rows
    ]
    material = heard.material(own.record["data"]["fold"])
    sizes = [round(one.points) for one in standings if one.per_class and one.prior == "balanced"]
    return Evaluation(
        path=output,
        about={
            "generator": str(own.path),
            "generator_sha256": own.record["sha256"],
            "encoder": own.record["encoder"]["name"],
            "layer": own.record["layer"],
            "task": heard.dataset.task.name,
            "classes": list(own.names),
            "clips": sum(len(heard.fold(number).test) for number in {fit.fold for fit in fits}),
            "folds": sorted({fit.fold for fit in fits}),
            "seeds": sorted({fit.seed for fit in fits}),
            "settings": own.record["settings"],
        },
        rows=tuple(standings),
        storage={
            "sound_bytes": own.record["data"]["sound_bytes"],
            "feature_bytes": own.record["data"]["feature_bytes"],
            "generator_bytes": own.nbytes,
        },
        training=tuple(training_of(material, [*sorted({*sizes}), len(material.rows)])),
        fits=tuple(one["fit"] for one in found),
        results=tuple(results.values()),
    )


def result_of(
    row: Row,
    heard: Heard,
    names: Mapping[int, Sequence[str]],
    fits: Sequence[Fit],
    found: Sequence[Mapping[str, Any]],
) -> Result:
    """A row as `crossfade compare` takes it: the encoder under the row's name, a column for every seed.

    names: the classes, in order, of each fold.
    """
    dataset, columns, home = heard.dataset, dict[int, list[str]](), dict[int, int]()
    places = {number: heard.fold(number) for number in names}
    for fit, measures in zip(fits, found, strict=True):
        answers = measures["rows"][row.name]["answers"]
        for clip, place in zip(places[fit.fold].test.tolist(), answers, strict=True):
            columns.setdefault(clip, []).append(names[fit.fold][place])
            home[clip] = fit.fold
    items = tuple(
        Scored(
            id=dataset.items[clip].id,
            group=dataset.items[clip].group,
            fold=home[clip],
            label=str(dataset.items[clip].label),
            predictions=tuple(said),
        )
        for clip, said in sorted(columns.items())
    )
    metric = METRICS["uar"]
    averaged = len(places) > 1 and dataset.items[0].split is not None
    value = estimate(metric, items, averaged=averaged)
    about = heard.encoder
    return Result(
        model=ModelInfo(
            name=row.name,
            path=about["path"],
            revision=about["revision"],
            sha256=about["sha256"],
            parameters=about["parameters"],
            layers=about["layers"],
            width=about["width"],
        ),
        task=dataset.told(places.values()),
        protocol=ProtocolInfo(head=HEAD, layers=heard.layer, folds="averaged" if averaged else "pooled"),
        metric=metric.name,
        better=metric.better,
        percent=metric.percent,
        value=value.value,
        interval=value.interval,
        interval_method=value.method,
        group_interval=value.group_interval,
        values=value.values,
        seeds=tuple(sorted({fit.seed for fit in fits})),
        skipped=tuple((dataset.items[clip].id, reason) for clip, reason in heard.skipped.items()),
        items=items,
        cost=NOTHING,
        versions=versions(),
    )


NOTHING = Cost(seconds_features=0, seconds_heads=0, peak_memory_bytes=0, cache_bytes_per_clip=0, threads=1)
"""What a single row costs is not measured: many are made at a time."""


def standing(row: Row, result: Result, difference: Difference | None, found: Sequence[Mapping[str, Any]]) -> Standing:
    """A row's result and the means of what else was measured in every fit."""
    told = Standing(
        name=row.name,
        method=row.method,
        per_class=row.per_class,
        prior=row.prior,
        points=fmean(one["points"] for one in found),
        bytes=fmean(one["bytes"] for one in found),
        uar=result.value,
        interval=result.interval,
        group_interval=result.group_interval,
        difference=None,
        difference_interval=None,
        q=None,
        verdict=None,
        leakage=_means([one.get("leakage", {}) for one in found]),
        coverage=_means([one.get("coverage", {}) for one in found]),
    )
    if difference is None:
        return told
    return replace(
        told,
        difference=difference.difference,
        difference_interval=difference.interval,
        q=difference.q,
        verdict=difference.verdict,
    )


def _means(found: Sequence[Mapping[str, float | None]]) -> dict[str, Mean]:
    """Of what was measured in every fit."""
    means = {}
    for name in found[0]:
        values = [value for one in found if (value := one[name]) is not None]
        if len(values) == len(found):
            means[name] = Mean(fmean(values), t_interval(values) if len(values) > 1 else None)
    return means
