"""Tiny encoders and audio that the tests here share; nobody changes them."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import soundfile
import tiny

from crossfade.encoders.encoder import Encoder, open_encoder


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Encoder]:
    """`encoders(name, seed)`: a random encoder of tiny.CONFIGS[name], on disk."""
    root = tmp_path_factory.mktemp("encoders")
    return cache(lambda name, seed: open_encoder(tiny.folder(root / f"{name}-{seed}", name, seed)))


@pytest.fixture(scope="session")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ten short recordings at 16 kHz."""
    folder = tmp_path_factory.mktemp("audio")
    for number in range(10):
        soundfile.write(folder / f"{number}.wav", 0.1 * tiny.waveform(number, 1, 4000)[0].numpy(), 16000)
    return folder
