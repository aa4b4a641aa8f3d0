"""The quickstart from end to end, on a part of its audio."""

import json
from pathlib import Path

import pytest
from folders import loaded

from crossfade.errors import InputError
from crossfade.quickstart import story


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> story.Story:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(story, "TASKS", ("month", "note_instrument"))
        patch.setattr(story, "WEIGHTS", (0.5,))
        patch.setattr(story, "HEARD_CLIPS", 30)
        patch.setattr(story, "FITTED_CLIPS", 12)
        return story.run(tmp_path_factory.mktemp("quickstart") / "out", seed=1)


def test_the_rows_are_the_ways_to_merge(told: story.Story) -> None:
    names = [(row.name, row.weight) for row in told.rows]
    assert names[:2] == [("speech alone", None), ("music alone", None)]
    assert names[2:] == [("linear", 0.5), ("aligned", 0.5), ("aligned, residual", 0.5), ("regression", 0.5)]
    for row in told.rows:
        assert len(row.tasks) == 2
        assert row.average == pytest.approx((row.speech + row.music) / 2)
        assert row.average_interval[0] <= row.average <= row.average_interval[1]
        assert (row.gain is None) == (row.name in ("speech alone", "music alone", "linear"))


def test_alignment_is_exact_and_better_than_none(told: story.Story) -> None:
    assert set(told.largest_change) == {"aligned", "aligned-with-residual"}
    assert max(told.largest_change.values()) <= 1e-5
    for found in told.alignments.values():
        assert found["after"] > found["before"] + 0.2
    by_name = {row.name: row.average for row in told.rows}
    assert by_name["aligned"] > by_name["linear"] + 5


def test_everything_is_on_disk(told: story.Story) -> None:
    files = {path.name for path in told.path.iterdir()}
    assert {"results.json", "report.html", "matches.png", "sweep.png"} <= files
    assert json.loads((told.path / "results.json").read_text()) == json.loads(json.dumps(told.to_dict()))
    assert {"linear-0.5", "aligned-0.5", "aligned-residual-0.5", "regression-0.5"} <= files
    assert loaded(told.path / "regression-0.5").config.hidden_size == 192
    for image in ("matches.png", "sweep.png"):
        assert (told.path / image).read_bytes().startswith(b"\x89PNG")
    page = (told.path / "report.html").read_text()
    for text in ("regression", "data:image/png;base64,", "Allison Smith", f"{told.rows[0].average:.1f}"):
        assert text in page
    assert "<script" not in page
    assert "src='http" not in page


def test_an_existing_folder_is_kept(told: story.Story) -> None:
    before = sorted(path.name for path in told.path.iterdir())
    with pytest.raises(InputError, match="--overwrite"):
        story.run(told.path)
    assert sorted(path.name for path in told.path.iterdir()) == before


def test_without_matplotlib_it_says_so_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("crossfade.report.figures.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"crossfade\[plots\]"):
        story.run(tmp_path / "out")
    assert not (tmp_path / "out").exists()
