import hashlib
import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from crossfade.encoders.checkpoint import TensorInfo, open_checkpoint
from crossfade.errors import InputError

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool)
TENSORS = {str(dtype): (torch.randn(3, 5) * 4).to(dtype) for dtype in DTYPES}
TENSORS |= {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 4)}


def save_safetensors(folder: Path) -> None:
    save_file(TENSORS, folder / "model.safetensors", {"format": "pt"})


def save_pickle(folder: Path) -> None:
    torch.save(TENSORS, folder / "pytorch_model.bin")


def save_legacy(folder: Path) -> None:
    torch.save(TENSORS, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def save_shards(folder: Path, suffix: str) -> None:
    stem = {"safetensors": "model", "bin": "pytorch_model"}[suffix]
    shards = [f"{stem}-0000{number}-of-00002.{suffix}" for number in (1, 2)]
    weight_map = {name: shards[number % 2] for number, name in enumerate(TENSORS)}
    for shard in shards:
        part = {name: TENSORS[name] for name in TENSORS if weight_map[name] == shard}
        (save_file if suffix == "safetensors" else torch.save)(part, folder / shard)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))


FORMATS = {
    "safetensors": save_safetensors,
    "pickle": save_pickle,
    "legacy": save_legacy,
    "safetensors shards": lambda folder: save_shards(folder, "safetensors"),
    "pickle shards": lambda folder: save_shards(folder, "bin"),
}


