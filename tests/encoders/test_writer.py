import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from crossfade.encoders.checkpoint import TensorInfo, open_checkpoint
from crossfade.encoders.writer import CheckpointWriter, output_folder, require_space
from crossfade.errors import InputError

DTYPES = (torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.float16, torch.uint8, torch.float64)


def infos_of(tensors: dict[str, torch.Tensor]) -> dict[str, TensorInfo]:
    return {name: TensorInfo(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}


def write(folder: Path, tensors: dict[str, torch.Tensor], **options) -> None:
    with CheckpointWriter(folder, infos_of(tensors), metadata={"format": "pt"}, **options) as writer:
        for name, tensor in tensors.items():
            writer.write(name, tensor)


shapes = st.lists(st.integers(0, 4), max_size=3)
announced = st.dictionaries(st.text(min_size=1, max_size=6), st.tuples(st.sampled_from(DTYPES), shapes), min_size=1)


@given(announced.filter(lambda infos: "__metadata__" not in infos))
def test_the_file_is_the_one_that_safetensors_writes(tmp_path_factory, announced) -> None:
    folder = tmp_path_factory.mktemp("writer")
    tensors = {name: (torch.randn(shape) * 3).to(dtype) for name, (dtype, shape) in announced.items()}
    write(folder, tensors)
    save_file(tensors, folder / "reference", {"format": "pt"})
    assert (folder / "model.safetensors").read_bytes() == (folder / "reference").read_bytes()


def test_views_and_metadata(tmp_path: Path) -> None:
    tensor = torch.arange(12.0, requires_grad=True).reshape(3, 4).t()
    infos = infos_of({"x": tensor})
    with CheckpointWriter(tmp_path, infos, metadata={"made_by": "crossfade"}) as writer:
        writer.write("x", tensor)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "made_by": "crossfade"}
        assert torch.equal(file.get_tensor("x"), tensor.detach())


def test_shards_and_their_index(tmp_path: Path) -> None:
    tensors = {f"layer {number}": torch.randn(10) for number in range(7)} | {"large": torch.randn(100)}
    write(tmp_path, tensors, max_shard_bytes=100)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(f"model-0000{number}-of-00005.safetensors" for number in range(1, 6)),
        "model.safetensors.index.json",
    ]
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 7 * 40 + 400}
    for name, tensor in tensors.items():
        with safe_open(tmp_path / index["weight_map"][name], "pt") as file:
            assert torch.equal(file.get_tensor(name), tensor)
    checkpoint = open_checkpoint(tmp_path)
    assert all(torch.equal(checkpoint.read(name), tensor) for name, tensor in tensors.items())


def test_mistakes_of_the_caller(tmp_path: Path) -> None:
    infos = infos_of({"a": torch.ones(2, 3), "b": torch.ones(1)})
    writer = CheckpointWriter(tmp_path, infos, metadata={})
    writer.write("a", torch.ones(2, 3))
    with pytest.raises(ValueError, match="'a' is already written"):
        writer.write("a", torch.ones(2, 3))
    with pytest.raises(ValueError, match="'c' was not announced"):
        writer.write("c", torch.ones(1))
    for wrong in (torch.ones(2), torch.ones(1, dtype=torch.float16)):
        with pytest.raises(ValueError, match=r"'b': expected .* received"):
            writer.write("b", wrong)
    with pytest.raises(ValueError, match="1 tensors were never written, 'b' among them"):
        writer.close()
    with pytest.raises(ValueError, match=r"cannot store torch.complex128"):
        CheckpointWriter(tmp_path, infos_of({"a": torch.ones(1, dtype=torch.complex128)}), metadata={})


def fail(target: Path, error: BaseException, *, overwrite: bool = False) -> None:
    """A run that fails half-way."""
    with output_folder(target, overwrite=overwrite) as draft:
        fill(draft, "half")
        raise error


def fill(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def save(target: Path, tensor: torch.Tensor) -> None:
    with output_folder(target, overwrite=False) as draft:
        write(draft, {"a": tensor})


def test_a_disk_that_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2000, 1001, 999))
    with pytest.raises(InputError, match=r"out/deep: disk full: 1,000 bytes are needed, 999 are free; make room"):
        require_space(tmp_path / "out/deep", 1000)
    require_space(tmp_path / "out/deep", 999)
    with pytest.raises(InputError, match=r"/out: disk full: 1,000 bytes"):
        save(tmp_path / "out", torch.ones(250))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    full = OSError(code, os.strerror(code))
    with pytest.raises(InputError, match=r"/out: disk full: more room is needed"):
        fail(tmp_path / "out", full)
    monkeypatch.setattr(os, "pwrite", Mock(side_effect=full))
    with pytest.raises(InputError, match=r"/out: disk full: 1,000 bytes are needed"):
        save(tmp_path / "out", torch.ones(250))
    assert list(tmp_path.iterdir()) == []


