"""A generator's card: what it stands for, what it is worth, what it gives away, and whose data it is of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from crossfade.encoders.sidecars import CARD

USE = """\
```sh
crossfade distill-data sample {name} --per-class 50 -o points.safetensors
crossfade distill-data train points.safetensors -o classifier
crossfade distill-data evaluate {name} DATA -o results.json
```"""

LIMITS = """\
- It speaks in the features of this encoder and this layer, and of no other: their hash is checked.
- It makes feature vectors, not sound. Whatever the classes above do not tell, it has not learned.
- Small is not anonymous: the table says how well speakers (or other groups) of the training clips were told from its
  points, and how well those clips were told from others. The attackers had real clips to learn from."""


def write_card(folder: Path, record: Mapping[str, Any]) -> None:
    """Write README.md from a generator's record."""
    (folder / CARD).write_text(card(record))


def card(record: Mapping[str, Any]) -> str:
    """Front matter and tables."""
    encoder, data = record["encoder"], record["data"]
    front = {
        "tags": ["audio", "crossfade", "dataset-distillation"],
        "license": "other",
        "license_name": record["licence"] or "unknown",
    }
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# {data['title']}, distilled",
        f"A generator of labelled feature vectors in place of {data['train']:,} training clips, as {encoder['name']} "
        "hears them.",
        _table(["", ""], _facts(record)),
        "## Classes",
        _table(["class", "clips"], [[name, f"{count:,}"] for name, count in record["classes"].items()]),
        *_skipped(data["skipped"]),
        "## Worth",
        f"Recall, mean over classes, of a classifier trained on points and tested on {data['test']:,} clips that "
        "neither met:",
        _table(
            ["trained on", "points", "bytes", "recall %", "groups recognised %", "membership", "coverage", "diversity"],
            [_row(one) for one in record["measured"]],
        ),
        "Groups: the share of training clips whose speaker (or other group) is named rightly by a classifier trained "
        "on the points; membership: how well the distance to the nearest point tells training clips from test clips "
        "(0.5: not at all, 1: always).",
        _training(record["training"]),
        "## Use",
        USE.format(name="GENERATOR"),
        "## Limits",
        LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


def _facts(record: Mapping[str, Any]) -> list[list[str]]:
    encoder, data = record["encoder"], record["data"]
    sound = "not in files" if data["sound_bytes"] is None else f"{data['sound_bytes']:,} bytes"
    return [
        ["encoder", f"{encoder['name']}, revision {encoder['revision'] or 'local'}"],
        ["its weights (SHA-256)", f"`{encoder['sha256']}`"],
        ["its licence", encoder["licence"] or "not stated"],
        ["layer", str(record["layer"])],
        ["data", f"{data['task']}, fold {data['fold']}"],
        ["licence of the data", record["licence"] or "not stated"],
        ["the data as features, as sound", f"{data['feature_bytes']:,} bytes, {sound}"],
        ["this generator (SHA-256)", f"`{record['sha256']}`"],
    ]


def _skipped(clips: Sequence[Mapping[str, str]]) -> list[str]:
    if not clips:
        return []
    return [
        "Clips that could not be used:",
        _table(["clip", "reason"], [[one["clip"], one["reason"]] for one in clips]),
    ]


def _row(one: Mapping[str, Any]) -> list[str]:
    low, high = one["interval"]
    groups = one["leakage"]["groups"]
    told = "–" if groups is None else f"{groups:.1f} (largest group {one['leakage']['chance']:.1f})"
    return [
        one["name"],
        f"{one['points']:,}",
        f"{one['bytes']:,}",
        f"{one['uar']:.1f} [{low:.1f}, {high:.1f}]",
        told,
        f"{one['leakage']['membership']:.3f}",
        f"{one['coverage']['coverage']:.2f}",
        f"{one['coverage']['diversity']:.2f}",
    ]


def _training(training: Mapping[str, Any]) -> str:
    start = "" if training["kept"] else " (the untrained start)"
    said = (
        f"Training: {training['steps']:,} updates; kept is the generator of update {training['kept']:,}{start}, whose "
        f"points taught {training['valid']:.1f} % recall on validation clips (real clips: "
        f"{training['valid_of_real']:.1f} %)."
    )
    return f"{said} It ended early: {training['collapsed']}." if training["collapsed"] else said


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
