"""Tiny models that the tests here share; nobody changes them."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import prompted
import pytest
import tiny
from torch import nn

from crossfade.probing.padded import PaddedEncoder


@pytest.fixture(scope="session")
def models() -> Callable[[str], nn.Module]:
    """`models(name)`: a frozen random encoder of tiny.CONFIGS[name] as transformers builds it."""
    return cache(lambda name: tiny.model(name, seed=1).requires_grad_(False))


@pytest.fixture(scope="session")
def listeners(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], PaddedEncoder]:
    """`listeners(name)`: the same, hearing clips of any lengths."""
    root: Path = tmp_path_factory.mktemp("prompts")
    return cache(lambda name: prompted.listener(tiny.folder(root / name, name, seed=1)))
