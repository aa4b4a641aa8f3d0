"""`crossfade.vectors.combine`: a base and any number of task vectors, each times its weight, as one encoder."""

import json
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isclose
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossfade import __version__
from crossfade.encoders.card import write_card
from crossfade.encoders.encoder import Encoder, EncoderWriter, open_encoder, output_infos
from crossfade.encoders.plan import differences
from crossfade.encoders.sidecars import RECORD
from crossfade.encoders.writer import output_folder, require_space
from crossfade.errors import InputError, nearest
from crossfade.merging.arithmetic import add
from crossfade.merging.engine import DTYPES
from crossfade.merging.methods import Method, find_vector_method
from crossfade.merging.shares import WEIGHT, Shares, read_shares
from crossfade.parallel import side_by_side
from crossfade.progress import SILENT, Progress
from crossfade.vectors.vector import Vector, copy_encoder, open_vector

Weights = Sequence[tuple[str | Path | Vector, float | Mapping[str, Any]]]


@dataclass(frozen=True)
class Combined:
    """An encoder made of a base and task vectors; `path` is its folder.

    `exact` names the encoder whose weights these are to the bit: the base's, or a student's; None for a true mixture.
    """

    path: Path
    recipe: Mapping[str, Any]
    exact: str | None
    parameters: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self) | {"path": str(self.path)}

    def __repr__(self) -> str:
        weights = ", ".join(f"{one['vector']}={one['weight']}" for one in self.recipe["vectors"])
        return f"Combined({str(self.path)!r}, {self.recipe['method']}, {weights})"


@dataclass(frozen=True)
class Sum:
    """What is to be put together: vectors in an order that does not depend on how they were named, a weight each."""

    base: Encoder
    vectors: tuple[Vector, ...]
    shares: tuple[Shares, ...]
    method: Method
    settings: Mapping[str, Any]
    seed: int = 0

    @property
    def plain(self) -> bool:
        """Whether a weight of 1 means the student: the method adds, and nothing is scaled."""
        return self.method.function is add and self.settings.get("scale", 1.0) == 1.0

    def active(self, name: str) -> list[tuple[Vector, float]]:
        """The vectors that count for a tensor, with their weights."""
        weights = [(one, share.of(name)) for one, share in zip(self.vectors, self.shares, strict=True)]
        return [(one, weight) for one, weight in weights if weight]

    def source(self, name: str) -> Encoder | None:
        """Whose tensor this is to the bit: the base's where no vector counts, a student's at a weight of 1."""
        active = self.active(name)
        if not active:
            return self.base
        (vector, weight) = active[0]
        return vector.student if self.plain and len(active) == 1 and weight == 1 else None

    def whole(self) -> Encoder | None:
        """The encoder that all of this is, to the bit."""
        sources = {id(source): source for name in self.base.layout.tensors for source in [self.source(name)]}
        return next(iter(sources.values())) if len(sources) == 1 else None

    def exact(self, dtype: torch.dtype) -> Encoder | None:
        """The same, where `dtype` can hold its values."""
        whole = self.whole()
        return whole if whole and torch.promote_types(whole.widest_dtype, dtype) == dtype else None

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name, float32. What a vector lacks, and counters, are the base's."""
        under = self.base.read(name)
        active = [(one, weight) for one, weight in self.active(name) if name in one.difference.stored]
        if not under.is_floating_point() or not active:
            return under
        seed = self.seed ^ zlib.crc32(name.encode())
        provided = {
            "base": under.float(),
            "vectors": [one.difference.read(name) for one, _ in active],
            "weights": [weight for _, weight in active],
            "generator": torch.Generator().manual_seed(seed),
        }
        found = self.method(self.settings, **provided)
        shape = tuple(getattr(found, "shape", ()))
        if shape != tuple(under.shape):
            raise InputError(f"method {self.method.name}: expected {tuple(under.shape)} for {name}, received {shape}")
        return found

    @property
    def dtype(self) -> torch.dtype:
        """The widest dtype of what counts."""
        if whole := self.whole():
            return whole.widest_dtype
        counting = {id(one): one for name in self.base.layout.tensors for one, _ in self.active(name)}
        found = self.base.widest_dtype
        for vector in counting.values():
            found = torch.promote_types(found, vector.student.widest_dtype)
        return found

    def write(self, folder: Path, dtype: torch.dtype, progress: Progress = SILENT) -> None:
        """Write it as a Hugging Face folder, without record and card."""
        if whole := self.whole():
            copy_encoder(whole, folder, dtype)
            return
        writer = EncoderWriter(folder, self.base, dtype)
        names = list(self.base.layout.tensors)

        def found(name: str) -> Tensor | Encoder:
            source = self.source(name)
            return source if source is not None and name in source.stored else self.tensor(name)

        with writer.writer:
            made = zip(names, side_by_side(found, names), strict=True)
            for name, value in progress.track(made, total=len(names), description="combining"):
                if isinstance(value, Encoder):
                    writer.copy(value, name)
                else:
                    writer.write(name, value)


