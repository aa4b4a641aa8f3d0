"""What a sweep or a search mixes: vectors, or students that become vectors on the way, on one base."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crossfade.encoders.encoder import Encoder, open_encoder
from crossfade.errors import InputError
from crossfade.vectors.vector import Vector, extract, is_vector, open_vector


@dataclass(frozen=True)
class Operands:
    """Things to be mixed, by their names: as encoders, and as vectors on `base` where there is one."""

    base: Encoder | None
    encoders: dict[str, Encoder]
    vectors: tuple[Vector, ...]

    @property
    def names(self) -> list[str]:
        """The folders' names, in the order given."""
        return list(self.encoders)


def open_operands(
    base: str | Path | Encoder | None, given: Sequence[str | Path], work: Path, *, trust_base: bool = False
) -> Operands:
    """Open vectors and students; students' vectors are extracted into `work`, once.

    Without a base they are encoders that only merge methods can mix. Raises InputError for fewer than one, two of one
    name, and as `extract` and `open_vector` do.
    """
    require_some(given)
    names = [Path(str(one).partition("@")[0]).resolve().name for one in given]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two of the vectors are named '{twice[0]}'; rename one of the folders")
    if base is None:
        encoders = [open_vector(one).student if is_vector(one) else open_encoder(one) for one in given]
        return Operands(None, dict(zip(names, encoders, strict=True)), ())
    under = base if isinstance(base, Encoder) else open_encoder(base)
    vectors = [
        open_vector(one) if is_vector(one) else _extracted(one, under, work / "vectors" / name, trust_base)
        for one, name in zip(given, names, strict=True)
    ]
    return Operands(under, {name: one.student for name, one in zip(names, vectors, strict=True)}, tuple(vectors))


def require_some(given: Sequence[str | Path]) -> None:
    """InputError where nothing is given."""
    if not given:
        raise InputError("expected vectors or students after the base; received none")


def _extracted(student: str | Path, base: Encoder, folder: Path, trust_base: bool) -> Vector:
    """The student's vector, from an earlier run where it is of these very weights; known by the student's name."""
    opened = open_encoder(student)
    if folder.exists():
        known = open_vector(folder)
        if (known.sha256, known.base["sha256"]) == (opened.sha256, base.sha256):
            return replace(known, path=Path(student))
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return replace(extract(opened, base, folder, trust_base=trust_base), path=Path(student))
