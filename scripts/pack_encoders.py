"""Packs distilled encoders for shipping: half-precision weights, config, preprocessing, record and model card.

    python scripts/pack_encoders.py encoders --output src/crossfade/quickstart/data/encoders

Takes `encoders/NAME` as `crossfade distill` wrote it, for every NAME of the package or those that are given. The card
is the distilled one, which tells teachers, data, time, loss and seed, under the encoder's own name and with the
licences of the teachers and of every package of sounds (from `corpora/SOURCES.md`). The config asks for float32, so
AutoModel computes in float32 on any machine.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from audio_pack.packages import sha256
from safetensors.torch import load_file, save_file

from crossfade.distillation.export import table
from crossfade.encoders.sidecars import CARD, CONFIG, PREPROCESSOR, RECORD
from crossfade.errors import InputError
from crossfade.features.catalogue import LICENCES

WEIGHTS = "model.safetensors"
MOST_BYTES = 5_000_000
"""Of a packed folder."""

LICENCE = "apache-2.0"

ABOUT = {
    "speech": "hears speech. It began as `base`.",
    "music": "hears music. It has a random start of its own and shares its shape, and nothing else, with `speech`.",
    "both": "hears speech and music: one student of all teachers.",
    "speech-shared": "hears speech. It began as `both`, as `music-shared` did, so that what they learned can be added.",
    "music-shared": "hears music. It began as `both`, as `speech-shared` did, so that what they learned can be added.",
}
"""Every encoder of the package."""

LIMITS = """## Limits

- Small and briefly trained: far from what an encoder of full size hears. For trying out, tests and experiments.
- What tests the tasks of the audio pack beside it was held out of the sounds that it was trained on.
"""


def pack(source: Path, target: Path, name: str, sources: str) -> None:
    """`target` becomes the shipped folder of the student in `source`; what was there goes.

    sources: the text of SOURCES.md. Raises InputError for a folder that is no student's, or too large for the package.
    """
    for part in (WEIGHTS, CONFIG, PREPROCESSOR, CARD, RECORD):
        if not (source / part).is_file():
            raise InputError(f"{source / part}: is missing; expected a folder that crossfade distill wrote")
    draft = target.with_name(f".{target.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    weights = load_file(source / WEIGHTS)
    save_file({key: half(key, tensor) for key, tensor in weights.items()}, draft / WEIGHTS, {"format": "pt"})
    (draft / WEIGHTS).chmod(0o644)  # safetensors leaves it to its owner alone
    config = json.loads((source / CONFIG).read_text()) | {"dtype": "float32"}
    (draft / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    shutil.copyfile(source / PREPROCESSOR, draft / PREPROCESSOR)
    record = json.loads((source / RECORD).read_text())
    digest = sha256(source / WEIGHTS)
    name_shipped_base(record, source.parent, target.parent)
    (draft / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    (draft / CARD).write_text(card((source / CARD).read_text(), name, record, digest, sources), encoding="utf-8")
    if (size := sum(path.stat().st_size for path in draft.iterdir())) > MOST_BYTES:
        raise InputError(f"{source}: takes {size} bytes when packed, expected at most {MOST_BYTES}; give fewer weights")
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)


def name_shipped_base(record: dict[str, Any], distilled: Path, shipped: Path) -> None:
    """Where a student began as another encoder of the package, its record gets the hash of that one's rounded weights.

    So commands that ask whether two students have one base know it again. Raises InputError where the base is not
    packed yet.
    """
    if record["student"]["start"] != "base":
        return
    (base,) = record["student"]["sources"]
    name = Path(base["name"]).name
    weights = distilled / name / WEIGHTS
    if name not in ABOUT or not weights.is_file() or sha256(weights) != base["sha256"]:
        return
    if not (shipped / name / WEIGHTS).is_file():
        raise InputError(f"{shipped / name}: is not there, and others began as {name}; pack {name} before them")
    base["sha256"] = sha256(shipped / name / WEIGHTS)


def half(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Numbers in float16; InputError for a value too large for it, which would be infinite."""
    if not tensor.is_floating_point():
        return tensor
    packed = tensor.to(torch.float16)
    if not bool(packed.isfinite().all()):
        raise InputError(f"{name}: a value of {tensor.abs().max():.3g} does not fit float16; train it with float32")
    return packed.contiguous()


def card(distilled: str, name: str, record: Mapping[str, Any], digest: str, sources: str) -> str:
    """The distilled card under the encoder's name, with how it is stored, licences and limits."""
    _, front, body = distilled.split("---\n", 2)
    facts = yaml.safe_load(front)
    facts |= {"license": LICENCE, "tags": [*facts["tags"], name]}
    _, *told = body.strip().split("\n\n")
    return "\n\n".join(
        [
            f"---\n{yaml.safe_dump(facts, sort_keys=False)}---",
            f"# Crossfade's small encoders: {name}",
            f"This one {ABOUT[name]} {record['student']['parameters'] / 1e6:.2f} M parameters, stored as float16 and "
            f"computed in float32; before rounding, the weights' file had the SHA-256 `{digest}`.",
            *told,
            "## Licences",
            f"The weights: {LICENCE}.",
            *licences(record, sources),
            LIMITS,
        ]
    )


def licences(record: Mapping[str, Any], sources: str) -> list[str]:
    """Tables of what taught the encoder and what it heard, each with its licence."""
    teachers = [one | {"licence": one["licence"] or LICENCES.get(one["model"])} for one in record["teachers"]]
    folders = [Path(corpus["source"]).name for corpus in record["data"]]
    return [
        table(teachers, ("model", "licence")),
        table(sounds(sources, folders), ("folder", "package", "licence", "hours")),
    ]


def sounds(sources: str, folders: Sequence[str]) -> list[dict[str, str]]:
    """What SOURCES.md says of these folders: package and version, licence and hours. InputError: it knows one not."""
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in sources.splitlines()]
    known = [dict(zip(("folder", "package", "licence", "hours"), row, strict=True)) for row in cells if len(row) == 4]
    for folder in folders:
        if folder not in {row["folder"] for row in known}:
            raise InputError(f"SOURCES.md: says nothing of {folder}; give the one that lies beside the sounds")
    return [row for row in known if row["folder"] in folders and row["package"] != "all"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", type=Path, help="has a distilled folder for each name")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ABOUT)}; all of them by default")
    parser.add_argument("--output", type=Path, required=True, help="gets a folder for each name")
    parser.add_argument("--sources", type=Path, default=Path("corpora/SOURCES.md"), help="where the sounds are from")
    options = parser.parse_args()
    if unknown := set(options.names) - set(ABOUT):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected {', '.join(ABOUT)}")
    try:
        for name in options.names or ABOUT:
            pack(options.encoders / name, options.output / name, name, options.sources.read_text(encoding="utf-8"))
            print(f"{options.output / name}: written")
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
