"""The student as an ordinary Hugging Face folder, and what it says of itself."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from crossfade import __version__
from crossfade.encoders.headers import TensorInfo
from crossfade.encoders.hub import locate
from crossfade.encoders.sidecars import CARD, CONFIG, PREPROCESSOR, RECORD, Preprocessing, read_licence
from crossfade.encoders.writer import CheckpointWriter
from crossfade.features.catalogue import LICENCES
from crossfade.probing.upstreams import BESIDE, Upstream, short_name, split_name

ROWS = 12
"""Points of the loss curve that the card shows."""


def write_student(folder: Path, student: Any, preprocessing: Preprocessing) -> None:
    """Write config, weights and preprocessing, for AutoModel and AutoFeatureExtractor. Raises InputError: disk full."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {**student.config.to_diff_dict(), "architectures": [type(student).__name__], "dtype": "float32"}
    config |= {"apply_spec_augment": False}  # masks belong to the training
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / PREPROCESSOR).write_text(json.dumps(preprocessing.to_json(), indent=2) + "\n")
    tensors = student.state_dict()
    infos = {name: TensorInfo(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    with CheckpointWriter(folder, infos, metadata={"format": "pt"}) as writer:
        for name, tensor in tensors.items():
            writer.write(name, tensor)


def licence_of(upstream: Upstream) -> str | None:
    """The licence on the card of a folder or hub model, or of a signal's weights; of several side by side, of each."""
    if upstream.parts:
        return ", ".join(dict.fromkeys(licence_of(part) or "unknown" for part in upstream.parts))
    if upstream.revision is None and not Path(upstream.name).expanduser().is_dir():
        return LICENCES.get(upstream.name)
    folder = locate(upstream.name).folder if upstream.revision else Path(upstream.name).expanduser()
    return read_licence(folder)


def write_record(folder: Path, record: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    """Write crossfade.json, which says all that is known of how the student was made, and a card for people.

    `record` has recipe, student, teachers, data, training (with its curve), looks and notes; `said` is the part of the
    recipe that is no default, which is what the card shows of it.
    """
    (folder / RECORD).write_text(json.dumps({"crossfade": __version__, **record}, indent=2) + "\n")
    (folder / CARD).write_text(card(record, said))


def card(record: Mapping[str, Any], said: Mapping[str, Any]) -> str:
    """README.md: front matter, then teachers, data, training, the looks at it and the recipe, as tables."""
    recipe, training = record["recipe"], record["training"]
    hub = [name for teacher in record["teachers"] for name in _on_hub(teacher["model"], teacher["revision"])]
    front = {
        "library_name": "transformers",
        "pipeline_tag": "feature-extraction",
        "tags": ["audio", "crossfade", "distillation"],
        **({"base_model": sorted(set(hub))} if hub else {}),
        **({"license": recipe["licence"]} if recipe.get("licence") else {}),
    }
    names = ", ".join(dict.fromkeys(short_name(teacher["model"]) for teacher in record["teachers"]))
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# Distilled from {names}",
        f"An audio encoder of {record['student']['parameters'] / 1e6:.2f} M parameters, distilled by Crossfade "
        f"{__version__} in {training['seconds'] / 60:.1f} minutes on {training['device']}: {training['steps']} steps, "
        f"{training['clips']} clips, {training['sound_seconds'] / 3600:.2f} hours of sound, seed {recipe['seed']}.",
        "## Teachers",
        table(record["teachers"], ("model", "revision", "layers", "weight", "domain", "sha256", "licence")),
        "## Data",
        table(record["data"], ("source", "domain", "share", "clips", "hours")),
        _licences(record["data"]),
        "## Start",
        table([record["student"]], tuple(key for key in record["student"] if key != "parameters")),
        "## Loss",
        table(_thinned(training["curve"]), tuple(training["curve"][-1]) if training["curve"] else ()),
    ]
    if record["looks"]:
        looks = [{"step": look["step"], "mean": look["mean"], **look["scores"]} for look in record["looks"]]
        parts += ["## Probes", f"Written is the student of step {training['chosen']}.", table(looks, tuple(looks[0]))]
    if record["notes"]:
        parts += ["## Notes", "\n".join(f"- {note}" for note in record["notes"])]
    parts += ["## Recipe", f"```yaml\n{yaml.safe_dump(dict(said), sort_keys=False).strip()}\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _licences(data: Sequence[Mapping[str, Any]]) -> str:
    """Hours of each licence, where the manifests of the sound tell."""
    rows = [
        {"source": corpus["source"], "licence": licence, "hours": hours}
        for corpus in data
        for licence, hours in corpus["licences"].items()
    ]
    return table(rows, ("source", "licence", "hours")) if rows else ""


def _on_hub(model: str, revision: str | None) -> list[str]:
    """Ids on the hub of what a teacher is made of: the parts that have a revision."""
    parts = zip(split_name(model), (revision or "").split(BESIDE), strict=False)
    return [name.partition("@")[0] for name, known in parts if known]


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A Markdown table; what is None is told as a dash."""
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join(_cell(row.get(column)) for column in columns)} |" for row in rows]
    return "\n".join(lines) if columns else ""


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(_cell, value)) if isinstance(value, list | tuple) else str(value)


def _thinned(curve: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Some points of it, evenly, the last one among them."""
    every = max(1, -(-len(curve) // ROWS))
    return list(curve)[::-1][::every][::-1]
