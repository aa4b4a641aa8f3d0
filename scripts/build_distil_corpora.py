"""Builds what small encoders are distilled on, real speech and music without labels, from openly available packages.

    python scripts/build_distil_corpora.py /tmp/corpora --downloads /tmp/audio-pack

Writes the folders `speech`, `same_voices` and `music` (16 kHz FLAC, 0.3 to 10 seconds, and `manifest.jsonl` with path,
group, source and licence) and `SOURCES.md`, which says what was held out, so that encoders can be measured afterwards.

Needs: soundfile, soxr, numpy and pyyaml; `apt-get` with the lists of Debian 12 (run `apt-get update` first),
`dpkg-deb`, `npm` and `fluidsynth` on the path; 3 GB below --downloads, kept there and used again. Package
versions and seeds are fixed, so a second run gives the same files.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import build_probe_tasks
from audio_pack import packages
from audio_pack.sound import RATE
from distil_corpora import music, notes, speech
from distil_corpora.held_out import HeldOut, held_out
from distil_corpora.recordings import clips
from probe_tasks.folders import Clip, Origin, write_clips

DEBIAN = {
    **packages.DEBIAN,
    **build_probe_tasks.DEBIAN,
    "drascula": "1.0+ds4-2",
    "drascula-music": "1.0+ds4-2",
    "drascula-spanish": "1.0+ds4-2",
    "flight-of-the-amazon-queen": "1.0.0-9",
    "hedgewars-data": "1.0.2-6",
    "klettres-data": "4:22.12.3-1",
    "singularity-music": "007-2",
    "tuxpaint-stamps-default": "2022.06.04-1",
    "warzone2100-music": "4.3.3-3",
    "wesnoth-1.16-music": "1:1.16.9-1",
}
del DEBIAN["timgm6mb-soundfont"]  # tests pitch and instrument, and is not even downloaded

PACK = Path(__file__).parents[1] / "src/crossfade/quickstart/data/audio"

INTRODUCTION = """# Where the sounds come from

For training, without labels. Every row of a `manifest.jsonl` names package, version and file (`source`) and the licence
of its sound. Every sound was changed: made 16 kHz mono, trimmed of silence, cut to at most 10 seconds, scaled in level.

## Held out

What measures an encoder may not have taught it. A recording is left out, under any name that a copy of it may have,
where it validates or tests a task of `build_probe_tasks.py` or is part of a task of the quickstart's audio pack, whose
folds take turns. Beyond the recordings:

- `asr_cs`, `asr_nl`: the levels of the game that validate or test, all that is said in them.
- `language`, `mandarin_tone`, and `month` and `spelling_word` of the pack: their folds take turns, so every speaker is
  tested. None of these speakers is in `speech`. What else they said is in **`same_voices`**: other recordings, the same
  voices (without Mandarin). A student that hears them has heard the speakers that those tasks call unseen; say so
  beside its figures.
- `phones_ru`, `phones_ru_ctc`, `russian_phone`: the utterances. They have one speaker, in training as in test; `speech`
  has the speaker's other utterances.
- `drum`: folds take turns, so all its kits. Two kits of the package that the task does not have are heard.
- `gm_instrument`, `gm_pitch`: the soundfont that tests (TimGM6mb) altogether. The one that trains and validates
  (MuseScore General) is played here, but not the four programs that validate pitch, nor, by the other twelve, the keys
  that validate instruments.
- `melody`, `rhythm` of the pack: their programs play single notes and chords here, no lines of notes.
- `instrument` of the pack: its notes. Other notes of the same instruments are heard.

The pack's calibration sounds measure nothing and are not held out.

## Hours
"""


def build(output: Path, downloads: Path) -> None:
    """Every folder below `output`; those that were there go. Raises FetchError."""
    packages.require("apt-get", "dpkg-deb", "npm", "fluidsynth")
    found = packages.fetch_all(downloads.resolve(), DEBIAN, packages.NPM)
    held = held_out(found, build_probe_tasks.tasks(found, downloads / "render"), PACK)
    folders = _folders(found, held, downloads / "render" / "distil")
    hours = {name: write_clips(heard, output / name) for name, heard in folders.items()}
    (output / "SOURCES.md").write_text(_sources(hours, found), encoding="utf-8")


def _folders(found: Mapping[str, packages.Package], held: HeldOut, folder: Path) -> dict[str, Iterator[Clip]]:
    return {
        "speech": clips(speech.strangers(found, held)),
        "music": chain(
            clips(music.songs(found)),
            music.hits(found, held),
            notes.played(found["musescore-general-soundfont-small"], folder),
        ),
        "same_voices": clips(speech.same_voices(found, held)),
    }


def _sources(samples: Mapping[str, Counter[Origin]], found: Mapping[str, packages.Package]) -> str:
    rows = [
        f"| {folder} | {package} | {licence} | {count / RATE / 3600:.2f} |\n"
        for folder, origins in samples.items()
        for (package, licence), count in sorted(origins.items())
    ]
    totals = [f"| {folder} | all | | {origins.total() / RATE / 3600:.2f} |\n" for folder, origins in samples.items()]
    used = sorted({package.split("=")[0] for origins in samples.values() for package, _ in origins})
    digests = [f"| {name} | {found[name].version} | `{found[name].sha256()}` |\n" for name in used]
    tables = (
        "\n| folder | package | licence | hours |\n|---|---|---|---:|\n",
        *rows,
        *totals,
        "\n## Packages\n\n| package | version | SHA-256 of the archive |\n|---|---|---|\n",
        *digests,
    )
    return INTRODUCTION + "".join(tables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="where the folders are written")
    parser.add_argument(
        "--downloads", type=Path, default=Path("downloads"), help="where downloads and renderings are kept"
    )
    options = parser.parse_args()
    try:
        build(options.output, options.downloads)
    except packages.FetchError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
