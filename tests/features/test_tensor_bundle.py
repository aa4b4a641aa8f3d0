"""TensorFlow's weights, written here byte by byte, read back; and what is refused."""

from contextlib import suppress
from pathlib import Path

import bundles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from crossfade.errors import InputError
from crossfade.features.tensor_bundle import DTYPES, masked_crc32c, open_bundle


def tensors() -> dict[str, Tensor]:
    """One of every dtype, with names that share their beginnings, enough for several blocks."""
    generator = torch.Generator().manual_seed(0)
    kinds = {
        f"layer/kernel_{code}": torch.randint(0, 2, (2, 3), generator=generator).to(dtype)
        for code, dtype in DTYPES.items()
    }
    return kinds | {
        "layer": torch.tensor(2.5),
        "layer/kernel": torch.randn(70, 40, generator=generator),
        "z": torch.zeros(0),
    }


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("name", ["", "variables"])
def test_what_was_written_is_read(name: str, shards: int, tmp_path: Path) -> None:
    bundle = open_bundle(bundles.write(tmp_path, tensors(), name=name, shards=shards))
    assert bundle.entries.keys() == tensors().keys()
    for key, value in tensors().items():
        found = bundle.read(key)
        assert found.dtype == value.dtype
        assert torch.equal(found, value)
    assert len(bundle.files) == shards + 1
    assert all(path.exists() for path in bundle.files)


def test_the_digest_is_that_of_all_files(tmp_path: Path) -> None:
    one = open_bundle(bundles.write(tmp_path / "one", tensors()))
    assert one.sha256() == open_bundle(bundles.write(tmp_path / "two", tensors())).sha256()
    changed = tensors() | {"layer": torch.tensor(2.25)}
    assert one.sha256() != open_bundle(bundles.write(tmp_path / "three", changed)).sha256()


def test_the_checksum_is_castagnolis() -> None:
    # RFC 3720, B.4: 32 bytes of zeros; and the check value of the CRC catalogue.
    for content, crc in ((bytes(32), 0x8A9136AA), (b"123456789", 0xE3069283)):
        masked = masked_crc32c(content)
        turned = (masked - 0xA282EAD8) & 0xFFFFFFFF
        assert (turned >> 17 | turned << 15) & 0xFFFFFFFF == crc


def test_damaged_values_are_refused_when_they_are_read(tmp_path: Path) -> None:
    index = bundles.write(tmp_path, {"a": torch.ones(4), "b": torch.ones(4)})
    data = tmp_path / ".data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[20] ^= 1
    data.write_bytes(content)
    bundle = open_bundle(index)
    assert torch.equal(bundle.read("a"), torch.ones(4))
    with pytest.raises(InputError, match=r"data-00000-of-00001: the checksum of tensor 'b' is wrong; the file is dam"):
        bundle.read("b")
    data.write_bytes(content[:20])
    with pytest.raises(InputError, match="the checksum of tensor 'b' is wrong"):
        bundle.read("b")
    data.unlink()
    with pytest.raises(InputError, match=r"00001: cannot be read \(No such file or directory\); expected weights that"):
        bundle.read("a")
    with pytest.raises(InputError, match=r"\.index: tensor 'c' is missing; the file is damaged or incomplete"):
        bundle.read("c")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it does not end as a LevelDB table does"),
        (b"hello" * 100, "it does not end as a LevelDB table does"),
        (bundles.table({b"": b""}, kind=b"\1"), "its block at byte 0 is compressed, which TensorFlow does not do"),
        (bundles.table({b"": b"\x10\1"}), "its values are big-endian"),
        (bundles.table({b"\xff": b""}), "invalid start byte"),
        (bundles.table({b"a": b"\x08"}), "it ends in the middle of a value"),
        (bundles.table({b"a": b"\x0a\0"}), "field 1 is no number"),
        (bundles.table({b"a": b"\x10\1"}), "field 2 is no message"),
        (bundles.table({b"a": b"\x0b"}), "a field of kind 3"),
        (bundles.table({b"a": b"\x3a\0"}), "a tensor is stored in slices"),
    ],
)
def test_what_is_no_index_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / ".index").write_bytes(content)
    with pytest.raises(InputError, match=rf"\.index: not a readable index of TensorFlow's weights \(.*{says}"):
        open_bundle(tmp_path / ".index")


@pytest.mark.parametrize("code", [7, 99])
def test_a_tensor_of_strings_is_listed_and_not_read(code: int, tmp_path: Path) -> None:
    index = bundles.write(tmp_path, {"a": torch.ones(4)}, extra=bytes([8, code]))  # the later of two dtypes counts
    with pytest.raises(InputError, match=rf"tensor 'a' takes 16 bytes for \[4\] of dtype {code}; the file is damaged"):
        open_bundle(index).read("a")


@given(place=st.integers(min_value=0), bits=st.integers(1, 255), cut=st.booleans())
def test_no_damage_to_an_index_goes_unseen(place: int, bits: int, cut: bool, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    index = bundles.write(folder, {f"layer_{number}/kernel": torch.ones(number) for number in range(6)})
    content, whole = bytearray(index.read_bytes()), open_bundle(index).entries
    place %= len(content)
    if cut:
        del content[place:]
    else:
        content[place] ^= bits
    index.write_bytes(content)
    with suppress(InputError):
        assert open_bundle(index).entries == whole  # nothing reads the footer's padding, or the handle of no filters
