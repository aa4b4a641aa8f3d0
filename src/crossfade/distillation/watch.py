"""Looks at the student while it learns: probes on a few tasks; the best student is kept, and there may be an end."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from crossfade.distillation.recipe import Watch
from crossfade.errors import InputError
from crossfade.probing.kinds import CLIP_KINDS
from crossfade.probing.run import probe
from crossfade.probing.schema import Head
from crossfade.probing.tasks import load_tasks
from crossfade.training.checkpoints import Work
from crossfade.training.looks import Looks


class Watcher(Looks):
    """Probes the student on the validation clips of each task: test clips choose nothing.

    Metrics of which less is better count below zero.
    """

    def __init__(self, watch: Watch, work: Work, write: Callable[[Path], None], *, device: str, seed: int) -> None:
        super().__init__(work, write, watch.patience)
        self.device, self.seed = device, seed
        self.tasks = [(name, _head(task.kind)) for told in watch.tasks for name, task in _named(told)]

    def _scores(self, student: Path, cache: Path) -> Iterator[tuple[str, float]]:
        for task, head in self.tasks:
            (result,) = probe(student, task, head=head, seed=self.seed, device=self.device, cache=cache)
            if result.valid is None:
                raise InputError(f"watch.tasks: {task} has no validation clips, on which students are compared")
            yield result.task.name, result.valid if result.better == "higher" else -result.valid


def _named(told: str) -> list[tuple[str, Any]]:
    """The tasks that a name stands for, each under a name of its own."""
    tasks = load_tasks(told)
    return [(told, tasks[0])] if len(tasks) == 1 else [(task.name, task) for task in tasks]


def _head(kind: str) -> Head | None:
    """The ridge head, or for kinds that it cannot learn the task's own."""
    return "ridge" if kind in CLIP_KINDS and kind != "verification" else None