@pytest.mark.parametrize("save", FORMATS.values(), ids=FORMATS)
def test_reads_what_was_saved(tmp_path: Path, save) -> None:
    save(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.infos == {name: TensorInfo(tensor.dtype, tuple(tensor.shape)) for name, tensor in TENSORS.items()}
    for name, tensor in TENSORS.items():
        read = checkpoint.read(name)
        assert read.is_contiguous()
        assert read.dtype == tensor.dtype
        assert torch.equal(read, tensor)
        read.fill_(1)
        assert torch.equal(checkpoint.read(name), tensor)


@pytest.mark.parametrize("save", FORMATS.values(), ids=FORMATS)
def test_sha256_is_that_of_the_files(tmp_path: Path, save) -> None:
    save(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    files = sorted(path for path in tmp_path.iterdir() if path.suffix != ".json")
    assert checkpoint.files == tuple(files)
    assert checkpoint.sha256() == hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def test_metadata_and_repr(tmp_path: Path) -> None:
    save_safetensors(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.metadata == {"format": "pt"}
    assert repr(checkpoint) == f"Checkpoint({str(tmp_path)!r}, 9 tensors, 0.0 MB)"


def test_safetensors_win_over_pickles(tmp_path: Path) -> None:
    save_safetensors(tmp_path)
    torch.save({"other": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    assert "other" not in open_checkpoint(tmp_path).infos


def test_pickled_views_share_a_storage(tmp_path: Path) -> None:
    base = torch.arange(60.0).reshape(6, 10)
    views = {
        "base": base,
        "rows": base[2:4],
        "every other": base[1:5:2, 1::3],
        "transposed": base.t(),
        "expanded": base[3].expand(4, 10),
        "parameter": nn.Parameter(base[:, 7]),
        "nothing": base[:, :0],
    }
    torch.save(views, tmp_path / "pytorch_model.bin")
    checkpoint = open_checkpoint(tmp_path)
    for name, view in views.items():
        assert torch.equal(checkpoint.read(name), view), name
        assert checkpoint.read(name).is_contiguous()


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.complex64])
def test_rarer_dtypes(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.arange(6).reshape(2, 3).to(dtype)
    for name, save in (("model.safetensors", save_file), ("pytorch_model.bin", torch.save)):
        folder = tmp_path / name
        folder.mkdir()
        save({"x": tensor}, folder / name)
        assert torch.equal(open_checkpoint(folder).read("x").view(torch.uint8), tensor.view(torch.uint8))


def test_a_module_s_state_dict_and_a_repacked_archive(tmp_path: Path) -> None:
    """Offsets come from the archive itself, so records may lie in any order."""
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    original, repacked = tmp_path / "original.bin", tmp_path / "pytorch_model.bin"
    torch.save(module.state_dict(), original)
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(repacked, "w") as target:
        for item in reversed(source.infolist()):
            target.writestr(item.filename, source.read(item))
    checkpoint = open_checkpoint(tmp_path)
    for name, tensor in module.state_dict().items():
        assert torch.equal(checkpoint.read(name), tensor)


def header(entries: object, values: int = 0) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(values)


def entry(begin: int, end: int, *shape: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


BROKEN = {
    "empty": (b"", "expected a safetensors file, received an empty one"),
    "short": (b"\x01\x00", "the file has 2 bytes"),
    "header past the end": (header({"a": entry(0, 4, 1)})[:-3], "the file has"),
    "absurd header": (b"\xff" * 20, "the file has 20 bytes"),
    "not JSON": (header(b"{nonsense"), "not JSON"),
    "not text": (header(b'{"\xff\xfe"'), "not JSON"),
    "deep": (header(b"[" * 100_000), "not JSON"),
    "a list": (header([]), "to be a JSON object"),
    "no tensors": (header({}), "holds no tensors"),
    "metadata": (header({"__metadata__": {"a": 1}}), "__metadata__ is not a map of strings"),
    "an entry": (header({"a": 3}), "entry of tensor 'a' is not valid"),
    "a shape": (header({"a": entry(0, 4, -1)}, 4), "entry of tensor 'a' is not valid"),
    "a dtype": (header({"a": entry(0, 1, 1, dtype="F4")}, 1), "tensor 'a' has dtype F4, expected one of BOOL, U8"),
    "a size": (header({"a": entry(0, 4, 2)}, 4), "takes 4 bytes, expected 8 bytes for F32 \\[2\\]"),
    "backwards": (header({"a": entry(4, 0, 1)}, 4), "takes -4 bytes"),
    "overlap": (header({"a": entry(0, 8, 2), "b": entry(4, 12, 2)}, 12), "tensor 'b' overlaps"),
    "hole": (header({"a": entry(0, 4, 1), "b": entry(8, 12, 1)}, 12), "tensor 'b' leaves a hole"),
    "cut": (header({"a": entry(0, 8, 2)}, 7), "describes"),
    "too long": (header({"a": entry(0, 8, 2)}, 9), "describes"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_safetensors(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open_checkpoint(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "model.safetensors"))
    assert "\n" not in str(caught.value)


@given(st.integers(0, 10_000), st.integers(1, 255), st.sampled_from(["safetensors", "pickle", "legacy"]))
def test_a_flipped_byte_is_refused_or_harmless(tmp_path_factory, position: int, flip: int, kind: str) -> None:
    folder = tmp_path_factory.mktemp("flip")
    FORMATS[kind](folder)
    path = next(folder.iterdir())
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= flip
    path.write_bytes(content)
    message, shapes = "", {}
    try:
        checkpoint = open_checkpoint(folder)
        shapes = {name: tuple(checkpoint.read(name).shape) for name in checkpoint.infos}
    except InputError as error:  # at once, or where an archive's record is only looked at when its tensor is read
        message = str(error)
    if message:
        assert message.startswith(str(path))
        assert "\n" not in message
    else:
        assert shapes == {name: info.shape for name, info in checkpoint.infos.items()}


@pytest.mark.parametrize("kept", [0, 1, 2, 100, 700, -1, -30])
@pytest.mark.parametrize("kind", ["safetensors", "pickle", "legacy"])
def test_truncated_files(tmp_path: Path, kind: str, kept: int) -> None:
    FORMATS[kind](tmp_path)
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match="damaged or incomplete: download it again or save it again"):
        open_checkpoint(tmp_path)


class _Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    monkeypatch.chdir(tmp_path)
    state = {"a": torch.ones(1), "b": _Attack()}
    torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    expected = "asks for 'posix.system'.*safetensors" if zipped else "not a file of weights that torch.load"
    with pytest.raises(InputError, match=expected):
        open_checkpoint(tmp_path)
    assert not Path("attacked").exists()


def test_pickles_that_are_not_plain_tensors(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    cases = [
        ([torch.ones(2)], "expected a dictionary of tensors, received a list"),
        ({"model": {"a": torch.ones(2)}}, "received a dict at 'model'; save the state_dict alone"),
        ({"steps": 3}, "received a int at 'steps'"),
        ({}, "holds no tensors"),
        ({"a": torch.eye(2).to_sparse()}, "asks for 'torch._utils._rebuild_sparse_tensor'"),
    ]
    for state, message in cases:
        torch.save(state, path)
        with pytest.raises(InputError, match=message):
            open_checkpoint(tmp_path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError, match=r"torch\.load"):
        open_checkpoint(tmp_path)


def repack(path: Path, compression: int = zipfile.ZIP_STORED, **changes: bytes) -> None:
    """Write the archive again with records replaced (or added), or dropped where the content is empty."""
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].partition("/")[0]
        records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in (records | changes).items():
            if content:
                archive.writestr(f"{root}/{name}", content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.pkl": b""}, "not a readable PyTorch archive"),
        ({"data.pkl": b"\x80\x02]q"}, "not a readable PyTorch archive"),
        ({"data/0": b""}, "tensor 'a' needs 16 bytes of values, the archive has none"),
        ({"data/0": b"1234"}, "tensor 'a' needs 16 bytes of values, the archive has 4 bytes"),
        ({"byteorder": b"big"}, "expected little"),
        ({"compression": zipfile.ZIP_DEFLATED}, "tensor 'a' is compressed"),
    ],
)
def test_broken_archives(tmp_path: Path, changes: dict, message: str) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(4)}, path)
    repack(path, **changes)
    with pytest.raises(InputError, match=message):
        open_checkpoint(tmp_path)


def test_folders_without_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        open_checkpoint(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no weights; expected one of model.safetensors, .*; found nothing"):
        open_checkpoint(tmp_path)
    (tmp_path / "weights.safetensors").touch()
    with pytest.raises(InputError, match=r"found weights.safetensors"):
        open_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(InputError, match=r"model.safetensors: cannot be read"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_that_do_not_match_the_index(tmp_path: Path, suffix: str) -> None:
    save_shards(tmp_path, suffix)
    index = next(tmp_path.glob("*.index.json"))
    weight_map = json.loads(index.read_text())["weight_map"]
    cases: list[tuple[object, str]] = [
        (
            {"weight_map": weight_map | {"lost": weight_map["scalar"]}},
            "puts tensor 'lost' in .*, which does not hold it",
        ),
        ({"weight_map": weight_map | {"lost": f"model-9.{suffix}"}}, f"model-9.{suffix}: missing, though .* names it"),
        ({"weight_map": {"a": "../model.safetensors"}}, "received '../model.safetensors'"),
        ({"weight_map": {"a": 3}}, "received 3"),
        ({"weight_map": {}}, "expected a 'weight_map'"),
        ([], "expected a 'weight_map'"),
    ]
    for content, message in cases:
        index.write_text(json.dumps(content))
        with pytest.raises(InputError, match=message):
            open_checkpoint(tmp_path)
    index.write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("kind", ["safetensors", "pickle"])
def test_files_that_change_after_they_were_opened(tmp_path: Path, kind: str) -> None:
    FORMATS[kind](tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    os.truncate(checkpoint.files[0], 0)
    with pytest.raises(InputError, match="damaged or incomplete"):
        checkpoint.read("scalar")
    checkpoint.files[0].unlink()
    with pytest.raises(InputError, match=r"cannot be read \(No such file or directory\)"):
        checkpoint.sha256()
    with pytest.raises(InputError, match="cannot read tensor 'scalar' \\(No such file or directory\\)"):
        checkpoint.read("scalar")
