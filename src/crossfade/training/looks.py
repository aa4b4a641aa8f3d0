"""Looks at a model while it learns: the best one is kept, and there may be an end."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from crossfade.training.checkpoints import Work

JOURNAL = "watch.json"


class Looks(ABC):
    """Judges what `write` puts into a folder.

    `watch.json` in the training's folder lists the looks: step, mean, and every score, the higher the better.
    `best-STEP` there is the model of the look with the highest mean.
    """

    def __init__(self, work: Work, write: Callable[[Path], None], patience: int | None) -> None:
        self.work, self.write, self.patience = work, write, patience

    @property
    def looks(self) -> list[dict[str, Any]]:
        """Every look so far, the first one first."""
        return self.work.read_json(JOURNAL) or []

    @property
    def best(self) -> Path | None:
        """The best model so far."""
        looks = [look for look in self.looks if self._folder(look).is_dir()]
        return self._folder(max(looks, key=lambda look: look["mean"])) if looks else None

    def look(self, step: int) -> bool:
        """Judge the model as it is after `step`; whether the training should stop."""
        with TemporaryDirectory(dir=self.work.folder) as scratch:
            folder = Path(scratch) / "model"
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
        if self.patience is None or not means:
            return False
        return len(means) - 1 - means.index(max(means)) >= self.patience

    @abstractmethod
    def _scores(self, folder: Path, cache: Path) -> Iterator[tuple[str, float]]:
        """Scores of the model in `folder` by name; `cache` is gone afterwards."""

    def _keep(self, folder: Path, step: int) -> None:
        kept = self._folder({"step": step})
        if kept.exists():
            shutil.rmtree(kept)
        folder.rename(kept)

    def _folder(self, look: dict[str, Any]) -> Path:
        return self.work.folder / f"best-{look['step']}"
