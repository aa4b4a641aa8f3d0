"""Entries survive kills, damage, limits and other runs, or are known to be lost."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from crossfade.errors import InputError
from crossfade.probing import cache as module
from crossfade.probing.cache import Cache, Pool

KEY, OTHER = "a" * 32, "b" * 32


def entry(number: int) -> str:
    return f"{number:032x}"


def features(number: int, *shape: int) -> Tensor:
    return torch.randn(shape or (3, 8), generator=torch.Generator().manual_seed(number))


def filled(folder: Path, numbers: range, key: str = KEY, pool: Pool = "mean") -> Path:
    """Entries in a shard of their own, which is returned."""
    shelf = Cache(folder).shelf(key, pool)
    before = set(folder.glob("*/*"))
    for number in numbers:
        shelf.put(entry(number), features(number))
    shelf.flush()
    (shard,) = set(folder.glob("*/*")) - before
    return shard


@settings(max_examples=25)
@given(
    pool=st.sampled_from(["mean", "frames"]),
    shapes=st.lists(st.tuples(*[st.integers(1, 5)] * 3), min_size=1, max_size=6),
    flushes=st.integers(1, 3),
)
def test_what_is_put_is_got(pool: Pool, shapes: list[tuple[int, ...]], flushes: int, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("cache")
    sizes = [shape[: 2 if pool == "mean" else 3] for shape in shapes]
    wanted = {entry(number): features(number, *size) for number, size in enumerate(sizes)}
    shelf = Cache(folder).shelf(KEY, pool)
    for number, (name, tensor) in enumerate(wanted.items()):
        shelf.put(name, tensor)
        if number % flushes == 0:
            shelf.flush()
    shelf.flush()
    for found in (shelf, Cache(folder).shelf(KEY, pool)):
        for name, tensor in wanted.items():
            assert torch.equal(found.get(name), tensor if pool == "mean" else tensor.half())
        assert found.get(entry(99)) is None
        assert found.damaged == 0
    assert Cache(folder).shelf(OTHER, pool).get(entry(0)) is None
    assert Cache(folder).shelf(KEY, "frames" if pool == "mean" else "mean").get(entry(0)) is None


def test_shards_are_flushed_by_size_and_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Cache(tmp_path).shelf(KEY, "mean")
    monkeypatch.setattr(module, "FLUSH_BYTES", 3 * 96)
    for number in range(8):
        shelf.put(entry(number), features(number))
    assert len(list(tmp_path.glob("*/*"))) == 2
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.0)
    shelf.put(entry(8), features(8))
    assert len(list(tmp_path.glob("*/*"))) == 3
    assert all(Cache(tmp_path).shelf(KEY, "mean").get(entry(number)) is not None for number in range(9))


# Damage -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 7, 200, -1])
def test_a_truncated_shard_is_thrown_away(keep: int, tmp_path: Path) -> None:
    good, bad = filled(tmp_path, range(3)), filled(tmp_path, range(3, 6))
    bad.write_bytes(bad.read_bytes()[:keep])
    shelf = Cache(tmp_path).shelf(KEY, "mean")
    assert [shelf.get(entry(number)) is not None for number in range(6)] == [True] * 3 + [False] * 3
    assert shelf.damaged == 1
    assert list(tmp_path.glob("*/*")) == [good]


def test_a_flipped_bit_costs_its_entry_alone(tmp_path: Path) -> None:
    shard = filled(tmp_path, range(4))
    content = bytearray(shard.read_bytes())
    content[content.index(features(2).numpy().tobytes()) + 5] ^= 1
    shard.write_bytes(content)
    shelf = Cache(tmp_path).shelf(KEY, "mean")
    assert [shelf.get(entry(number)) is not None for number in range(4)] == [True, True, False, True]
    assert shelf.damaged == 1
    filled(tmp_path, range(2, 3))
    again = Cache(tmp_path).shelf(KEY, "mean")
    assert torch.equal(again.get(entry(2)), features(2))


@pytest.mark.parametrize(
    ("tensor", "metadata"),
    [(features(0).half(), None), (features(0).reshape(8, 3), None), (features(0), {}), (features(1), None)],
)
def test_an_entry_that_is_something_else_is_not_trusted(tensor: Tensor, metadata: dict | None, tmp_path: Path) -> None:
    shard = filled(tmp_path, range(1))
    checksums = {entry(0): module._checksum(entry(0), features(0))}
    save_file({entry(0): tensor.contiguous()}, shard, metadata=checksums if metadata is None else metadata)
    shelf = Cache(tmp_path).shelf(KEY, "mean")
    assert shelf.get(entry(0)) is None
    assert shelf.damaged == 1


def test_shards_that_another_run_deletes(tmp_path: Path) -> None:
    shards = filled(tmp_path, range(2)), filled(tmp_path, range(2, 4))
    shelf = Cache(tmp_path).shelf(KEY, "mean")
    mapped = shelf.get(entry(0))
    for shard in shards:
        shard.unlink()
    assert torch.equal(mapped, features(0))
    assert torch.equal(shelf.get(entry(1)), features(1))
    assert shelf.get(entry(2)) is None
    assert shelf.damaged == 0


# Limits -------------------------------------------------------------------------------------------------------------


def aged(path: Path, days: float) -> Path:
    then = time.time() - 86400 * days
    os.utime(path, (then, then))
    return path


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    shards = [aged(filled(tmp_path, range(n, n + 1), key), 9 - n) for n, key in enumerate((KEY, OTHER, KEY, OTHER))]
    size = shards[0].stat().st_size
    Cache(tmp_path).prune()
    Cache(tmp_path, 4 * size).prune()
    assert [shard.exists() for shard in shards] == [True] * 4
    user = Cache(tmp_path, 2 * size)
    assert user.shelf(KEY, "mean").get(entry(0)) is not None
    user.prune()
    assert [shard.exists() for shard in shards] == [True, False, False, True]
    Cache(tmp_path, size).prune()  # that use has made it the youngest
    assert [shard.exists() for shard in shards] == [True, False, False, False]
    greedy = Cache(tmp_path, 0)
    greedy.shelf(KEY, "mean").get(entry(0))
    greedy.prune()
    assert shards[0].exists()
    Cache(tmp_path, 0).prune()
    assert not shards[0].exists()


def test_room_is_made_for_what_comes(tmp_path: Path) -> None:
    shards = [aged(filled(tmp_path, range(n, n + 1)), 9 - n) for n in range(4)]
    size = shards[0].stat().st_size
    cache = Cache(tmp_path, 4 * size)
    assert cache.shelf(KEY, "mean").get(entry(0)) is not None
    with pytest.raises(InputError, match=r"cache size: .* the limit is .* MB; raise it or leave it out"):
        cache.make_room(3 * size + 1)
    assert [shard.exists() for shard in shards] == [True] * 4
    cache.make_room(2 * size)
    assert [shard.exists() for shard in shards] == [True, False, False, True]
    Cache(tmp_path).make_room(10**12)
    assert shards[3].exists()


def test_what_a_run_has_written_stays_while_it_runs(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 0)
    shelf = cache.shelf(KEY, "mean")
    shelf.put(entry(0), features(0))
    shelf.flush()
    cache.prune()
    assert torch.equal(shelf.get(entry(0)), features(0))


def test_nothing_else_in_the_folder_is_touched(tmp_path: Path) -> None:
    mine = [tmp_path / "model" / "model.safetensors", tmp_path / KEY / "notes.txt", tmp_path / "mean-1.safetensors",
            tmp_path / KEY / "mean-1.safetensors", tmp_path / "model" / f"mean-{KEY}.safetensors"]  # fmt: skip
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
        aged(path, 99)
    fresh, stale = tmp_path / KEY / f".{KEY}.tmp", tmp_path / KEY / f".{OTHER}.tmp"
    for path in (fresh, stale):
        path.write_bytes(b"unfinished")
    aged(stale, 2)
    shard = filled(tmp_path, range(2), OTHER)
    Cache(tmp_path, 0).prune()
    assert all(path.exists() for path in [*mine, fresh])
    assert not stale.exists()
    assert not shard.exists()


def test_runs_that_prune_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    for number in range(40):
        filled(tmp_path, range(number, number + 1))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: Cache(tmp_path, 0).prune(), range(16)))
    assert list(tmp_path.glob("*/*")) == []


RUN = """
import os, signal, sys, torch
from crossfade.probing import cache
folder, first = sys.argv[1], int(sys.argv[2])
for number in range(first, first + 30):
    run = cache.Cache(folder, 2000)
    shelf = run.shelf("a" * 32, "mean")
    shelf.put(f"{number:032x}", torch.full((3, 8), float(number)))
    shelf.flush()
    run.prune()
    assert float(shelf.get(f"{number:032x}").sum()) == 24 * number
