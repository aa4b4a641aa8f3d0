"""Progress on standard error: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from crossfade.progress import SILENT, Progress, T, one

SECONDS_BETWEEN_LINES = 10.0


class Rate(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


class Bar:
    """A bar with count, rate and time left."""

    def track(
        self,
        iterable: Iterable[T],
        *,
        total: float | None = None,
        description: str = "",
        count: Callable[[T], float] = one,
    ) -> Iterator[T]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
        with Bars(*columns, console=Console(stderr=True)) as bars:
            bar = bars.add_task(description, total=total)
            for item in iterable:
                yield item
                bars.advance(bar, count(item))


class Lines:
    """A line at most every few seconds, for logs, and one at the end; short work says nothing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock

    def track(
        self,
        iterable: Iterable[T],
        *,
        total: float | None = None,
        description: str = "",
        count: Callable[[T], float] = one,
    ) -> Iterator[T]:
        started = said = self.clock()
        done = 0.0
        for item in iterable:
            yield item
            done += count(item)
            now = self.clock()
            if now - said >= SECONDS_BETWEEN_LINES:
                said = now
                _say(f"{description}: {_standing(done, total, now - started)}")
        if said > started:
            _say(f"{description}: {done:g} in {self.clock() - started:.0f} s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _standing(done: float, total: float | None, seconds: float) -> str:
    rate = done / seconds
    if total is None:
        return f"{done:g} ({rate:.1f}/s)"
    return f"{done:g}/{total:g} ({rate:.1f}/s, {max(total - done, 0) / rate:.0f} s left)"


def progress(quiet: bool) -> Progress:
    """The way to show progress here."""
    if quiet:
        return SILENT
    return Bar() if sys.stderr.isatty() else Lines()
