"""What a merged folder says of itself: crossfade.json for programs, README.md for people."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossfade import __version__
from crossfade.alignment.result import Alignment, match_table
from crossfade.encoders.card import write_card
from crossfade.encoders.sidecars import RECORD
from crossfade.merging.engine import Inputs


def write_record(
    folder: Path, inputs: Inputs, recipe: Mapping[str, Any], alignment: Alignment | None, notes: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Write crossfade.json, the model card and the alignment into `folder`; returns how the inputs are described."""
    roles = inputs.roles()
    described = {
        role: {
            "name": encoder.name,
            "revision": encoder.revision,
            "sha256": encoder.sha256,
            "licence": encoder.licence,
            "heads_left_out": list(encoder.dropped),
        }
        for role, encoder in roles.items()
    }
    recipe = json.loads(json.dumps(dict(recipe)))  # NumPy's floats become plain ones, which YAML can say
    record = {"crossfade": __version__, "recipe": recipe, "inputs": described, "notes": list(notes)}
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    sections = ["## Notes", "\n".join(f"- {note}" for note in notes)] if notes else []
    if alignment is not None:
        alignment.save(folder)
        sections += ["## Alignment", match_table(alignment)]
    names = [Path(encoder.name.partition("@")[0]).name for encoder in (inputs.reference, inputs.other)]
    write_card(
        folder,
        title=" + ".join(names),
        text=f"One audio encoder, merged from {' and '.join(names)} by Crossfade {__version__}.",
        inputs=roles,
        recipe={key: value for key, value in recipe.items() if value not in (None, [], {})},
        sections=sections,
    )
    return described
