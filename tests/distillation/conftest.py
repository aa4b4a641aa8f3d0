"""What most tests of distillation need, made once and never changed."""

from pathlib import Path

import pytest
from distilling import materials


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return materials(tmp_path_factory.mktemp("distillation"))
