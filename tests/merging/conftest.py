"""Models and sounds that the merging tests share: made once, never changed."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import tiny


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Folders of two unlike encoders of an architecture of tiny.CONFIGS: REFERENCE and OTHER."""

    @cache
    def make(name: str) -> tuple[Path, Path]:
        home = tmp_path_factory.mktemp(name)
        return tiny.folder(home / "speech", name, 1), tiny.folder(home / "music", name, 2)

    return make


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of what REFERENCE is for and of what OTHER is for."""
    home = tmp_path_factory.mktemp("sounds")
    return tiny.sounds(home / "speech", 0), tiny.sounds(home / "music", 1)


@pytest.fixture(scope="session")
def hubert(pair: Callable[[str], tuple[Path, Path]]) -> tuple[Path, Path]:
    return pair("hubert")
