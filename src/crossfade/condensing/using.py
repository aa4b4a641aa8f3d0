"""`crossfade.condensing.sample` and `train`: points out of a generator, a classifier out of points."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from crossfade import __version__
from crossfade.condensing.artefact import WEIGHTS, read_document, read_generator
from crossfade.condensing.classifier import Classifier, fit_classifiers
from crossfade.condensing.points import Points, Prior, read_points, write_points
from crossfade.encoders.sidecars import CONFIG, RECORD
from crossfade.encoders.writer import output_folder, require_space
from crossfade.errors import InputError
from crossfade.probing.results import require_free

KIND = "crossfade-feature-classifier"
PARTS = ("mean", "deviation", "weights", "bias")
PER_CLASS = 50


@dataclass(frozen=True)
class Sampled:
    """A file of points: how many, of which classes, their bytes, and how many a second were made."""

    path: Path
    points: int
    classes: Mapping[str, int]
    bytes: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "points_per_second": self.points / self.seconds}


@dataclass(frozen=True)
class Trained:
    """A classifier of one encoder's features: `classes` in the order of its scores, `about` what it was trained on."""

    path: Path
    classifier: Classifier
    classes: tuple[str, ...]
    about: Mapping[str, Any]

    def name(self, features: Tensor) -> list[str]:
        """The likeliest class of each row of features (rows, width)."""
        return [self.classes[place] for place in self.classifier.classes(features).tolist()]

    def to_dict(self) -> dict[str, Any]:
        """All but the weights, ready for JSON."""
        damping = {"damping": self.classifier.damping}
        return {"path": str(self.path), "classes": list(self.classes), **damping, **self.about}


def sample(
    generator: str | Path,
    output: str | Path,
    per_class: int = PER_CLASS,
    *,
    prior: Prior = "balanced",
    seed: int = 0,
    overwrite: bool = False,
) -> Sampled:
    """Make points of a generator and write them as safetensors: `features` (points, width), `classes` (points,).

    per_class: of each where the prior is balanced; "original" divides as many in all as the real clips are divided.
    Raises InputError: no generator, less than one point, more than disk or memory has room for, an existing output
    without `overwrite`.
    """
    require_free(output, overwrite=overwrite)
    own = read_generator(generator)
    try:
        require_space(Path(output).absolute().parent, per_class * len(own.names) * own.point_bytes)
    except InputError as error:
        raise InputError(f"--per-class {per_class}: {error}") from None
    started = perf_counter()
    points = own.sample(per_class, prior, seed=seed)
    seconds = perf_counter() - started
    write_points(output, points, overwrite=overwrite)
    counts = points.classes.bincount(minlength=len(points.names)).tolist()
    classes = dict(zip(points.names, counts, strict=True))
    return Sampled(Path(output), len(points.classes), classes, points.nbytes, seconds)


def train(
    source: str | Path,
    output: str | Path,
    *,
    per_class: int | None = None,
    prior: Prior | None = None,
    damping: float | None = None,
    seed: int | None = None,
    overwrite: bool = False,
) -> Trained:
    """Train a classifier on a file of points, or on points that a generator makes for it, and write its folder.

    per_class (50), prior (balanced) and seed (0) are for a generator alone. damping: by default the one that was best
    on validation clips when the generator was fitted. Raises InputError: neither points nor a generator, options that
    points cannot heed, a damping that is below 0 or not finite, points of one class, an existing output without
    `overwrite`.
    """
    points = _points(Path(source), per_class, prior, seed)
    damping = points.about["damping"] if damping is None else damping
    if not (isfinite(damping) and damping >= 0):
        raise InputError(f"--damping {damping:g}: expected a finite number, 0 or more")
    if int((points.classes.bincount() > 0).sum()) < 2:
        raise InputError(f"{source}: points of one class only; expected two classes or more")
    (found,) = fit_classifiers(points.features, points.classes, len(points.names), (damping,))
    about = {**points.about, "points": len(points.classes)}
    with output_folder(Path(output), overwrite=overwrite) as draft:
        config = {"model_type": KIND, "classes": list(points.names), "damping": damping}
        (draft / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        (draft / RECORD).write_text(json.dumps({"crossfade": __version__, **about}, indent=2) + "\n")
        tensors = {name: getattr(found, name).contiguous() for name in PARTS}
        (draft / WEIGHTS).write_bytes(save(tensors, {"format": "pt"}))
    return Trained(Path(output), found, points.names, about)


def read_classifier(path: str | Path) -> Trained:
    """A classifier that `train` wrote. Raises InputError for a folder that holds none."""
    folder, wanted = Path(path), "expected a folder of `crossfade distill-data train`"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; {wanted}")
    config, about = (read_document(folder, name, wanted) for name in (CONFIG, RECORD))
    try:
        tensors = load_file(folder / WEIGHTS)
        classifier = Classifier(**{name: tensors[name] for name in PARTS}, damping=float(config["damping"]))
        classes = tuple(config["classes"])
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: no classifier ({' '.join(str(error).split())[:120]}); {wanted}") from None
    return Trained(folder, classifier, classes, about)


def _points(source: Path, per_class: int | None, prior: Prior | None, seed: int | None) -> Points:
    if source.is_dir():
        asked_for = PER_CLASS if per_class is None else per_class
        return read_generator(source).sample(asked_for, prior or "balanced", seed=seed or 0)
    asked = {"--per-class": per_class, "--prior": prior, "--seed": seed}
    if given := [name for name, value in asked.items() if value is not None]:
        raise InputError(f"{given[0]}: {source} holds its points already; leave it out, or give a generator")
    points = read_points(source)
    if "damping" not in points.about:
        raise InputError(f"{source}: its metadata name no damping; write it with `crossfade distill-data sample`")
    return points