def combine(
    weights: Weights | Mapping[str, float | Mapping[str, Any]],
    output: str | Path,
    *,
    base: str | Path | Encoder | None = None,
    method: str = "task-arithmetic",
    parameters: Mapping[str, Any] | None = None,
    total: float | None = None,
    dtype: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Combined:
    """Put task vectors on their base and write the encoder to `output`, an ordinary Hugging Face folder.

    With task-arithmetic (at scale 1) a single vector at weight 1 gives its student, and no vector, or weights of 0, the
    base: to the bit. The order of vectors changes nothing; a vector that is named twice has the sum of its weights.

    Args:
        weights: vectors' folders and their weights: of any sign and size, or tables by part and layer, as the shares of
            `crossfade.merge` are.
        base: the encoder that they stand on; the one that the vectors name by default.
        method: task-arithmetic, ties, ties-secondary, dare, or FILE.py:NAME; `parameters` are its settings.
        total: what the weights must add up to; None: anything.
        dtype: "float32", "float16" or "bfloat16"; the widest of what counts by default.
        seed: draws what DARE drops.

    Raises InputError for vectors of different bases or shapes, weights of another sum, and an existing output.
    """
    started = time.monotonic()
    listed = list(weights.items() if isinstance(weights, Mapping) else weights)
    summed = plan_sum(listed, base, method, parameters, total, seed)
    output, stored = Path(output), _target(dtype) or summed.dtype
    for folder in (summed.base.folder, *(one.path for one in summed.vectors)):
        if output.resolve() == folder.resolve():
            raise InputError(f"{output}: is one of the inputs; choose another output folder")
    with output_folder(output, overwrite=overwrite) as draft:
        like = summed.whole() or summed.base
        require_space(draft, sum(info.bytes for info in output_infos(like, stored).values()))
        summed.write(draft, stored, progress)
        recipe = describe(summed, listed, dtype=stored)
        exact = summed.exact(stored)
        write_record(draft, summed, recipe, exact)
    return Combined(output, recipe, exact.name if exact else None, like.layout.parameters, time.monotonic() - started)


def plan_sum(
    weights: Weights,
    base: str | Path | Encoder | None = None,
    method: str = "task-arithmetic",
    parameters: Mapping[str, Any] | None = None,
    total: float | None = None,
    seed: int = 0,
) -> Sum:
    """Everything of `combine` that can be refused before a weight is read."""
    chosen = find_vector_method(method)
    opened = [(one if isinstance(one, Vector) else open_vector(one), weight) for one, weight in weights]
    found = _base([one for one, _ in opened], base)
    if total is not None:
        _check_total([weight for _, weight in opened], total)
    layers = found.layout.settings["num_hidden_layers"]
    by_hash: dict[str, tuple[Vector, Shares]] = {}
    for vector, weight in opened:
        shares = _shares(vector, weight, layers)
        if vector.sha256 in by_hash:
            shares = _twice(vector, by_hash[vector.sha256][1], shares)
        by_hash[vector.sha256] = vector, shares
    ordered = [by_hash[key] for key in sorted(by_hash)]
    settings = chosen.check_settings(parameters or {})
    for vector, _ in ordered:
        vector.require_whole()
    return Sum(found, tuple(one for one, _ in ordered), tuple(one for _, one in ordered), chosen, settings, seed)


def _base(vectors: Sequence[Vector], base: str | Path | Encoder | None) -> Encoder:
    """The encoder that all vectors stand on, whose weights are those that they were taken from."""
    if not vectors:
        if base is None:
            raise InputError("nothing to combine; expected a base, or VECTOR=WEIGHT")
        return base if isinstance(base, Encoder) else open_encoder(base)
    first = vectors[0]
    for other in vectors[1:]:
        if other.base["sha256"] != first.base["sha256"]:
            raise InputError(
                f"{first.path} and {other.path} stand on different bases ({first.base['name']} and "
                f"{other.base['name']}, by their hashes); vectors add only on one"
            )
    if base is None:
        named = first.base["name"]
        try:
            found = open_encoder(named)
        except InputError as error:
            raise InputError(f"{first.path}: its base cannot be opened ({error}); say where it is now") from None
    else:
        found = base if isinstance(base, Encoder) else open_encoder(base)
    for vector in vectors:
        if reasons := differences(found, vector.difference):
            raise InputError(f"{vector.path} does not fit {found.name}: {'; '.join(reasons)}")
    if found.sha256 != first.base["sha256"]:
        raise InputError(
            f"{found.name} (SHA-256 {found.sha256[:12]}…) is not the base of {first.path}, which is "
            f"{first.base['name']} ({first.base['sha256'][:12]}…)"
        )
    return found


def _shares(vector: Vector, weight: Any, layers: int) -> Shares:
    try:
        return read_shares(weight, layers, WEIGHT)
    except InputError as error:
        raise InputError(f"{vector.path}: {error}") from None


def _twice(vector: Vector, one: Shares, other: Shares) -> Shares:
    if one != Shares(one.default) or other != Shares(other.default):
        raise InputError(f"{vector.path}: given twice, with weights by part; give it once")
    return Shares(one.default + other.default)


def _check_total(weights: Sequence[Any], total: float) -> None:
    if any(isinstance(weight, Mapping) for weight in weights):
        raise InputError(f"weights by part and layer have no one sum; leave out the sum of {total:g}, or give numbers")
    if not isclose(sum(weights), total, abs_tol=1e-6):
        told = " + ".join(f"{weight:g}" for weight in weights)
        raise InputError(f"weights: {told} = {sum(weights):g}, expected a sum of {total:g}")


def _target(dtype: str | None) -> torch.dtype | None:
    if dtype not in (None, *DTYPES):
        raise InputError(f"dtype: {dtype!r} cannot be written; {nearest(str(dtype), DTYPES)}")
    return DTYPES[dtype] if dtype else None


def describe(summed: Sum, weights: Weights, dtype: torch.dtype) -> dict[str, Any]:
    """All that is needed to make it again."""
    return {
        "base": summed.base.name,
        "vectors": [
            {"vector": str(one.path if isinstance(one, Vector) else one), "weight": weight} for one, weight in weights
        ],
        "method": summed.method.name,
        "parameters": dict(summed.settings),
        "dtype": str(dtype).removeprefix("torch."),
        "seed": summed.seed,
    }


def write_record(folder: Path, summed: Sum, recipe: Mapping[str, Any], exact: Encoder | None) -> None:
    """crossfade.json for programs, README.md for people."""
    recipe = json.loads(json.dumps(dict(recipe)))
    vectors = {f"vector {number}": one.student for number, one in enumerate(summed.vectors, start=1)}
    encoders = {"base": summed.base, **vectors}
    described = {
        role: {"name": one.name, "sha256": one.sha256, "licence": one.licence} for role, one in encoders.items()
    }
    notes = [f"these are the weights of {exact.name}, to the bit"] if exact else []
    record = {"crossfade": __version__, "combined": recipe, "inputs": described, "notes": notes}
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    names = [Path(summed.base.name.partition("@")[0]).name, *(one.name for one in summed.vectors)]
    write_card(
        folder,
        title=" + ".join(names),
        text=f"An audio encoder: {names[0]} with {len(names) - 1} task vectors on it, by Crossfade {__version__}.",
        inputs=encoders,
        recipe={key: value for key, value in recipe.items() if value not in (None, [], {})},
        sections=["## Notes", "\n".join(f"- {note}" for note in notes)] if notes else [],
    )
