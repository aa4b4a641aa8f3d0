"""Builds labelled tasks of real sound, to measure encoders on, from openly available packages.

    python scripts/build_probe_tasks.py --output /tmp/probe-data --downloads /tmp/audio-pack

Writes one labelled folder a task (`crossfade probe MODEL --task FOLDER`) and `SOURCES.md`. The sounds are for measuring
and are not part of the project: their licences, one a row, differ.

Needs: soundfile, soxr, numpy and pyyaml; `apt-get` with the lists of Debian 12 (run `apt-get update` first), `dpkg-deb`
and `fluidsynth` on the path; 1.5 GB below --downloads, kept there and used again. Package versions and seeds are
fixed, so a second run gives the same files.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from audio_pack import packages
from probe_tasks import fillets, music, phones, speech
from probe_tasks.folders import Origin, Task, write

DEBIAN = {
    name: packages.DEBIAN[name]
    for name in (
        "asterisk-core-sounds-es-wav",
        "asterisk-core-sounds-fr-wav",
        "asterisk-core-sounds-it-wav",
        "asterisk-prompt-fr-armelle",
        "asterisk-prompt-it-menardi-wav",
        "festvox-ru",
        "gcin-voice",
        "musescore-general-soundfont-small",
    )
} | {
    "asterisk-prompt-es-co": "0.20070403-2.1",
    "fillets-ng-data": "1.0.1-1.1",
    "fillets-ng-data-cs": "1.0.1-1.1",
    "fillets-ng-data-nl": "1.0.1-1.1",
    "hydrogen-drumkits": "2017.09.19~dfsg-1",
    "timgm6mb-soundfont": "1.3-5",
}

INTRODUCTION = (
    "# Where the sounds come from",
    "",
    "For measuring only. Every row of a `manifest.jsonl` names package, version and file (`source`) and the licence of",
    "its sound. Every sound was changed: made 16 kHz mono, most trimmed of silence, scaled in level.",
    "",
)


def build(output: Path, downloads: Path) -> None:
    """Every task below `output`; tasks that were there go."""
    found = packages.fetch_all(downloads.resolve(), DEBIAN, {})
    origins = {task.name: write(task, output / task.name) for task in tasks(found, downloads / "render")}
    (output / "SOURCES.md").write_text(_sources(origins), encoding="utf-8")


def tasks(found: Mapping[str, packages.Package], folder: Path) -> list[Task]:
    """Every task; `folder` is for the rendering. Clips are made when they are asked for."""
    return [
        *speech.tasks(found, np.random.default_rng(0)),
        *music.tasks(found, folder),
        *fillets.tasks(found, np.random.default_rng(0)),
        *phones.tasks(found, np.random.default_rng(0)),
    ]


def _sources(origins: Mapping[str, set[Origin]]) -> str:
    rows = [f"| {task} | {package} | {terms} |" for task, found in origins.items() for package, terms in sorted(found)]
    return "\n".join((*INTRODUCTION, "| task | package | licence |", "|---|---|---|", *rows, ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="where the task folders are written")
    parser.add_argument("--downloads", type=Path, required=True, help="where downloads and renderings are kept")
    options = parser.parse_args()
    build(options.output, options.downloads)


if __name__ == "__main__":
    main()
