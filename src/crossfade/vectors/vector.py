"""A task vector on disk: the difference of a student from its base, and the student itself, to the bit.

base + (student - base) is not the student in floating point. So a vector's folder holds the difference, in float32, as
an ordinary Hugging Face folder, and below it `student/`, the student as it was stored: what a weight of 1 gives back.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossfade import __version__
from crossfade.encoders.card import write_card
from crossfade.encoders.encoder import Encoder, EncoderWriter, open_encoder, output_infos
from crossfade.encoders.plan import differences
from crossfade.encoders.sidecars import RECORD, read_json
from crossfade.encoders.writer import output_folder, require_space
from crossfade.errors import InputError
from crossfade.merging.shares import PARTS
from crossfade.progress import SILENT, Progress

STUDENT = "student"
TEXT = (
    "A task vector, extracted by Crossfade {version}: the weights of {student} minus those of {base}, in float32. It "
    "is no encoder by itself; `crossfade vector combine` puts it on its base. `{folder}/` holds the student as it was "
    "stored, which is what a weight of exactly 1 gives back."
)


@dataclass(frozen=True)
class Vector:
    """A task vector: `difference` from the base (float32), and the `student` it was taken from.

    `base` says which encoder it stands on (name, revision, sha256 of its weights); `sizes` is the norm of each part of
    the difference over that of the base's part.
    """

    path: Path
    difference: Encoder
    student: Encoder
    base: Mapping[str, Any]
    sha256: str
    sizes: Mapping[str, float]
    files: Mapping[str, str]
    """Hashes of the weights of `difference` and `student` as they were written here."""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    def require_whole(self) -> None:
        """Raises InputError unless both weights are still those that were extracted."""
        for role, encoder in (("difference", self.difference), ("student", self.student)):
            if encoder.sha256 != self.files[role]:
                raise InputError(
                    f"{encoder.folder}: changed since it was extracted: its weights have SHA-256 "
                    f"{encoder.sha256[:12]}…, expected {self.files[role][:12]}…; extract the vector again"
                )

    def to_dict(self) -> dict[str, Any]:
        """Everything but the weights, ready for JSON."""
        return {"path": str(self.path), "base": dict(self.base), "sha256": self.sha256, "sizes": dict(self.sizes)}

    def __repr__(self) -> str:
        return f"Vector({str(self.path)!r} on {self.base['name']!r})"


def extract(
    student: str | Path | Encoder,
    base: str | Path | Encoder,
    output: str | Path,
    *,
    trust_base: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Vector:
    """Write what training made of `base` to `output`: a folder with `student` minus `base`.

    Args:
        student: an encoder that says in its crossfade.json which base it was trained from (`start: base`), by the
            SHA-256 of the base's weights.
        base: that encoder.
        trust_base: take a student that says nothing of its base at its caller's word.

    Raises InputError for a base of another hash, a student that tells none, and encoders of unlike shapes.
    """
    student, base = _opened(student), _opened(base)
    if reasons := differences(base, student):
        raise InputError(f"{student.name} is no student of {base.name}: {'; '.join(reasons)}")
    check_base(student, base, trust_base=trust_base)
    output = Path(output)
    for encoder in (student, base):
        if output.resolve() == encoder.folder.resolve():
            raise InputError(f"{output}: is one of the inputs; choose another output folder")
    with output_folder(output, overwrite=overwrite) as draft:
        require_space(draft, 2 * sum(info.bytes for info in output_infos(student, torch.float32).values()))
        names = student.layout.tensors
        squares: dict[str, tuple[float, float]] = {}
        tensors = _differences(student, base, squares)
        EncoderWriter(draft, student, torch.float32).write_all(
            progress.track(tensors, total=len(names), description="extracting")
        )
        (draft / STUDENT).mkdir()
        copy_encoder(student, draft / STUDENT)
        sizes = {part: (own / under) ** 0.5 for part, (own, under) in squares.items() if under}
        _write_record(draft, student, base, sizes, trusted=trust_base)
    return open_vector(output)


def copy_encoder(encoder: Encoder, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write `encoder` to `folder`, every tensor as it is stored, in the narrowest dtype that holds them all."""
    writer = EncoderWriter(folder, encoder, dtype or encoder.widest_dtype)
    with writer.writer:
        for name in encoder.layout.tensors:
            writer.copy(encoder, name)


