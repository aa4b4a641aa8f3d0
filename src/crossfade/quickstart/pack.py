"""What the package carries for `crossfade quickstart`: two small encoders and a pack of audio."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import yaml

Domain = Literal["speech", "music"]
DOMAINS: tuple[Domain, ...] = get_args(Domain)

DATA = Path(__file__).parent / "data"
PACK = DATA / "audio"
SOURCES = PACK / "SOURCES.md"
ENCODERS: Mapping[Domain, Path] = {domain: DATA / "encoders" / domain for domain in DOMAINS}


@dataclass(frozen=True)
class Task:
    """A labelled folder: clip i is `paths[i]`, is a `classes[labels[i]]`, and belongs to `groups[i]`.

    A group (a speaker, an instrument, a pitch) is never on both sides of a split.
    """

    name: str
    title: str
    domain: Domain
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...]


def load_tasks() -> list[Task]:
    """Every labelled task of the pack: speech first, then by name."""
    tasks = [_load_task(path.parent) for path in PACK.glob("*/task.yaml")]
    return sorted(tasks, key=lambda task: (DOMAINS.index(task.domain), task.name))


def calibration_folders() -> dict[Domain, Path]:
    """Folders of unlabelled clips, none of which is in a task: what alignment and merging may listen to."""
    return {domain: PACK / "calibration" / domain for domain in DOMAINS}


def _load_task(folder: Path) -> Task:
    about = yaml.safe_load((folder / "task.yaml").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    classes = tuple(sorted({row[about["label"]] for row in rows}))
    return Task(
        name=folder.name,
        title=about["title"],
        domain=about["domain"],
        paths=tuple(folder / row["path"] for row in rows),
        labels=tuple(classes.index(row[about["label"]]) for row in rows),
        groups=tuple(row["group"] for row in rows),
        classes=classes,
    )
