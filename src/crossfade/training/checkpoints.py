"""A training's folder beside its output: checkpoints that are whole, and what the training is of."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from crossfade.documents import first_difference
from crossfade.encoders.writer import require_space
from crossfade.errors import InputError
from crossfade.locks import held
from crossfade.probing.results import write_file

KEPT = 2
"""Checkpoints: the last one, and one before it should the last one be damaged."""

FILES = "files.json"
"""What lies in a checkpoint: the size of every file, written last."""


class Work:
    """`.NAME.work` beside an output NAME; made when it is first written to.

    `checkpoint-STEP` are whole: each is written under another name, `draft`, and then renamed.
    """

    def __init__(self, output: Path) -> None:
        output = output.resolve()
        self.name = output.name
        self.folder = output.with_name(f".{output.name}.work")
        self.draft = self.folder / "draft"

    @contextmanager
    def begin(self, identity: Mapping[str, Any], *, overwrite: bool) -> Iterator[None]:
        """Note what is trained here, or see that it is the same as what was trained here before; then it is ours.

        With `overwrite` another training's folder is emptied; without, InputError names the first difference. So it
        does where a training of this folder is running.
        """
        known = self.folder.exists()
        with held(self.folder, "another training of this output is running"):
            path = self.folder / "run.json"
            difference = known and first_difference(_read(path) or {}, json.loads(json.dumps(identity)))
            if difference and not overwrite:
                raise InputError(
                    f"{self.folder}: holds another training: {difference}; pass --overwrite to begin again, or choose "
                    "another output folder"
                )
            if difference:
                for child in self.folder.iterdir():
                    shutil.rmtree(child) if child.is_dir() else child.unlink()
            self._write(path, identity)
            yield

    def write_json(self, name: str, content: Any) -> None:
        """Write a file of this folder, whole or not at all."""
        self._write(self.folder / name, content)

    def read_json(self, name: str) -> Any:
        """What `write_json` wrote, or None."""
        return _read(self.folder / name)

    def _write(self, path: Path, content: Any) -> None:
        write_file(path, json.dumps(content, indent=1) + "\n", overwrite=True)

    def last(self) -> Path | None:
        """The newest checkpoint whose files are all as long as they were written; None where there is none."""
        return next((path for path in self._checkpoints() if _whole(path)), None)

    def _checkpoints(self) -> list[Path]:
        """From the newest on."""
        return sorted(self.folder.glob("checkpoint-[0-9]*"), key=step_of, reverse=True)

    @contextmanager
    def checkpoint(self, step: int, needed: int) -> Iterator[Path]:
        """A folder to write checkpoint number `step` in, of about `needed` bytes; older ones are deleted after it.

        Raises InputError where it cannot be written; then the last good one is as it was.
        """
        name = f"checkpoint-{step}"
        shutil.rmtree(self.draft, ignore_errors=True)
        try:
            require_space(self.folder, needed)
            (self.draft / name).mkdir(parents=True)
            yield self.draft / name
            sizes = {path.name: path.stat().st_size for path in (self.draft / name).iterdir()}
            (self.draft / name / FILES).write_text(json.dumps(sizes))
        except (OSError, RuntimeError, SafetensorError, InputError) as error:
            shutil.rmtree(self.draft, ignore_errors=True)
            raise InputError(self._unwritten(step, error)) from error
        target = self.folder / name
        if target.exists():
            shutil.rmtree(target)
        os.replace(self.draft / name, target)
        shutil.rmtree(self.draft)
        for path in self._checkpoints()[KEPT:]:
            shutil.rmtree(path)

    def _unwritten(self, step: int, error: Exception) -> str:
        good = self.last()
        kept = f"{good.name} is kept, and the same command goes on from it" if good else "there is none before it"
        reason = " ".join(str(error).split())[:200]
        return f"{self.folder}: checkpoint-{step} cannot be written ({reason}); {kept}; make room first"


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def _whole(checkpoint: Path) -> bool:
    sizes = _read(checkpoint / FILES) or {}
    return bool(sizes) and all(
        (checkpoint / name).is_file() and (checkpoint / name).stat().st_size == size for name, size in sizes.items()
    )


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
