"""The packages that the sounds come from, and how to get them."""

import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEBIAN = {
    "asterisk-core-sounds-en-wav": "1.6.1-1",
    "asterisk-core-sounds-es-wav": "1.6.1-1",
    "asterisk-core-sounds-fr-wav": "1.6.1-1",
    "asterisk-core-sounds-it-wav": "1.6.1-1",
    "asterisk-core-sounds-ru-wav": "1.6.1-1",
    "asterisk-prompt-fr-armelle": "20070613-2.2",
    "asterisk-prompt-it-menardi-wav": "1:1.4.22+mm20110907-3.1",
    "festvox-ru": "0.5+dfsg-6",
    "gcin-voice": "0~20170223-3",
    "musescore-general-soundfont-small": "0.2.1-1",
    "sonic-pi-samples": "3.2.2~repack-8",
}

NPM = {
    f"tonejs-instrument-{name}-mp3": version
    for name, version in {
        "bass-electric": "1.1.2",
        "bassoon": "1.1.2",
        "cello": "1.1.1",
        "clarinet": "1.1.2",
        "contrabass": "1.1.2",
        "flute": "1.1.2",
        "french-horn": "1.1.2",
        "guitar-acoustic": "1.1.2",
        "guitar-electric": "1.1.1",
        "guitar-nylon": "1.1.1",
        "harmonium": "1.1.1",
        "harp": "1.1.1",
        "organ": "1.1.1",
        "piano": "1.1.2",
        "saxophone": "1.1.2",
        "trombone": "1.1.2",
        "trumpet": "1.1.2",
        "tuba": "1.1.2",
        "violin": "1.1.1",
        "xylophone": "1.1.2",
    }.items()
}


@dataclass(frozen=True)
class Package:
    """One unpacked package."""

    name: str
    version: str
    folder: Path

    def source(self, file: Path) -> str:
        """`file` as the manifests name it: package, version, path inside the package."""
        return f"{self.name}={self.version}:{file.relative_to(self.folder).as_posix()}"

    def sha256(self) -> str:
        """Of the archive that was downloaded."""
        (archive,) = (self.folder.parent / "archives" / self.name).iterdir()
        return hashlib.sha256(archive.read_bytes()).hexdigest()


def fetch_all(folder: Path, debian: Mapping[str, str] = DEBIAN, npm: Mapping[str, str] = NPM) -> dict[str, Package]:
    """Every package by name, downloaded below `folder` unless it is there from an earlier run."""
    versions = {**debian, **npm}
    for name, version in versions.items():
        if not (folder / name).exists():
            fetch = _fetch_debian if name in debian else _fetch_npm
            fetch(name, version, folder / name)
    return {name: Package(name, version, folder / name) for name, version in versions.items()}


def _fetch_debian(name: str, version: str, folder: Path) -> None:
    archive = _download(["apt-get", "download", f"{name}={version}"], folder)
    subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)


def _fetch_npm(name: str, version: str, folder: Path) -> None:
    with tarfile.open(_download(["npm", "pack", "--silent", f"{name}@{version}"], folder)) as packed:
        packed.extractall(folder, filter="data")


def _download(command: list[str], folder: Path) -> Path:
    """The one file that `command` leaves in a folder of its own."""
    archives = folder.parent / "archives" / folder.name
    shutil.rmtree(archives, ignore_errors=True)
    archives.mkdir(parents=True)
    subprocess.run(command, cwd=archives, check=True)
    (archive,) = archives.iterdir()
    return archive
