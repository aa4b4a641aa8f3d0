"""Builds a benchmark of instructions about real sound, in the layout of Dynamic-SUPERB, from openly licensed packages.

    python scripts/build_probe_tasks.py --output /tmp/probe-data --downloads /tmp/audio-pack
    python scripts/build_instructions.py --output /tmp/instructions --tasks /tmp/probe-data --downloads /tmp/audio-pack

Writes an instance a folder (`crossfade dynamic-superb list /tmp/instructions`) and `SOURCES.md`: 36 instances of at
most --items items each. The sounds are for measuring and are not part of the project: their licences, named in every
row of a `metadata.json`, differ.

Needs: soundfile, soxr, numpy and pyyaml; what build_probe_tasks.py wrote and downloaded. Labels and draws are fixed by
the names of the instances, so a second run gives the same files, and an instance does not depend on the others.
"""

import argparse
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import build_probe_tasks
import numpy as np
import yaml
from audio_pack import packages
from instruction_sets import music, speech
from instruction_sets.layout import write
from instruction_sets.speech import Maker

PACK = Path(__file__).parents[1] / "src/crossfade/quickstart/data/audio"
CARDS = Path(__file__).parent / "instruction_sets/cards.yaml"
ITEMS = 60
INTRODUCTION = (
    "# Where the sounds come from",
    "",
    "For measuring only. Every row of a `metadata.json` names package, version and file (`source`) and the licence of",
    "its sound. Every sound was changed: made 16 kHz mono, trimmed of silence, scaled in level, in some instances",
    "mixed, joined or reversed.",
    "",
    "| instance | package | licence |",
    "|---|---|---|",
)


def build(output: Path, tasks: Path, russian: Path, *, items: int, only: Sequence[str] = ()) -> None:
    """Every instance below `output`, or `only` some; instances that were there go."""
    made = {**speech.makers(tasks, PACK, russian), **music.makers(tasks, PACK)}
    cards = {card["name"]: card for card in yaml.safe_load(CARDS.read_text(encoding="utf-8"))}
    rows = []
    for name in only or cards:
        for package, licence in sorted(_instance(cards[name], made[name], output, items)):
            rows.append(f"| {name} | {package} | {licence} |")
    (output / "SOURCES.md").write_text("\n".join((*INTRODUCTION, *rows, "")), encoding="utf-8")


def _instance(card: Mapping[str, Any], maker: Maker, output: Path, items: int) -> set[tuple[str, str]]:
    name = card["name"]
    random = np.random.default_rng(zlib.crc32(name.encode()))
    return write(card, maker(items, random), output / name.split("_")[0] / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="where the instances are written")
    parser.add_argument("--tasks", type=Path, required=True, help="what build_probe_tasks.py wrote")
    parser.add_argument("--downloads", type=Path, required=True, help="where it keeps downloads")
    parser.add_argument("--items", type=int, default=ITEMS, help="at most so many items an instance")
    parser.add_argument("--only", nargs="*", default=(), metavar="NAME", help="only these instances")
    options = parser.parse_args()
    known = [card["name"] for card in yaml.safe_load(CARDS.read_text(encoding="utf-8"))]
    if unknown := [name for name in options.only if name not in known]:
        parser.error(f"--only {unknown[0]}: no such instance; known: {', '.join(known)}")
    if not (options.tasks / "SOURCES.md").is_file():
        parser.error(f"--tasks {options.tasks}: no SOURCES.md in it; expected what build_probe_tasks.py wrote")
    voice = {"festvox-ru": build_probe_tasks.DEBIAN["festvox-ru"]}
    russian = packages.fetch_all(options.downloads.resolve(), voice, {})["festvox-ru"].folder
    build(options.output, options.tasks, russian, items=options.items, only=options.only)


if __name__ == "__main__":
    main()
