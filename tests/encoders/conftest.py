"""Tiny encoders that the tests here share; nobody changes them."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import tiny


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`folders(name)`: the folder of a random encoder of tiny.CONFIGS[name]."""
    root = tmp_path_factory.mktemp("encoders")
    return cache(lambda name: tiny.folder(root / name, name, seed=1))
