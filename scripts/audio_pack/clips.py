"""A clip, a labelled task, and how both are written."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_pack.sound import Samples, level, write


@dataclass(frozen=True)
class Clip:
    """One sound of the pack; `samples` are 16 kHz mono."""

    name: str
    samples: Samples
    source: str
    licence: str
    label: str = ""
    group: str = ""


@dataclass(frozen=True)
class Task:
    """One labelled folder: sounds, what to tell apart, and the groups that no split may divide."""

    name: str
    title: str
    domain: str
    clips: Sequence[Clip]


def write_task(task: Task, folder: Path) -> None:
    """Clips, `manifest.jsonl` and `task.yaml` of one task."""
    rows = [_write_clip(clip, folder) | {"label": clip.label, "group": clip.group} for clip in task.clips]
    _write_manifest(rows, folder)
    (folder / "task.yaml").write_text(
        f"title: {task.title}\ndomain: {task.domain}\nkind: classification\nlabel: label\nmetric: accuracy\n"
        "protocol: {head: ridge}\n"
    )


def write_calibration(clips: Sequence[Clip], folder: Path) -> None:
    """Clips without labels and their `manifest.jsonl`."""
    _write_manifest([_write_clip(clip, folder) | {"split": "calibration"} for clip in clips], folder)


def _write_clip(clip: Clip, folder: Path) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / f"{clip.name}.ogg", level(clip.samples))
    return {"path": f"{clip.name}.ogg", "source": clip.source, "licence": clip.licence}


def _write_manifest(rows: Sequence[dict[str, str]], folder: Path) -> None:
    order = ("path", "label", "group", "split", "source", "licence")
    lines = (json.dumps({key: row[key] for key in order if key in row}, ensure_ascii=False) for row in rows)
    (folder / "manifest.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
