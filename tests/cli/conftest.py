"""Tiny models and sounds for the command line, made once, never changed; and how to run it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from folders import contents

from crossfade.cli.main import main


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two encoders of one architecture, their ancestor, and encoders that fit neither."""
    home = tmp_path_factory.mktemp("models")
    return {
        "speech": tiny.folder(home / "speech", "hubert", 1),
        "music": tiny.folder(home / "music", "hubert", 2),
        "ancestor": tiny.folder(home / "ancestor", "hubert", 3),
        "another family": tiny.folder(home / "family", "wav2vec2", 2),
        "another width": tiny.folder(home / "width", "hubert", 2, hidden_size=96),
        "another depth": tiny.folder(home / "depth", "hubert", 2, num_hidden_layers=2),
        "another norm": tiny.folder(home / "norm", "hubert", 2, do_stable_layer_norm=True),
        "another sampling rate": tiny.folder(home / "rate", "hubert", 2, preprocessor={"sampling_rate": 24000}),
        "another frame rate": tiny.folder(home / "frames", "hubert", 2, conv_stride=[5, 4, 4]),
    }


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder of sounds for each of speech and music."""
    home = tmp_path_factory.mktemp("clips")
    for seed, name in enumerate(("speech", "music")):
        tiny.sounds(home / name, seed)
    return home


@pytest.fixture
def done(capsys: pytest.CaptureFixture[str]) -> Callable[[list[Any]], dict[str, Any]]:
    """Run words to a good end; gives the last line of output, read as JSON."""

    def run(words: list[Any]) -> dict[str, Any]:
        capsys.readouterr()
        assert main([*map(str, words), "--json"]) == 0
        printed = capsys.readouterr()
        assert "error" not in printed.err
        facts: dict[str, Any] = json.loads(printed.out.splitlines()[-1])
        return facts

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[[list[Any]], str]:
    """Run words into a refusal: one line, exit 2, and nothing below tmp_path has changed. Gives the line."""

    def run(words: list[Any]) -> str:
        before = contents(tmp_path)
        capsys.readouterr()
        assert main([*map(str, words)]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1
        assert contents(tmp_path) == before
        return printed.err

    return run
