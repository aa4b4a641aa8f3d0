"""Where encoders are measured one after the other: tasks laid out once, clips decoded once, nothing measured twice."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from crossfade.probing.cache import Cache
from crossfade.probing.exam import Exam, digest
from crossfade.probing.results import Result, read_partial
from crossfade.probing.run import noted, sit
from crossfade.probing.upstreams import Upstream, open_upstream
from crossfade.progress import SILENT, Progress

Make = Callable[[Path], None]


@dataclass(frozen=True)
class Measured:
    """Results of one encoder, and what making and opening it took beyond measuring it, in seconds (0: from before)."""

    results: list[Result]
    seconds: float


class Stage:
    """An exam, and a journal in `work` of what was measured: a run that was killed goes on from it.

    What is measured is known by `facts`, which say how it is made; it is made only if it was not measured before.
    Threads may share a stage.
    """

    def __init__(self, work: Path, exam: Exam, device: str) -> None:
        self.work, self.exam, self.device = work, exam, device
        self.output = work / "results.json"
        self.journal = read_partial(self.output)

    def measure(
        self, name: str, facts: Any, make: Make, *, kept: Path | None = None, progress: Progress = SILENT
    ) -> Measured:
        """Measure what `make` writes into a folder, under `name`; the folder is `kept`, or removed."""

        folder = kept or self.work / f"point-{digest(facts)[:16]}"

        def open_made() -> Upstream:
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            return replace(open_upstream(str(folder), self.device), name=name)

        try:
            found = self.ask(facts, open_made, progress=progress)
        finally:
            if not kept:
                shutil.rmtree(folder, ignore_errors=True)
        if kept and not kept.exists():
            make(kept)
        return found

    def ask(self, facts: Any, open_one: Callable[[], Upstream], *, progress: Progress = SILENT) -> Measured:
        """Measure what `open_one` opens."""
        model = digest(facts)
        if known := noted(self.exam, model, self.journal):
            return Measured(known, 0.0)
        started = perf_counter()
        upstream = open_one()
        seconds = perf_counter() - started
        features = self.work / f"features-{model[:16]}"
        results = sit(
            self.exam,
            upstream,
            Cache(features),
            model=model,
            output=self.output,
            journal=self.journal,
            progress=progress,
        )
        shutil.rmtree(features, ignore_errors=True)
        return Measured(results, seconds)