def test_a_file_size_limit(tmp_path: Path) -> None:
    """The same as a full disk, from the operating system itself."""
    code = """if True:
        import resource, signal, sys, torch
        from pathlib import Path
        from crossfade.encoders.writer import CheckpointWriter, TensorInfo, output_folder
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        with output_folder(Path("out"), overwrite=False) as draft:
            tensor = torch.ones(50_000)
            with CheckpointWriter(draft, {"a": TensorInfo(tensor.dtype, (50_000,))}, metadata={}) as writer:
                writer.write("a", tensor)
    """
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "InputError" in run.stderr.splitlines()[-1]
    assert "out: disk full: 200,000 bytes are needed" in run.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_output_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "new/deep/out"
    with output_folder(target, overwrite=False) as draft:
        assert (draft.parent, draft.name[:5]) == (target.parent, ".out.")
        fill(draft, "done")
        assert not target.exists()
    assert (target / "config.json").read_text() == "done"
    assert [path.name for path in target.parent.iterdir()] == ["out"]
    assert target.stat().st_mode == target.parent.stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_failure_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        fail(tmp_path / "new/deep/out", error())
    assert list(tmp_path.iterdir()) == []


def test_failure_leaves_what_others_put_there(tmp_path: Path) -> None:
    run = output_folder(tmp_path / "new/out", overwrite=False)
    run.__enter__()
    (tmp_path / "new/theirs").touch()
    assert not run.__exit__(ValueError, ValueError("late"), None)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["theirs"]


def test_existing_output(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    fill(target, "old")
    with (
        pytest.raises(InputError, match=r"out: already exists; pass --overwrite"),
        output_folder(target, overwrite=False),
    ):
        pytest.fail("it must not start")
    with pytest.raises(ValueError, match="late"):
        fail(target, ValueError("late"), overwrite=True)
    assert (target / "config.json").read_text() == "old"
    with output_folder(target, overwrite=True) as draft:
        fill(draft, "replaced")
        assert (target / "config.json").read_text() == "old"
    assert (target / "config.json").read_text() == "replaced"
    assert list(tmp_path.iterdir()) == [target]


def test_overwriting_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    fill(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to("real")
    with output_folder(tmp_path / "link", overwrite=True) as draft:
        fill(draft, "replaced")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real/config.json").read_text() == "replaced"


def test_the_old_output_comes_back_if_the_last_step_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out"
    target.mkdir()
    fill(target, "old")
    rename = Path.rename

    def failing(self: Path, to: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError(errno.EIO, "broken disk")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="broken disk"), output_folder(target, overwrite=True) as draft:
        fill(draft, "replaced")
    assert (target / "config.json").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_output_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "out"
    run = output_folder(target, overwrite=False)
    run.__enter__()
    target.mkdir()
    fill(target, "theirs")
    with pytest.raises(InputError, match="already exists"):
        run.__exit__(None, None, None)
    assert (target / "config.json").read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [target]


def test_places_that_cannot_be_an_output(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/one.jpg").touch()
    cases = [
        ("file", "is a file, expected a folder to write to"),
        ("file/out", "cannot be created"),
        ("photos", "not replaced: it is no model's folder"),
        ("x" * 300, "cannot be created \\(File name too long\\)"),
    ]
    before = sorted(tmp_path.rglob("*"))
    for name, message in cases:
        with pytest.raises(InputError, match=message) as caught, output_folder(tmp_path / name, overwrite=True):
            pytest.fail("it must not start")
        assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


RUN = """if True:
    import signal, sys, time
    from pathlib import Path
    from crossfade.encoders.writer import output_folder
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with output_folder(Path("out"), overwrite=True) as draft:
        (draft / "config.json").write_text("half")
        print("ready", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_killed_runs(tmp_path: Path, sent: signal.Signals) -> None:
    """Asked to stop, a run cleans up; killed, the next run does, and not while the first is alive."""
    with subprocess.Popen([sys.executable, "-c", RUN], cwd=tmp_path, stdout=-1, stderr=-1, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        with output_folder(tmp_path / "out", overwrite=False) as draft:
            assert len(list(tmp_path.iterdir())) == 2  # its draft and ours
            fill(draft, "ours")
        run.send_signal(sent)
        run.communicate()
    assert len(list(tmp_path.iterdir())) == (2 if sent == signal.SIGKILL else 1)
    with output_folder(tmp_path / "out", overwrite=True) as draft:
        fill(draft, "ours")
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_a_run_killed_between_its_two_renames(tmp_path: Path) -> None:
    """The old output, moved aside, is put back by the next run, which then finds that it exists."""
    with output_folder(tmp_path / "out", overwrite=False) as draft:
        fill(draft, "old")
        aside = draft.with_suffix(".replaced")
    (tmp_path / "out").rename(aside)
    with pytest.raises(InputError, match="already exists"), output_folder(tmp_path / "out", overwrite=False):
        pytest.fail("it must not start")
    assert (tmp_path / "out/config.json").read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_other_hidden_folders_stay(tmp_path: Path) -> None:
    others = [".out.elsewhere-1.partial", ".outer.partial", ".out", ".out.backup"]
    for name in others:
        (tmp_path / name).mkdir()
    with output_folder(tmp_path / "out", overwrite=False):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "out"])
