"""Builds the audio pack of the quickstart from openly licensed packages.

    python scripts/build_audio_pack.py --output src/crossfade/quickstart/data/audio --downloads /tmp/audio-pack

Needs: soundfile, soxr and numpy; `apt-get` with the lists of Debian 12 (run `apt-get update` first), `dpkg-deb`, `npm`
and `fluidsynth` on the path; 1 GB below --downloads, kept there and used again. Package versions are fixed, so the
sounds are the same on every run; the bytes are, too, with the same libsndfile and fluidsynth.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
from audio_pack import licences, music, packages, speech
from audio_pack.clips import write_calibration, write_task


def build(output: Path, downloads: Path) -> None:
    """The whole pack at `output`; what was there goes."""
    found = packages.fetch_all(downloads.resolve())
    random = np.random.default_rng(0)
    tasks = speech.tasks(found, random) + music.tasks(found, random, downloads / "render")
    taken = {clip.source for task in tasks for clip in task.clips}
    shutil.rmtree(output, ignore_errors=True)
    for task in tasks:
        write_task(task, output / task.name)
    write_calibration(speech.calibration(found, random, taken), output / "calibration" / "speech")
    write_calibration(music.calibration(found, random, downloads / "render", taken), output / "calibration" / "music")
    licences.write(found, output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the folder that becomes the pack; replaced")
    parser.add_argument("--downloads", type=Path, required=True, help="where downloads and renderings are kept")
    options = parser.parse_args()
    build(options.output, options.downloads)


if __name__ == "__main__":
    main()
