"""CTranslate2's model.bin against the transformers model that it was made from."""

import hashlib
from pathlib import Path

import pytest
import torch
import whispers

from crossfade.encoders.ctranslate2 import ctranslate2_files, read_ctranslate2
from crossfade.errors import InputError
from crossfade.probing.whisper import build_whisper


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_outputs_are_those_of_the_model_it_was_made_from(dtype: torch.dtype, tmp_path: Path) -> None:
    theirs = whispers.encoder(seed=1).to(dtype).float()  # rounded as it is stored
    content = whispers.model_bin(whispers.variables(theirs), dtype=dtype)
    (tmp_path / "model.bin").write_bytes(content)
    weights = read_ctranslate2(tmp_path)
    assert weights.sha256 == hashlib.sha256(content).hexdigest()
    assert {key: getattr(theirs.config, key) for key in weights.config} == weights.config
    assert {value.dtype for value in weights.tensors.values()} == {dtype}
    mel = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(0))
    ours = build_whisper(weights, "made")
    torch.testing.assert_close(ours(mel)[0], theirs(mel)[0], atol=1e-5, rtol=0)


def test_parts_are_joined(tmp_path: Path) -> None:
    content = whispers.model_bin(whispers.variables(whispers.encoder()))
    for folder, cuts in (("one", []), ("parts", [5, 3001])):
        (tmp_path / folder).mkdir()
        for number, (start, stop) in enumerate(zip([0, *cuts], [*cuts, len(content)], strict=True), 1):
            name = f"model.bin.part{number}" if cuts else "model.bin"
            (tmp_path / folder / name).write_bytes(content[start:stop])
    one, parts = (read_ctranslate2(tmp_path / name) for name in ("one", "parts"))
    assert one.sha256 == parts.sha256
    assert one.tensors.keys() == parts.tensors.keys()
    assert all(torch.equal(one.tensors[name], parts.tensors[name]) for name in one.tensors)
    (tmp_path / "parts" / "model.bin.part2").unlink()
    with pytest.raises(InputError, match=r"parts: model\.bin\.part2 is missing; copy every part into this folder"):
        ctranslate2_files(tmp_path / "parts")


def test_a_folder_without_one(tmp_path: Path) -> None:
    assert ctranslate2_files(tmp_path) == ()
    with pytest.raises(InputError, match=r"no model\.bin; expected a folder with a Whisper that CTranslate2 converted"):
        read_ctranslate2(tmp_path)


def damaged(kind: str) -> bytes:
    found = whispers.variables(whispers.encoder())
    content = whispers.model_bin(found)
    if kind == "no positions":
        return whispers.model_bin({name: value for name, value in found.items() if "position" not in name})
    if kind == "quantised":
        return whispers.model_bin(
            found | {"encoder/layer_1/ffn/linear_0/weight": torch.zeros(40, 24, dtype=torch.int8)}
        )
    kinds = {
        "truncated": content[:-9000],
        "head only": content[:10],
        "empty": b"",
        "overlong": content + b"x",
        "text": b"hello, this is not a model at all",
        "version": whispers.model_bin(found, version=7),
        "translator": whispers.model_bin(found, specification="TransformerSpec"),
        "sizes": content.replace(b"encoder/conv1/bias\0\1\x18", b"encoder/conv1/bias\0\1\x19"),
    }
    return kinds[kind]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("truncated", r"it ends at byte \d+, in the middle of a value; the file is damaged or incomplete"),
        ("head only", "it ends at byte 10, in the middle of a value"),
        ("empty", "it ends at byte 0, in the middle of a value"),
        ("overlong", r"it goes on after byte \d+, where its last value ends"),
        ("text", "expected a CTranslate2 model of format version 2 to 6, received 1819043176; convert it"),
        ("version", "format version 2 to 6, received 7"),
        ("translator", "expected a WhisperSpec, received 'TransformerSpec'; only Whisper is read"),
        ("sizes", r"variable 'encoder/conv1/bias' takes 96 bytes for \[25\] of dtype 0"),
        ("no positions", "variable 'encoder/position_encodings/encodings' is missing"),
        ("quantised", r"encoder/layer_1/ffn/linear_0/weight is quantised to torch\.int8; expected float16 or float32"),
    ],
)
def test_files_that_cannot_be_read(kind: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(damaged(kind))
    with pytest.raises(InputError, match=says) as error:
        read_ctranslate2(tmp_path)
    assert str(error.value).startswith(str(tmp_path / "model.bin"))
    assert "\n" not in str(error.value)


def test_tensors_that_do_not_belong_together(tmp_path: Path) -> None:
    found = whispers.variables(whispers.encoder())
    del found["encoder/layer_1/ffn/linear_0/bias"]
    (tmp_path / "model.bin").write_bytes(whispers.model_bin(found))
    with pytest.raises(InputError, match=r"made: tensor layers\.1\.fc1\.bias has shape none, it is missing, expected"):
        build_whisper(read_ctranslate2(tmp_path), "made")
