"""Music as it was recorded: songs of games, single notes of instruments, drums and loops."""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path

import soundfile
from audio_pack.packages import NPM, Package
from audio_pack.sound import Samples, decode, fit
from distil_corpora.cutting import LONGEST, audible, middles
from distil_corpora.held_out import HeldOut
from distil_corpora.recordings import Folder, Recording
from probe_tasks.folders import Clip
from probe_tasks.music import KITS
from probe_tasks.recordings import tidy

SONGS = {
    "drascula-music": ("usr/share/scummvm/drascula/audio", "LicenseRef-Drascula"),
    "singularity-music": ("usr/share/games/singularity/music", "CC-BY-SA-3.0"),
    "warzone2100-music": ("usr/share/games/warzone2100/music", "GPL-2.0-or-later"),
    "wesnoth-1.16-music": ("usr/share/games/wesnoth/1.16/data/core/music", "GPL-2.0-or-later"),
}
PART = 30.0
NOTES = tuple(Folder(name, "package", "*.mp3", "CC-BY-3.0") for name in sorted(NPM))
SAMPLES = (
    Folder("hydrogen-drumkits", f"{KITS}/Audiophob", "*.wav", "CC0-1.0", who="Audiophob"),
    Folder("hydrogen-drumkits", f"{KITS}/circAfrique v4", "*.wav", "CC-BY-SA-3.0", who="circAfrique"),
    Folder("sonic-pi-samples", "usr/share/sonic-pi/samples", "*.flac", "CC0-1.0", r"/([a-z]+)_[^/]+$"),
)
"""Of the drum kits those that the task `drum` does not have."""
LOOPS = ("sonic-pi-samples_loop", "sonic-pi-samples_ambi")
NOTE, LOOP = 3.0, 10.0


def songs(packages: Mapping[str, Package]) -> Iterator[Recording]:
    """Ten seconds from the middle of every half minute; the group is the composer where the file names one, else the
    album."""
    for name, (folder, licence) in SONGS.items():
        for path in sorted((packages[name].folder / folder).rglob("*.o*")):
            with soundfile.SoundFile(path) as song:
                group = song.artist or f"{name}_{path.parent.name}"
                starts = middles(song.frames / song.samplerate, PART, LONGEST)
            for start in starts:
                yield Recording(packages[name].source(path), group, licence, partial(_stretch, path, start))


def _stretch(path: Path, start: float) -> Samples:
    rate = soundfile.info(path).samplerate
    return decode(path, start=round(start * rate), frames=round(LONGEST * rate))


def hits(packages: Mapping[str, Package], held: HeldOut) -> Iterator[Clip]:
    """Real notes, drum hits and loops from their beginnings: at most 3 seconds, loops 10."""
    recordings = chain.from_iterable(folder.recordings(packages, held) for folder in (*NOTES, *SAMPLES))
    for number, one in enumerate(recordings):
        samples = one.load()
        if audible(samples):
            name, longest = f"{one.source.split('=')[0]}_{number:05d}", LOOP if one.group in LOOPS else NOTE
            yield Clip(name, fit(tidy(samples), longest, grid=0.5), one.source, one.licence, {"group": one.group})
