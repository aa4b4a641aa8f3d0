from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes samples to a file below tmp_path, whose folder it makes."""

    def to(name: str, samples: NDArray[np.float64], rate: int = 16000, subtype: str | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate, subtype=subtype, format="OGG" if path.suffix == ".opus" else None)
        return path

    return to
