"""The model card of what Crossfade writes: what went in, how, and under which licences."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from crossfade.encoders.encoder import Encoder
from crossfade.encoders.sidecars import CARD


def licences(inputs: Sequence[Encoder]) -> dict[str, str]:
    """Front-matter entries for the licence of what `inputs` became: theirs if they agree, else `other` with both."""
    known = sorted({encoder.licence or "unknown" for encoder in inputs})
    return {"license": known[0]} if len(known) == 1 else {"license": "other", "license_name": " AND ".join(known)}


def write_card(
    folder: Path,
    *,
    title: str,
    text: str,
    inputs: Mapping[str, Encoder],
    recipe: Mapping[str, Any],
    sections: Sequence[str],
) -> None:
    """Write README.md: front matter, the inputs with revision, hash and licence, the recipe and further `sections`."""
    hub_models = [encoder.name.partition("@")[0] for encoder in inputs.values() if encoder.revision]
    front = {
        "library_name": "transformers",
        "pipeline_tag": "feature-extraction",
        "tags": ["audio", "crossfade", "merge"],
        **({"base_model": hub_models} if hub_models else {}),
        **licences(list(inputs.values())),
    }
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# {title}",
        text,
        "## Inputs",
        input_table(inputs),
        "## Recipe",
        f"```yaml\n{yaml.safe_dump(dict(recipe), sort_keys=False).strip()}\n```",
        *sections,
    ]
    (folder / CARD).write_text("\n\n".join(parts) + "\n")


def input_table(inputs: Mapping[str, Encoder]) -> str:
    """A Markdown table with one row per input."""
    rows = ["| role | model | revision | weights (SHA-256) | licence |", "|---|---|---|---|---|"]
    for role, encoder in inputs.items():
        licence = encoder.licence or "not stated"
        rows.append(
            f"| {role} | {encoder.name} | {encoder.revision or 'local folder'} | `{encoder.sha256}` | {licence} |"
        )
    return "\n".join(rows)
