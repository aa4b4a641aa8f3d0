"""`crossfade.condensing.fit`: from an encoder and labelled sound to a generator of its features."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import Any

import torch

from crossfade import __version__
from crossfade.condensing.artefact import WEIGHTS, Distilled, read_generator, rounded, write_weights
from crossfade.condensing.card import write_card
from crossfade.condensing.gan import Generator
from crossfade.condensing.hearing import Heard, Layer, bytes_on_disk, group_numbers, hear
from crossfade.condensing.material import Material
from crossfade.condensing.rivals import GAUSSIAN, GENERATOR, RANDOM
from crossfade.condensing.settings import Settings
from crossfade.condensing.training import Fitted, fit_generator
from crossfade.condensing.trial import Bench, bench_of, measure, rows_of
from crossfade.documents import validated
from crossfade.encoders.sidecars import RECORD
from crossfade.encoders.writer import output_folder
from crossfade.locks import leaving_nothing
from crossfade.parallel import side_by_side
from crossfade.probing.metrics import METRICS
from crossfade.probing.results import Scored
from crossfade.probing.significance import estimate
from crossfade.progress import SILENT, Progress
from crossfade.training.checkpoints import Work

MEASURED = (GENERATOR, RANDOM, GAUSSIAN)
"""What a generator's card tells of, beside the full set."""


def fit(
    model: str,
    task: str | Path,
    output: str | Path,
    *,
    data: str | Path | None = None,
    layer: Layer = "mean",
    fold: int = 0,
    seed: int = 0,
    settings: Settings | Mapping[str, Any] | None = None,
    licence: str | None = None,
    device: str = "auto",
    cache: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Distilled:
    """Train a generator on the training clips of one fold, measure it on that fold's test clips, and write its folder.

    A run that was killed goes on from its last checkpoint, in `.NAME.work` beside the output, when it is called again.

    Args:
        model: a folder, hub id, `fbank` or `logmel`, as `crossfade.probe` takes them.
        task, data: a labelled folder or a task of one class for each clip by its name, and where its data is.
        layer: "mean" of all layers, or one by its number.
        fold: which fold's test clips are left out; where the data has no folds these are drawn, groups apart.
        settings: sizes, steps and weights of the losses (`Settings`).
        licence: of the data; by default what the manifest's column `licence` says.

    Raises InputError: an encoder, task or setting that cannot be used; a class with one training clip; features that
    are not finite; training that collapses before anything was learned; another training in the work folder.
    """
    asked = settings if isinstance(settings, Settings) else validated(Settings, settings or {}, "settings")
    output, stop = Path(output), Event()
    work = Work(output)
    with output_folder(output, overwrite=overwrite) as draft:
        heard = hear(
            model,
            task,
            data=data,
            layer=layer,
            seed=seed,
            device=device,
            cache=cache,
            licence=licence,
            progress=progress,
        )
        material = heard.material(fold)
        identity = {
            "encoder": heard.encoder["key"],
            "layer": layer,
            "data": heard.dataset.sha256,
            "fold": fold,
            "seed": seed,
            "settings": asked.model_dump(),
        }
        started = perf_counter()
        with leaving_nothing(work.folder), work.begin(identity, overwrite=overwrite):

            def train(number: int) -> Fitted:
                return fit_generator(material, asked, number, work=work, progress=progress, stop=stop)

            (fitted,) = side_by_side(train, [seed], stop=stop)
        write(draft, heard, material, fitted, identity, perf_counter() - started)
    shutil.rmtree(work.folder, ignore_errors=True)
    return read_generator(output)


def write(
    folder: Path, heard: Heard, material: Material, fitted: Fitted, identity: Mapping[str, Any], seconds: float
) -> None:
    """Write a generator's folder, with what it was measured to be worth."""
    generator = rounded(fitted.generator)
    write_weights(folder, generator, material)
    bench = make_bench(heard, material, identity["fold"])
    record = {
        "crossfade": __version__,
        "sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
        "encoder": dict(heard.encoder),
        "layer": heard.layer,
        "licence": heard.licence,
        "classes": dict(zip(material.names, material.sizes.tolist(), strict=True)),
        "data": about_data(heard, material, identity["fold"]),
        "settings": identity["settings"],
        "seed": identity["seed"],
        "training": {
            "steps": fitted.looks[-1].step,
            "kept": fitted.best.step,
            "valid": fitted.best.valid,
            "valid_of_real": fitted.reference,
            "damping": fitted.best.damping,
            "collapsed": fitted.collapsed,
            "looks": [asdict(one) for one in fitted.looks],
        },
        "measured": measured(heard, bench, generator, identity),
        "cost": {"seconds": seconds, "threads": torch.get_num_threads()},
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    write_card(folder, record)


def make_bench(heard: Heard, material: Material, fold: int) -> Bench:
    """What a fold's generator is measured on."""
    kept = heard.fold(fold)
    return bench_of(material, heard.features, heard.labels, kept.test, group_numbers(heard.dataset, kept.train))


def about_data(heard: Heard, material: Material, number: int) -> dict[str, Any]:
    """The data that a generator is of, and how large it is: as float32 features, and as encoded sound."""
    fold = heard.fold(number)
    return {
        "task": heard.dataset.task.name,
        "title": heard.dataset.task.title,
        "sha256": heard.dataset.sha256,
        "fold": number,
        "train": len(fold.train),
        "valid": len(fold.valid),
        "test": len(fold.test),
        "skipped": [{"clip": name, "reason": reason} for name, reason in heard.left_out],
        "feature_bytes": material.rows.nbytes,
        "sound_bytes": bytes_on_disk(heard.dataset, fold.train),
    }


def measured(heard: Heard, bench: Bench, generator: Generator, identity: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Recall, leakage and coverage on the fold's test clips: of the generator, two rivals and the full set."""
    per_class = identity["settings"]["per_class"]
    found = measure(bench, generator, rows_of([per_class], ["balanced"], MEASURED), identity["seed"])
    told = []
    for name, row in found.items():
        items = scored(heard, identity["fold"], bench.material.names, row.pop("answers"))
        value = estimate(METRICS["uar"], items)
        told.append({"name": name, "uar": value.value, "interval": value.interval, **row})
    return told


def scored(heard: Heard, fold: int, names: Sequence[str], answers: Sequence[int]) -> list[Scored]:
    """The test clips of a fold with the class, by its place in `names`, that each was given."""
    items = [heard.dataset.items[clip] for clip in heard.fold(fold).test.tolist()]
    return [
        Scored(id=item.id, group=item.group, label=str(item.label), predictions=(names[place],))
        for item, place in zip(items, answers, strict=True)
    ]
