"""What each part of the regression merge is worth, on the encoders and tasks in the package.

    python benchmarks/regression.py [--weight 0.5] [--seed 0]

Merges in every way of WAYS, measures each as `crossfade quickstart` does, writes benchmarks/results/regression-*.json.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from processes import HERE, circumstances

from crossfade.alignment import align
from crossfade.encoders.families import POINTS, WITHOUT_RESIDUAL
from crossfade.merging import merge
from crossfade.probing.exam import set_exam
from crossfade.progress import SILENT
from crossfade.quickstart.pack import ENCODERS, calibration_folders
from crossfade.quickstart.story import (
    CLIP_SECONDS,
    FITTED_CLIPS,
    TASKS,
    UNALIGNED,
    Row,
    measure_all,
    rows_of,
)

WAYS: dict[str, tuple[str, dict[str, Any] | None]] = {
    UNALIGNED: ("none", None),
    "aligned": ("aligned", None),
    "aligned, residual": ("residual", None),
    "repaired": ("residual", {"repair": True}),
    "regression": ("residual", {}),
    "regression, CNN solved": ("residual", {"convolutions": True}),
    "regression, layer after layer": ("residual", {"sequential": True}),
    "regression, layer after layer, CNN solved": ("residual", {"sequential": True, "convolutions": True}),
    "regression, residual not aligned": ("aligned", {}),
    "regression, unaligned": ("none", {}),
    **{f"regression, ridge {ridge:g}": ("residual", {"ridge": ridge}) for ridge in (0.01, 0.03, 0.3, 1.0)},
}
"""Name -> which alignment, and the settings of the regression (None: linear)."""


def measure(weight: float, seed: int, scratch: Path) -> list[Row]:
    """A row of accuracies for every way to merge at `weight`."""
    speech, music = ENCODERS["speech"], ENCODERS["music"]
    heard = calibration_folders()
    found = {
        "none": None,
        "aligned": align(speech, music, list(heard.values()), points=WITHOUT_RESIDUAL, seed=seed),
        "residual": align(speech, music, list(heard.values()), points=POINTS, seed=seed),
    }
    domains = {"reference_audio": heard["speech"], "other_audio": heard["music"]}
    drawn = {"clips": FITTED_CLIPS, "seconds": CLIP_SECONDS, "seed": seed}
    models: dict[tuple[str, float | None], Path] = {("speech alone", None): speech, ("music alone", None): music}
    for number, (name, (which, settings)) in enumerate(WAYS.items()):
        how: dict[str, Any] = {"align": "none"} if found[which] is None else {"alignment": found[which]}
        if settings is not None:
            repair = settings.get("repair", False)
            how |= (
                {**domains, "repair": True} if repair else {**domains, "method": "regression", "parameters": settings}
            )
        models[name, weight] = scratch / str(number)
        merge(speech, music, models[name, weight], weight=weight, **drawn, **how)
        print(f"merged: {name}", flush=True)
    made = {key: partial(Path, folder) for key, folder in models.items()}
    return rows_of(measure_all(made, set_exam(TASKS, seed=seed), SILENT), seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weight", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crossfade-regression-") as folder:
        rows = measure(options.weight, options.seed, Path(folder))
    for row in rows:
        gain = "" if row.gain is None else f"{row.gain:+6.1f}"
        print(f"{row.name:<36} speech {row.speech:5.1f}  music {row.music:5.1f}  average {row.average:5.1f} {gain}")
    about = circumstances(1).to_dict()
    results = {"about": about, "weight": options.weight, "seed": options.seed, "rows": [asdict(row) for row in rows]}
    output = HERE / "results" / f"regression-{options.weight:g}-seed{options.seed}.json"
    output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
