"""A labelled task folder: 16 kHz FLAC files, `manifest.jsonl` and `task.yaml`."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import soundfile
import yaml
from audio_pack.sound import RATE, Samples, level

Origin = tuple[str, str]  # (package=version, licence)


LAPTOP: dict[str, object] = {
    "protocol": {
        "head": "frame",
        "projection": 256,
        "steps": 1000,
        "rate": 1e-3,
        "batch": 16,
        "source": "ours: a linear head that two cores train in minutes",
    }
}
"""How a task over frames is learned where nothing is published."""


@dataclass(frozen=True)
class Clip:
    """One file: 16 kHz mono `samples`, and what its row says beside path, source and licence."""

    name: str
    samples: Samples
    source: str
    licence: str
    row: Mapping[str, object]


@dataclass(frozen=True)
class Task:
    """`settings` are the lines of `task.yaml`, `note` a comment above them; `clips` are made while they are written."""

    name: str
    settings: Mapping[str, object]
    clips: Iterable[Clip]
    note: str = ""


def write(task: Task, folder: Path) -> set[Origin]:
    """The whole folder; what was there goes. Gives where the sounds come from."""
    origins = set(write_clips(task.clips, folder))
    settings = yaml.safe_dump(dict(task.settings), sort_keys=False, allow_unicode=True, width=120)
    (folder / "task.yaml").write_text((f"# {task.note}\n" if task.note else "") + settings, encoding="utf-8")
    return origins


def write_clips(clips: Iterable[Clip], folder: Path) -> Counter[Origin]:
    """The files and their manifest, and nothing else in `folder`. Gives where the sounds come from, in samples."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    origins: Counter[Origin] = Counter()
    with (folder / "manifest.jsonl").open("w", encoding="utf-8") as manifest:
        for clip in clips:
            path = f"{clip.name}.flac"
            soundfile.write(folder / path, level(clip.samples), RATE, subtype="PCM_16")
            row = {"path": path, **clip.row, "source": clip.source, "licence": clip.licence}
            manifest.write(f"{json.dumps(row, ensure_ascii=False)}\n")
            for package in re.findall(r"(\S+=\S+?):(?:usr|package)/", clip.source):
                origins[package, clip.licence] += len(clip.samples)
    return origins


def settings(title: str, domain: str, label: str, metric: str, **more: object) -> dict[str, object]:
    """The lines of a classification's `task.yaml`, or of another kind's with `kind=`."""
    return {"title": title, "domain": domain, "kind": "classification", "label": label, "metric": metric} | more
