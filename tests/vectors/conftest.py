"""A tiny base, two students of it and their vectors, made once, never changed."""

from pathlib import Path

import pytest
import tiny
from grown import student_of

from crossfade.vectors import extract


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """base, speech and music; their vectors."""
    home = tmp_path_factory.mktemp("family")
    base = tiny.folder(home / "base", "hubert", 1)
    found = {"base": base}
    for seed, name in enumerate(("speech", "music"), start=2):
        found[name] = student_of(base, home / name, seed)
        found[f"{name}-vector"] = extract(found[name], base, home / f"{name}-vector").path
    return found
