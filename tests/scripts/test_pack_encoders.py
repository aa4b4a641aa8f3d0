"""A distilled folder becomes a shipped one."""

import json
import shutil
from hashlib import sha256
from pathlib import Path

import distilling
import pack_encoders
import pytest
import torch
import yaml
from pack_encoders import half, pack, sounds
from safetensors.torch import load_file
from transformers import AutoModel

from crossfade.distillation.run import distill
from crossfade.encoders.encoder import open_encoder
from crossfade.errors import InputError
from crossfade.vectors.vector import extract

SOURCES = """# Where the sounds come from

| folder | package | licence | hours |
|---|---|---|---:|
| speech | game=1:2.0-1 | GPL-2.0-only | 0.91 |
| music | horn=1.1 | CC0-1.0 | 0.36 |
| other | tone=1.1 | MIT | 0.10 |
| speech | all | | 0.91 |
| music | all | | 0.36 |

## Packages

| package | version | SHA-256 of the archive |
|---|---|---|
| game | 1:2.0-1 | `aa` |
"""


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = distilling.materials(tmp_path_factory.mktemp("pack"))
    return distill(distilling.recipe(home), home / "student", device="cpu", cache=home / "cache").path


@pytest.fixture
def packed(student: Path, tmp_path: Path) -> Path:
    pack(student, tmp_path / "encoders/both", "both", SOURCES)
    return tmp_path / "encoders/both"


def test_weights_are_rounded_to_half_precision_and_computed_in_float32(student: Path, packed: Path) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in (student, packed))
    assert before.keys() == after.keys()
    for name, value in after.items():
        torch.testing.assert_close(value, before[name].half(), atol=0, rtol=0)
    model = AutoModel.from_pretrained(packed)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


def test_the_folder_is_complete_and_nothing_else_is_left(packed: Path, student: Path) -> None:
    files = {"README.md", "config.json", "crossfade.json", "model.safetensors", "preprocessor_config.json"}
    assert {path.name for path in packed.iterdir()} == files
    assert [path.name for path in packed.parent.iterdir()] == ["both"]
    assert (packed / "crossfade.json").read_bytes() == (student / "crossfade.json").read_bytes()


def test_the_card_tells_teachers_data_licences_time_and_seed(packed: Path, student: Path) -> None:
    front, body = (packed / "README.md").read_text().split("---\n", 2)[1:]
    assert yaml.safe_load(front) == {
        "library_name": "transformers",
        "pipeline_tag": "feature-extraction",
        "tags": ["audio", "crossfade", "distillation", "both"],
        "license": "apache-2.0",
    }
    digest = sha256((student / "model.safetensors").read_bytes()).hexdigest()
    for text in ("small encoders: both", digest, " minutes on ", "seed 0", "## Limits", "## Loss", "| logmel |"):
        assert text in body
    assert "| speech | game=1:2.0-1 | GPL-2.0-only | 0.91 |\n| music | horn=1.1 | CC0-1.0 | 0.36 |\n" in body
    assert "tone=1.1" not in body
    assert body.count("\n# ") == 1


def test_licences_of_signals_are_known(student: Path) -> None:
    record = json.loads((student / "crossfade.json").read_text())
    record["teachers"].append(record["teachers"][0] | {"model": "crepe-tiny", "licence": None})
    assert "| crepe-tiny | MIT |" in pack_encoders.licences(record, SOURCES)[0]


def test_a_student_of_a_shipped_base_knows_it_again(student: Path, tmp_path: Path) -> None:
    distilled, shipped = tmp_path / "distilled", tmp_path / "shipped"
    shutil.copytree(student, distilled / "both")
    taught = shutil.copytree(student, distilled / "music-shared")
    record = json.loads((student / "crossfade.json").read_text())
    base = {"name": "encoders/both", "sha256": open_encoder(student).sha256}
    record["student"] |= {"start": "base", "sources": [base]}
    (taught / "crossfade.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="is not there, and others began as both; pack both before them"):
        pack(taught, shipped / "music-shared", "music-shared", SOURCES)
    for name in ("both", "music-shared"):
        pack(distilled / name, shipped / name, name, SOURCES)
    found = extract(shipped / "music-shared", shipped / "both", tmp_path / "vector")
    assert found.base["sha256"] == open_encoder(shipped / "both").sha256 != base["sha256"]


def test_what_is_too_large_is_refused_and_what_was_there_stays(
    student: Path, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (packed / "model.safetensors").read_bytes()
    monkeypatch.setattr(pack_encoders, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match=r"takes \d+ bytes when packed, expected at most 1000"):
        pack(student, packed, "both", SOURCES)
    assert (packed / "model.safetensors").read_bytes() == before


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model.safetensors: is missing; expected a folder that crossfade distill wr"):
        pack(tmp_path, tmp_path / "out", "both", SOURCES)
    assert not (tmp_path / "out").exists()


def test_a_value_that_half_precision_cannot_hold_is_an_error() -> None:
    assert half("counter", torch.tensor([70000])).item() == 70000
    with pytest.raises(InputError, match="weight: a value of 7e"):
        half("weight", torch.tensor([70000.0]))


def test_sounds_that_nobody_listed() -> None:
    assert [row["package"] for row in sounds(SOURCES, ["music", "other"])] == ["horn=1.1", "tone=1.1"]
    with pytest.raises(InputError, match=r"SOURCES.md: says nothing of noise"):
        sounds(SOURCES, ["noise"])
