"""Where results are written: existing folders, full disks, runs that end half-way."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from folders import contents

Models = dict[str, Path]
Done = Callable[[list[Any]], dict[str, Any]]
Refused = Callable[[list[Any]], str]


def merging(models: Models, output: Path, *more: str) -> list[Any]:
    return ["merge", models["speech"], models["music"], "--align", "none", "-o", output, *more]


@pytest.mark.parametrize("verb", ["align", "merge"])
def test_an_existing_output(verb: str, models: Models, tmp_path: Path, done: Done, refused: Refused) -> None:
    pair, how = [models["speech"], models["music"]], {"align": "--method", "merge": "--align"}[verb]
    words = [verb, *pair, how, "weights", "-o", tmp_path / "out"]
    done(words)
    line = refused(words)
    assert f"{tmp_path / 'out'}: already exists; pass --overwrite to replace it" in line
    (tmp_path / "out" / "stale.txt").write_text("old")
    done([*words, "--overwrite"])
    assert not (tmp_path / "out" / "stale.txt").exists()


def test_outputs_that_are_no_models(models: Models, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("mine")
    for name, message in (("file", "is a file, expected a folder"), ("photos", "it is no model's folder")):
        assert message in refused(merging(models, tmp_path / name, "--overwrite"))
    copy = shutil.copytree(models["speech"], tmp_path / "speech")
    line = refused(merging(models | {"speech": copy}, copy, "--overwrite"))
    assert f"{copy}: is one of the inputs; choose another output folder" in line


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("verb", ["align", "merge"])
def test_a_disk_that_fills_up(verb: str, models: Models, tmp_path: Path, done: Done, refused: Refused) -> None:
    """The kernel ends a write for real here: no file may grow beyond 100 kB."""
    pair, how = [models["speech"], models["music"]], {"align": "--method", "merge": "--align"}[verb]
    words = [verb, *pair, how, "weights"]
    done([*words, "-o", tmp_path / "old"])
    for output in (["-o", tmp_path / "new"], ["-o", tmp_path / "old", "--overwrite"]):
        with files_of_at_most(100_000):
            line = refused([*words, *output])
        assert f"{output[1]}: disk full: " in line
        assert "make room or choose another output folder" in line


def test_a_disk_with_too_little_room(
    models: Models, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    aligning = ["align", models["speech"], models["music"], "--method", "weights", "-o", tmp_path / "out"]
    for words in (merging(models, tmp_path / "deep" / "out"), aligning):
        line = refused(words)
        assert "bytes are needed, 1,000 are free; make room or choose another output folder" in line


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["pwrite", "mkdir"])
def test_a_kernel_that_says_full(
    call: str, code: int, models: Models, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, full)
    line = refused(merging(models, tmp_path / "out"))
    assert f"{tmp_path / 'out'}: " in line
    assert "choose another output folder" in line


# Ended half-way -----------------------------------------------------------------------------------------------------

SLOW = """
import itertools, time
calls = itertools.count(1)

def slow(reference, other, weight):
    call = next(calls)
    if call == 20:
        print("half-way", flush=True)
    if call >= 20:
        time.sleep(1)
    return weight * reference + (1 - weight) * other
"""


def ended(number: signal.Signals, words: list[Any], home: Path) -> int:
    """Run a merge in a process of its own, send the signal half-way, and return the exit code."""
    (home / "slow.py").write_text(SLOW)
    words = [*map(str, words), "--method", f"{home / 'slow.py'}:slow", "--quiet"]
    script = "from crossfade.cli.main import run; run()"
    with subprocess.Popen(
        [sys.executable, "-c", script, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"half-way\n"
        assert any(path.name.endswith(".partial") for path in home.iterdir())
        run.send_signal(number)
        out, err = run.communicate(timeout=60)
    assert out == b""
    assert b"Traceback" not in err
    return run.returncode


def test_a_run_that_is_told_to_stop_leaves_nothing(models: Models, tmp_path: Path, done: Done) -> None:
    done(merging(models, tmp_path / "out"))
    before = contents(tmp_path / "out")
    assert ended(signal.SIGTERM, merging(models, tmp_path / "out", "--overwrite"), tmp_path) == 143
    assert contents(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == ["out", "slow.py"]


def test_after_a_run_that_was_killed_the_next_one_cleans_up(models: Models, tmp_path: Path, done: Done) -> None:
    done(merging(models, tmp_path / "out"))
    before = contents(tmp_path / "out")
    assert ended(signal.SIGKILL, merging(models, tmp_path / "out", "--overwrite"), tmp_path) == -signal.SIGKILL
    assert contents(tmp_path / "out") == before
    assert [path.name for path in tmp_path.glob(".*")] != []
    done(merging(models, tmp_path / "out", "--overwrite", "--weight", "0.5"))
    assert [path.name for path in tmp_path.glob(".*")] == []
    assert contents(tmp_path / "out") != before
