"""Where the sounds are read from, and what is written of them."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from audio_pack.sound import RATE, Samples
from distil_corpora.recordings import Recording, clips
from distil_corpora.speech import OTHERS, READER, SPEAKERS, members
from probe_tasks.fillets import LANGUAGES
from probe_tasks.folders import write_clips
from probe_tasks.speech import FOLDS


def _noise(seed: int) -> Samples:
    return np.asarray(np.random.default_rng(seed).uniform(-0.1, 0.1, 12 * RATE), dtype=np.float32)


def _recordings() -> list[Recording]:
    first = Recording("game=1:2.0-1:usr/share/level one/ok.ogg", "hero", "CC0-1.0", partial(_noise, 0))
    copy = replace(first, source="game=1:2.0-1:usr/share/level two/ok.ogg")
    return [first, copy, Recording("tone=1.1:package/A4.mp3", "horn", "CC-BY-3.0", partial(_noise, 1))]


def test_a_corpus_has_every_recording_once_and_says_where_it_is_from(tmp_path: Path) -> None:
    origins = write_clips(clips(_recordings()), tmp_path / "corpus")
    rows = [json.loads(line) for line in (tmp_path / "corpus/manifest.jsonl").read_text().splitlines()]
    assert [list(row) for row in rows] == [["path", "group", "source", "licence"]] * 4
    assert [row["path"] for row in rows[1:3]] == ["game_00000_01.flac", "tone_00002_00.flac"]
    assert {path.name for path in (tmp_path / "corpus").glob("*.flac")} == {row["path"] for row in rows}
    assert origins == {("game=1:2.0-1", "CC0-1.0"): 12 * RATE, ("tone=1.1", "CC-BY-3.0"): 12 * RATE}


def test_a_second_run_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_clips(clips(_recordings()), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "second").iterdir())
    assert all((tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes() for name in files)


@pytest.mark.parametrize(
    ("folder", "file", "group"),
    [
        ("drascula", "en/D12.ALS", "drascula_D"),
        ("drascula-spanish", "es/421.ALS", "drascula-spanish"),
        ("tuxpaint-stamps-default", "animals/birds/drake_desc_pt_BR.ogg", "tuxpaint-stamps-default_pt_BR"),
        ("klettres-data", "en_GB/alpha/a.ogg", "klettres-data_en_GB"),
        ("hedgewars-data", "voices/Default_ru/Amazing.ogg", "hedgewars-data_Default_ru"),
    ],
)
def test_groups_are_read_from_paths(folder: str, file: str, group: str) -> None:
    (found,) = (one.group(Path("/data") / one.path / file) for one in OTHERS if one.package == folder)
    assert found == group


def test_no_package_of_a_tested_speaker_is_among_the_strangers() -> None:
    tested = {*(voice.package for voice in SPEAKERS.values()), *(f"fillets-ng-data-{one}" for one in LANGUAGES)}
    assert {speaker for fold in FOLDS for speaker in fold} <= {*SPEAKERS, "cs_small", "cs_big", "nl_small", "nl_big"}
    assert not tested & {READER.package, *(folder.package for folder in OTHERS)}


def test_members_of_an_archive() -> None:
    entries = {b"JOE1.SB": (57, 3), b"120007J1.SBX": (60, 70_000)}
    table = b"".join(
        name.ljust(12, b"\0") + b"\1" + start.to_bytes(4, "big") + size.to_bytes(4, "big")
        for name, (start, size) in entries.items()
    )
    archive = b"QTBLCEM10\0\0\0\1" + len(entries).to_bytes(2, "big") + table
    assert members(archive) == [("JOE1.SB", 57, 3), ("120007J1.SBX", 60, 70_000)]
    with pytest.raises(ValueError, match="expected an archive that begins with QTBL, received b'RIFF'"):
        members(b"RIFF....")
