"""Speech: game dialogue, read sentences, words and letters in some thirty languages."""

from collections.abc import Iterator, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path

from audio_pack.packages import Package
from audio_pack.sound import Samples, decode, read
from audio_pack.speech import RUSSIAN, VOICES
from distil_corpora.held_out import HeldOut
from distil_corpora.recordings import Folder, Recording
from probe_tasks import fillets, phones
from probe_tasks.speech import PROMPTS

GAMES = "usr/share/scummvm"
QUEEN = f"{GAMES}/flight-of-the-amazon-queen/queen.1c"
LINES, CHARACTER = "[!S]*.ALS", r"/([A-Z]*)\d+\.ALS"  # S is sound effects, and no letter the hero
READER = Folder("festvox-ru", f"{RUSSIAN}/wav", "*.wav", phones.LICENCE)
OTHERS = (
    Folder("drascula", f"{GAMES}/drascula/en", LINES, "LicenseRef-Drascula", CHARACTER),
    Folder("drascula-spanish", f"{GAMES}/drascula/es", LINES, "LicenseRef-Drascula", CHARACTER),
    Folder("tuxpaint-stamps-default", "usr/share/tuxpaint/stamps", "*_desc_*.ogg", "GPL-2.0-only", r"_desc_(\w+)"),
    Folder("klettres-data", "usr/share/klettres", "*.ogg", "GPL-2.0-or-later", r"/(\w+)/\w+/[^/]+$"),
    Folder("hedgewars-data", "usr/share/games/hedgewars/Data/Sounds/voices", "*.ogg", "GFDL-1.3", r"/(\w+)/[^/]+$"),
)
SPEAKERS = {voice.name: voice for voice in (*VOICES, *PROMPTS.values())}


def strangers(packages: Mapping[str, Package], held: HeldOut) -> Iterator[Recording]:
    """Nobody here is a speaker whom a task with unseen speakers tests."""
    yield from READER.recordings(packages, held)
    yield from _queen(packages["flight-of-the-amazon-queen"])
    for folder in OTHERS:
        yield from folder.recordings(packages, held)


def same_voices(packages: Mapping[str, Package], held: HeldOut) -> Iterator[Recording]:
    """Other recordings of speakers whom `language` or the pack's tasks of unseen speakers test."""
    for language in fillets.LANGUAGES:
        package = packages[f"fillets-ng-data-{language}"]
        for line in fillets.lines(packages, language):
            if held.spares(package, line.path):
                group = f"{language}_{line.role}"
                yield Recording(package.source(line.path), group, fillets.LICENCE, partial(read, line.path))
    for _, voice in sorted(SPEAKERS.items()):
        path = f"usr/share/asterisk/sounds/{voice.folder}"
        yield from Folder(voice.package, path, "*.*", voice.licence, who=voice.person).recordings(packages, held)


def _queen(package: Package) -> Iterator[Recording]:
    """English dialogue, MP3 in one archive; the group is the scene, which begins a name."""
    archive = package.folder / QUEEN
    for name, start, size in members(archive.read_bytes()):
        if name.endswith(".SB"):
            source, group = f"{package.source(archive)}#{name}", f"{package.name}_{name[:3]}"
            yield Recording(source, group, "LicenseRef-Amazon-Queen", partial(_part, archive, start, size))


def members(archive: bytes) -> list[tuple[str, int, int]]:
    """(Name, first byte, bytes) of what is in an archive of the game engine.

    `QTBL`, 6 bytes of version, 2 unused, 1 of compression, a big-endian count of 16 bits; a member is 12 bytes of name,
    1 unused, and offset and size of 32 bits.
    """
    if archive[:4] != b"QTBL":
        raise ValueError(f"expected an archive that begins with QTBL, received {archive[:4]!r}")
    found = []
    for index in range(int.from_bytes(archive[13:15], "big")):
        entry = archive[15 + 21 * index : 36 + 21 * index]
        name = entry[:12].rstrip(b"\0").decode("latin-1")
        found.append((name, int.from_bytes(entry[13:17], "big"), int.from_bytes(entry[17:], "big")))
    return found


def _part(file: Path, start: int, size: int) -> Samples:
    with file.open("rb") as opened:
        opened.seek(start)
        return decode(BytesIO(opened.read(size)))
