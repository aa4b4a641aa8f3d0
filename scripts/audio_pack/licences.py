"""`SOURCES.md` and `LICENSES/`: who made the sounds, and the terms, taken from the packages themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from audio_pack.packages import Package

INTRODUCTION = """# Where the sounds come from

Every row of every `manifest.jsonl` names the package, version and file (`source`) and the licence (`licence`) of its
sound; the texts are in `LICENSES/`. Every sound was **changed**: resampled to 16 kHz mono, cut or trimmed of silence,
scaled in level, in `calibration/speech` some joined into rows, and coded as Ogg Opus. Sounds under CC-BY-SA stay under
it. The sounds are data beside the program; the program's own licence does not cover them.

Not used, although in these packages: the recordings of gcin-voice's first speaker (`3.ogg`), which are not under CC-BY.

| package | version | licence | credit |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Credit:
    """The line of one package, or of all packages whose names begin with it, in `SOURCES.md`."""

    package: str
    licence: str
    words: str


CREDITS = (
    Credit("asterisk-core-sounds-en-wav", "CC-BY-SA-3.0", "spoken by Allison Smith; Digium, Inc."),
    Credit("asterisk-core-sounds-es-wav", "CC-BY-SA-3.0", "spoken by Allison Smith; Digium, Inc."),
    Credit(
        "asterisk-core-sounds-fr-wav",
        "CC-BY-SA-3.0",
        "spoken by June Wallack; translated by Clod Patry, Kristopher Lalletti and June Wallack; Digium, Inc., "
        "Unlimitel, BGM Informatique",
    ),
    Credit(
        "asterisk-core-sounds-it-wav",
        "CC-BY-3.0",
        "spoken by Carlo Flora (www.carloflora.com, www.segreterietelefoniche.it); translated by Silvia Petrin from "
        "the English of Digium, Inc.",
    ),
    Credit("asterisk-core-sounds-ru-wav", "CC-BY-3.0", "provided by Maxim Topal (www.ivrvoice.ru)"),
    Credit(
        "asterisk-prompt-fr-armelle",
        "LicenseRef-BSD-Armelle",
        "spoken by Armelle Desjardins; copyright 2006 Michel Gutierrez",
    ),
    Credit(
        "asterisk-prompt-it-menardi-wav",
        "CC-BY-SA-3.0-IT",
        "made by Marco Menardi and his wife Paola Dal Zot, the voice; the originals, updates and new voices are at "
        "http://www.voip.ammdomus.it; the English text is Digium's (http://www.digium.com)",
    ),
    Credit("festvox-ru", "LicenseRef-BSD-festvox-ru", "copyright 2005 Nickolay V. Shmyrev"),
    Credit("gcin-voice", "CC-BY-3.0", "`5.ogg`: ChionMeilin recording group, vocal source Chu Lo (羅竺)"),
    Credit(
        "musescore-general-soundfont-small",
        "MIT",
        "rendered from MuseScore_General by S. Christian Collins, from Fluid (R3) by Frank Wen and its mono version by "
        "Michael Cowgill; further names in the licence text",
    ),
    Credit(
        "sonic-pi-samples",
        "CC0-1.0",
        "Sonic Pi by Sam Aaron; samples from freesound.org, listed one by one in the package",
    ),
    Credit("tonejs-instrument-", "CC-BY-3.0", "tonejs-instruments (`samples: CC-by 3.0` in each package's README)"),
)

TEXTS = {
    "CC-BY-SA-3.0": ("asterisk-core-sounds-en-wav", "CC-BY-SA-3.0"),
    "CC-BY-3.0": ("asterisk-core-sounds-en-wav", "CC-BY-3.0"),
    "CC-BY-SA-3.0-IT": ("asterisk-prompt-it-menardi-wav", "CC-SA-BY-3.0"),
    "CC0-1.0": ("sonic-pi-samples", "CC0"),
    "LicenseRef-BSD-festvox-ru": ("festvox-ru", "BSD-like"),
}


def write(packages: Mapping[str, Package], output: Path) -> None:
    """Both, into the pack."""
    folder = output / "LICENSES"
    folder.mkdir()
    texts = {name: _paragraph(_copyright(packages[package]), heading) for name, (package, heading) in TEXTS.items()}
    texts["MIT"] = _copyright(packages["musescore-general-soundfont-small"]).split("Licence:\n", 1)[1].strip()
    armelle = _copyright(packages["asterisk-prompt-fr-armelle"])
    texts["LicenseRef-BSD-Armelle"] = armelle.split("License:\n", 1)[1].split("The Debian packaging", 1)[0].strip()
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(f"{text}\n", encoding="utf-8")
    rows = "".join(_row(credit, packages) for credit in CREDITS)
    (output / "SOURCES.md").write_text(INTRODUCTION + rows, encoding="utf-8")


def _copyright(package: Package) -> str:
    return (package.folder / "usr/share/doc" / package.name / "copyright").read_text(encoding="utf-8")


def _paragraph(text: str, heading: str) -> str:
    """The longest of a copyright file's paragraphs headed `License: HEADING`: its words alone, one space less deep."""
    found = []
    for part in f"\n{text}".split(f"\nLicense: {heading}\n")[1:]:
        lines = part.splitlines()
        end = next((at for at, line in enumerate(lines) if line[:1] not in (" ", "")), len(lines))
        found.append("\n".join("" if line == " ." else line[1:].rstrip() for line in lines[:end]).strip("\n"))
    return max(found, key=len)


def _row(credit: Credit, packages: Mapping[str, Package]) -> str:
    matching = [package for name, package in sorted(packages.items()) if name.startswith(credit.package)]
    if len(matching) == 1:
        return f"| {credit.package} | {matching[0].version} | {credit.licence} | {credit.words} |\n"
    versions = ", ".join(
        f"{package.name.removeprefix(credit.package).removesuffix('-mp3')} {package.version}" for package in matching
    )
    return f"| {credit.package}\\*-mp3 | {versions} | {credit.licence} | {credit.words} |\n"