def check_base(student: Encoder, base: Encoder, *, trust_base: bool) -> None:
    """InputError unless the student says that it was trained from `base`, or says nothing and is to be trusted."""
    told = told_base(student)
    if told is None:
        if not trust_base:
            raise InputError(
                f"{student.name}: does not say which base it was trained from (crossfade.json with student.start = "
                f"'base'); if you know that it was {base.name}, pass --trust-base"
            )
    elif told["sha256"] != base.sha256:
        raise InputError(
            f"{student.name}: was trained from another base ({told['name']}, SHA-256 {told['sha256'][:12]}…) than "
            f"{base.name} ({base.sha256[:12]}…); give that one"
        )


def told_base(student: Encoder) -> Mapping[str, Any] | None:
    """Name and sha256 of the base that a student's crossfade.json tells, None where it tells none."""
    path = student.folder / RECORD
    if not path.exists():
        return None
    record = read_json(path).get("student")
    if not isinstance(record, Mapping) or record.get("start") != "base":
        return None
    sources = record.get("sources")
    if not isinstance(sources, list) or len(sources) != 1 or not {"name", "sha256"} <= {*sources[0]}:
        raise InputError(f"{path}: student.sources: expected one base with name and sha256, received {sources!r}")
    found: Mapping[str, Any] = sources[0]
    return found


def is_vector(path: str | Path) -> bool:
    """Whether a folder is what `extract` writes."""
    record = Path(path) / RECORD
    return record.is_file() and "vector" in read_json(record)


def open_vector(path: str | Path) -> Vector:
    """A vector by its folder, from headers alone. Raises InputError where it is none, or damaged."""
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; expected a vector, as `crossfade vector extract` writes it")
    if not is_vector(path):
        raise InputError(f"{path}: is no task vector; make one with `crossfade vector extract {path} --base BASE`")
    told = read_json(path / RECORD)["vector"]
    try:
        base = {key: told["base"][key] for key in ("name", "revision", "sha256")}
        sha256, licence = str(told["student"]["sha256"]), told["student"]["licence"]
        sizes, files = dict(told["sizes"]), {role: str(told["files"][role]) for role in ("difference", "student")}
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path / RECORD}: damaged: expected vector.base, student, sizes and files") from None
    if not (path / STUDENT).is_dir():
        raise InputError(f"{path}: damaged: expected the student in {STUDENT}/; extract the vector again")
    student = replace(open_encoder(path / STUDENT), licence=licence)
    return Vector(path, open_encoder(path), student, base, sha256, sizes, files)


def _opened(model: str | Path | Encoder) -> Encoder:
    return model if isinstance(model, Encoder) else open_encoder(model)


def _differences(
    student: Encoder, base: Encoder, squares: dict[str, tuple[float, float]]
) -> Iterator[tuple[str, Tensor]]:
    """(name, student minus base) for every tensor of the student; zero for what the base lacks.

    The squares of each part's difference and base are added up in `squares`.
    """
    for name in student.layout.tensors:
        own = student.read(name)
        if name not in base.stored:
            yield name, torch.zeros_like(own, dtype=torch.float32)
            continue
        under = base.read(name)
        if not own.is_floating_point():
            yield name, own - under
            continue
        difference = own.float() - under.float()
        part = next((key for key, pattern in PARTS.items() if pattern.match(name)), "other")
        known = squares.get(part, (0.0, 0.0))
        squares[part] = known[0] + float(difference.square().sum()), known[1] + float(under.float().square().sum())
        yield name, difference


def _write_record(folder: Path, student: Encoder, base: Encoder, sizes: Mapping[str, float], *, trusted: bool) -> None:
    """crossfade.json and the model card."""
    described = {
        role: {"name": one.name, "revision": one.revision, "sha256": one.sha256, "licence": one.licence}
        for role, one in (("student", student), ("base", base))
    }
    files = {"difference": open_encoder(folder).sha256, "student": open_encoder(folder / STUDENT).sha256}
    told = {**described, "trusted": trusted, "sizes": dict(sizes), "files": files}
    record = {"crossfade": __version__, "vector": told}
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    rows = [f"| {part} | {size:.3f} |" for part, size in sizes.items()]
    names = [Path(one.name.partition("@")[0]).name for one in (student, base)]
    write_card(
        folder,
        title=f"{names[0]} - {names[1]}",
        text=TEXT.format(version=__version__, student=names[0], base=names[1], folder=STUDENT),
        inputs={"student": student, "base": base},
        recipe={"student": student.name, "base": base.name, "trust_base": trusted},
        sections=["## Size", "\n".join(["| part | norm, of the base's |", "|---|---|", *rows])],
    )
