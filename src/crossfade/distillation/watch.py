"""Looks at the student while it learns: probes on a few tasks; the best student is kept, and there may be an end."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from crossfade.distillation.checkpoints import Work
from crossfade.distillation.recipe import Watch
from crossfade.errors import InputError
from crossfade.probing.kinds import CLIP_KINDS
from crossfade.probing.run import probe
from crossfade.probing.schema import Head
from crossfade.probing.tasks import load_tasks

JOURNAL = "watch.json"


class Watcher:
    """Probes what `write` puts into a folder.

    `watch.json` in the training's folder lists the looks: step, mean, and the score of every task, on its validation
    clips: test clips choose nothing. `best-STEP` there is the student of the look with the highest mean; metrics of
    which less is better count below zero.
    """

    def __init__(self, watch: Watch, work: Work, write: Callable[[Path], None], *, device: str, seed: int) -> None:
        self.watch, self.work, self.write, self.device, self.seed = watch, work, write, device, seed
        self.tasks = [(name, _head(task.kind)) for told in watch.tasks for name, task in _named(told)]

    @property
    def looks(self) -> list[dict[str, Any]]:
        """Every look so far, the first one first."""
        return self.work.read_json(JOURNAL) or []

    @property
    def best(self) -> Path | None:
        """The best student so far."""
        looks = [look for look in self.looks if self._folder(look).is_dir()]
        return self._folder(max(looks, key=lambda look: look["mean"])) if looks else None

    def look(self, step: int) -> bool:
        """Probe the student as it is after `step`; whether the training should stop."""
        with TemporaryDirectory(dir=self.work.folder) as scratch:
            folder = Path(scratch) / "student"
            self.write(folder)
            scores = dict(self._scores(folder, Path(scratch) / "cache"))
            mean = sum(scores.values()) / len(scores)
            before = [look for look in self.looks if look["step"] < step]
            if all(mean > look["mean"] for look in before):
                self._keep(folder, step)
        self.work.write_json(JOURNAL, [*before, {"step": step, "mean": mean, "scores": scores}])
        for path in self.work.folder.glob("best-*"):
            if path != self.best:
                shutil.rmtree(path)
        return self.is_over(step)

    def is_over(self, step: int) -> bool:
        """Whether `patience` looks up to `step` have gone by without a better one."""
        means = [look["mean"] for look in self.looks if look["step"] <= step]
        if self.watch.patience is None or not means:
            return False
        return len(means) - 1 - means.index(max(means)) >= self.watch.patience

    def _scores(self, student: Path, cache: Path) -> Iterator[tuple[str, float]]:
        for task, head in self.tasks:
            (result,) = probe(student, task, head=head, seed=self.seed, device=self.device, cache=cache)
            if result.valid is None:
                raise InputError(f"watch.tasks: {task} has no validation clips, on which students are compared")
            yield result.task.name, result.valid if result.better == "higher" else -result.valid

    def _keep(self, folder: Path, step: int) -> None:
        kept = self._folder({"step": step})
        if kept.exists():
            shutil.rmtree(kept)
        folder.rename(kept)

    def _folder(self, look: dict[str, Any]) -> Path:
        return self.work.folder / f"best-{look['step']}"


def _named(told: str) -> list[tuple[str, Any]]:
    """The tasks that a name stands for, each under a name of its own."""
    tasks = load_tasks(told)
    return [(told, tasks[0])] if len(tasks) == 1 else [(task.name, task) for task in tasks]


def _head(kind: str) -> Head | None:
    """The ridge head, or for kinds that it cannot learn the task's own."""
    return "ridge" if kind in CLIP_KINDS and kind != "verification" else None
