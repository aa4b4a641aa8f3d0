"""A recording that may be heard, and what every corpus does with it."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from audio_pack.packages import Package
from audio_pack.sound import Samples, read
from distil_corpora.cutting import pieces
from distil_corpora.held_out import HeldOut
from probe_tasks.folders import Clip


@dataclass(frozen=True)
class Recording:
    """`source` as in the manifests; `group`: who or what sounds; `load` gives 16 kHz mono."""

    source: str
    group: str
    licence: str
    load: Callable[[], Samples]


@dataclass(frozen=True)
class Folder:
    """The files of a package below `path` whose names match `pattern`.

    A file's group is `who` (by default the package) and what the expression `part` finds in its path.
    """

    package: str
    path: str
    pattern: str
    licence: str
    part: str = ""
    who: str = ""

    def recordings(self, packages: Mapping[str, Package], held: HeldOut) -> Iterator[Recording]:
        """Those that are not held out, by name. A link is the file it leads to, or leads out of the package."""
        package = packages[self.package]
        for path in sorted((package.folder / self.path).rglob(self.pattern)):
            if not path.is_symlink() and held.spares(package, path):
                yield Recording(package.source(path), self.group(path), self.licence, partial(read, path))

    def group(self, path: Path) -> str:
        """Who or what sounds in a file."""
        found = re.search(self.part, path.as_posix())
        return "_".join(filter(None, (self.who or self.package, *(found.groups() if found else ()))))


def clips(recordings: Iterable[Recording]) -> Iterator[Clip]:
    """Every recording once, whatever its copies, in pieces that are named by its package and its number in all."""
    heard: set[bytes] = set()
    for number, one in enumerate(recordings):
        package, whole = one.source.split("=")[0], one.load()
        digest = sha256(whole.tobytes()).digest()
        for index, samples in enumerate(() if digest in heard else pieces(whole)):
            yield Clip(f"{package}_{number:05d}_{index:02d}", samples, one.source, one.licence, {"group": one.group})
        heard.add(digest)