if first:
    shelf.put("f" * 32, torch.ones(3, 8))
    (shelf.folder / f".{'e' * 32}.tmp").write_bytes(b"half a shard")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_two_processes_that_write_and_prune_one_of_which_is_killed(tmp_path: Path) -> None:
    runs = [subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path), first]) for first in ("0", "100")]
    assert [run.wait() for run in runs] == [0, -signal.SIGKILL]
    Cache(tmp_path, 2000).prune()
    shards = list(tmp_path.glob("*/mean-*"))
    assert 0 < sum(path.stat().st_size for path in shards) <= 2000
    shelf = Cache(tmp_path).shelf(KEY, "mean")
    found = {number: shelf.get(entry(number)) for number in (*range(30), *range(100, 130))}
    kept = {number: tensor for number, tensor in found.items() if tensor is not None}
    assert len(kept) == len(shards)
    assert all(torch.equal(tensor, torch.full((3, 8), float(number))) for number, tensor in kept.items())
    assert shelf.get("f" * 32) is None
    assert shelf.damaged == 0


# Refusals -----------------------------------------------------------------------------------------------------------


def test_folders_and_limits_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file: is a file, expected a folder for cached features"):
        Cache(tmp_path / "file")
    with pytest.raises(InputError, match="cache size: expected at least 0 bytes, got -1"):
        Cache(tmp_path, -1)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    shelf = Cache(tmp_path).shelf(KEY, "mean")
    shelf.put(entry(0), features(0))
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\); free space or give another"):
        shelf.flush()
    assert list(tmp_path.glob("*/*")) == []
