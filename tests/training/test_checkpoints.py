"""Checkpoints are whole or not there; a folder belongs to one training."""

import errno
import json
from pathlib import Path

import pytest

from crossfade.errors import InputError
from crossfade.training.checkpoints import FILES, Work, step_of

RECIPE = {"recipe": {"seed": 1, "training": {"rate": 0.1}, "teachers": [{"model": "a"}, {"model": "b"}]}}


def write(work: Work, step: int, text: str = "weights") -> None:
    with work.checkpoint(step, 10) as folder:
        (folder / "model").write_text(text)
        (folder / "state").write_text("")


def begun(tmp_path: Path) -> Work:
    work = Work(tmp_path / "student")
    begin(work, RECIPE)
    return work


def begin(work: Work, identity: dict, *, overwrite: bool = False) -> None:
    with work.begin(identity, overwrite=overwrite):
        pass


def failing(work: Work, step: int, error: Exception, needed: int = 10) -> None:
    with work.checkpoint(step, needed) as folder:
        (folder / "model").write_text("half")
        raise error


def names(work: Work) -> list[str]:
    return sorted(path.name for path in work.folder.iterdir())


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    work = begun(tmp_path)
    assert work.last() is None
    for step in (9, 10, 200):
        write(work, step)
        assert work.last() == tmp_path / ".student.work" / f"checkpoint-{step}"
    assert names(work) == ["checkpoint-10", "checkpoint-200", "run.json"]
    assert step_of(work.last()) == 200


def test_a_step_may_be_written_again(tmp_path: Path) -> None:
    work = begun(tmp_path)
    write(work, 5, "before")
    write(work, 5, "after")
    assert (work.last() / "model").read_text() == "after"


@pytest.mark.parametrize("harm", ["shorter", "gone", "no list", "cut list"])
def test_a_torn_checkpoint_is_passed_over(tmp_path: Path, harm: str) -> None:
    work = begun(tmp_path)
    write(work, 1)
    write(work, 2)
    file, listed = work.last() / "model", work.last() / FILES
    {
        "shorter": lambda: file.write_text("weight"),
        "gone": file.unlink,
        "no list": listed.unlink,
        "cut list": lambda: listed.write_text(listed.read_text()[:-3]),
    }[harm]()
    assert work.last().name == "checkpoint-1"


def test_a_run_that_dies_while_it_writes_leaves_a_draft(tmp_path: Path) -> None:
    work = begun(tmp_path)
    write(work, 1)
    (work.draft / "checkpoint-2").mkdir(parents=True)
    (work.draft / "checkpoint-2" / "model").write_text("wei")
    assert work.last().name == "checkpoint-1"
    write(work, 2)
    assert names(work) == ["checkpoint-1", "checkpoint-2", "run.json"]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("PytorchStreamWriter failed writing file")]
)
def test_a_full_disk_keeps_the_last_good_one(tmp_path: Path, error: Exception) -> None:
    work = begun(tmp_path)
    with pytest.raises(InputError, match=r"checkpoint-1 cannot be written \(.*; there is none before it; make room"):
        failing(work, 1, error)
    write(work, 1)
    with pytest.raises(InputError, match=r"checkpoint-2 cannot be written \(.*; checkpoint-1 is kept, and the same"):
        failing(work, 2, error)
    assert names(work) == ["checkpoint-1", "run.json"]


def test_too_little_room_is_told_before_anything_is_written(tmp_path: Path) -> None:
    work = begun(tmp_path)
    with pytest.raises(InputError, match=r"checkpoint-3 cannot be written \(.*disk full: [\d,]{20,} bytes are needed"):
        failing(work, 3, AssertionError(), needed=10**18)
    assert names(work) == ["run.json"]


def test_a_folder_belongs_to_one_training(tmp_path: Path) -> None:
    work = begun(tmp_path)
    write(work, 1)
    begin(work, RECIPE)
    begin(work, RECIPE, overwrite=True)
    assert work.last().name == "checkpoint-1"
    other = json.loads(json.dumps(RECIPE))
    other["recipe"]["teachers"][1]["model"] = "c"
    with pytest.raises(
        InputError, match=r"holds another training: recipe.teachers\[1\].model was b and is c; pass --over"
    ):
        begin(work, other)
    begin(work, other, overwrite=True)
    assert names(work) == ["run.json"]
    other["recipe"]["teachers"].append({"model": "d"})
    with pytest.raises(InputError, match=r"recipe.teachers was \[.*\] and is \["):
        begin(work, other)


def test_one_training_at_a_time(tmp_path: Path) -> None:
    work, other = Work(tmp_path / "student"), Work(tmp_path / "student")
    with work.begin(RECIPE, overwrite=False):
        write(work, 1)
        for overwrite in (False, True):
            with pytest.raises(InputError, match=r"\.student\.work: another training of this output is running"):
                begin(other, RECIPE | {"seed": 9}, overwrite=overwrite)
        assert work.last().name == "checkpoint-1"
    begin(other, RECIPE)


def test_json_files_are_whole(tmp_path: Path) -> None:
    work = begun(tmp_path)
    assert work.read_json("looks.json") is None
    work.write_json("looks.json", [1, {"a": None}])
    assert work.read_json("looks.json") == [1, {"a": None}]
    assert names(work) == ["looks.json", "run.json"]
