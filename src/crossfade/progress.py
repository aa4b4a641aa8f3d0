"""How long work tells of itself: the library never prints, whoever calls it may watch."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


def one(item: object) -> float:
    """Every item counts as one."""
    return 1.0


class Progress(Protocol):
    """Something that watches work go by."""

    def track(
        self,
        iterable: Iterable[T],
        *,
        total: float | None = None,
        description: str = "",
        count: Callable[[T], float] = one,
    ) -> Iterator[T]:
        """Yield the items of `iterable` as they are.

        `count` is what an item counts for, `total` what all of them will, where that is known.
        """
        ...


class Silent:
    """Nobody watches."""

    def track(
        self,
        iterable: Iterable[T],
        *,
        total: float | None = None,
        description: str = "",
        count: Callable[[T], float] = one,
    ) -> Iterator[T]:
        return iter(iterable)


SILENT = Silent()
"""Nobody watches, unless a caller says who."""
