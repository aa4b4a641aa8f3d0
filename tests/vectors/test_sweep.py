"""Sweeps from folder to folder, on tiny students and tones: points, resumption, other methods, refusals."""

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from grown import student_of
from safetensors.torch import load_file
from started import started, wait_for
from tones import tones

from crossfade.alignment import align
from crossfade.encoders.encoder import open_encoder
from crossfade.encoders.families import POINTS
from crossfade.errors import InputError
from crossfade.merging import input_statistics, merge
from crossfade.probing import run as run_module
from crossfade.probing.results import Result, load_results
from crossfade.vectors import combine, mixing, open_vector, sweep
from crossfade.vectors import stage as stage_module
from crossfade.vectors.sweep import Sweep

Family = dict[str, Path]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One of each domain."""
    home = tmp_path_factory.mktemp("tasks")
    return [tones(home / domain, domain, seed) for seed, domain in enumerate(("speech", "music"))]


def told(results: tuple[Result, ...] | list[Result]) -> list[dict[str, Any]]:
    """Everything but what it took."""
    return [result.model_dump(mode="json", exclude={"cost"}) for result in results]


@pytest.fixture(scope="module")
def swept(family: Family, tasks: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    output = tmp_path_factory.mktemp("swept") / "sweep"
    return sweep(family["base"], [family["speech"], family["music-vector"]], output, tasks=tasks, step=0.5)


def test_points_of_a_sweep(swept: Sweep, family: Family) -> None:
    assert [point.name for point in swept.points] == ["speech", "music-vector", "task-arithmetic 0.5:0.5"]
    assert [point.weights for point in swept.points] == [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]
    assert {*swept.front} <= {point.name for point in swept.points}
    for point in swept.points:
        assert {*point.standing.domains} == {"speech", "music"}
        assert point.standing.average.value == pytest.approx(sum(point.values.values()) / 2)
    files = {path.name for path in swept.path.iterdir()}
    assert files == {"results.json", "sweep.json", "table.md", "report.html", "front.png"}
    assert told(load_results(swept.path / "results.json")) == told(swept.results)
    ends = [result.model.sha256 for result in swept.results[:4:2]]
    assert ends == [
        open_vector(family["music-vector"].with_name(f"{name}-vector")).student.sha256 for name in ("speech", "music")
    ]
    assert not list(swept.path.parent.glob(".*"))
    assert "| task-arithmetic | 0.5:0.5 |" in (swept.path / "table.md").read_text()


def test_a_point_is_what_combine_makes(swept: Sweep, family: Family, tmp_path: Path) -> None:
    made = combine([(family["speech-vector"], 0.5), (family["music-vector"], 0.5)], tmp_path / "made")
    assert swept.results[-1].model.sha256 == open_encoder(made.path).sha256


class StoppedError(Exception):
    """As if the machine had gone down."""


def test_a_sweep_goes_on_where_it_was(
    swept: Sweep, family: Family, tasks: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    measure = run_module.measure

    most = 3

    def counting(upstream: Any, dataset: Any, *rest: Any, **named: Any) -> Any:
        if len(measured) == most:
            raise StoppedError
        measured.append(f"{upstream.name} {dataset.task.name}")
        return measure(upstream, dataset, *rest, **named)

    given = [family["speech"], family["music-vector"]]
    monkeypatch.setattr(run_module, "measure", counting)
    with pytest.raises(StoppedError):
        sweep(family["base"], given, tmp_path / "out", tasks=tasks, step=0.5)
    assert not (tmp_path / "out").exists()
    first, measured[:], most = [*measured], [], 99
    again = sweep(family["base"], given, tmp_path / "out", tasks=tasks, step=0.5)
    assert len(measured) == 3
    assert not {*first} & {*measured}
    assert told(again.results) == told(swept.results)


def test_from_what_a_kill_leaves_too(
    swept: Sweep, family: Family, tasks: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk as it is while the third point is measured, its last line torn: no clean-up of any kind has run."""
    given = [family["speech"], family["music-vector"]]
    running, killed, sit = tmp_path / "running", tmp_path / "killed", stage_module.sit

    def watched(exam: Any, upstream: Any, *rest: Any, **named: Any) -> Any:
        if upstream.name.startswith("task-arithmetic"):
            shutil.copytree(running, killed)
            raise StoppedError
        return sit(exam, upstream, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(import_module("crossfade.vectors.sweep"), "side_by_side", map)
        patch.setattr(stage_module, "sit", watched)
        with pytest.raises(StoppedError):
            sweep(family["base"], given, running / "out", tasks=tasks, step=0.5)
    (left,) = (killed / ".out.work").glob("point-*")
    assert (left / "model.safetensors").exists()
    (journal,) = (killed / ".out.work").glob(".*.jsonl")
    lines = journal.read_bytes()
    assert lines.count(b"\n") == 4
    journal.write_bytes(lines[:-100])
    again = sweep(family["base"], given, killed / "out", tasks=tasks, step=0.5)
    assert told(again.results) == told(swept.results)
    assert [path.name for path in killed.iterdir()] == ["out"]


def test_killed_and_taken_up(family: Family, tasks: list[Path], tmp_path: Path) -> None:
    """A real process, a real SIGKILL once the ends are measured; then every prediction is that of a sweep in peace."""
    given = [str(family[name]) for name in ("base", "speech", "music")]
    words = ["vector", "sweep", *given, "--task", *map(str, tasks), "--step", "0.1", "-o", str(tmp_path / "killed")]
    process = started(["-m", "crossfade", *words, "--quiet"])

    def lines() -> int:
        return sum(path.read_bytes().count(b"\n") for path in (tmp_path / ".killed.work").glob(".*.jsonl"))

    wait_for(lambda: lines() >= 5, process)
    with pytest.raises(InputError, match="another sweep of this output is running"):
        sweep(given[0], given[1:], tmp_path / "killed", tasks=tasks, step=0.1)
    process.kill()
    process.communicate()
    assert not (tmp_path / "killed").exists()
    assert 5 <= lines() < 22
    resumed, peaceful = (
        sweep(given[0], given[1:], tmp_path / name, tasks=tasks, step=0.1) for name in ("killed", "peace")
    )
    assert told(resumed.results) == told(peaceful.results)
    assert {path.name for path in tmp_path.iterdir()} == {"killed", "peace"}


@pytest.mark.parametrize(("sequential", "times"), [(False, 1), (True, 0)])
def test_a_regression_listens_once_for_all_weights(
    family: Family, tasks: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sequential: bool, times: int
) -> None:
    """And has the weights of a merge that listened for itself."""
    listened: list[Any] = []

    def listen(*given: Any, **options: Any) -> Any:
        listened.append(given)
        return input_statistics(*given, **options)

    monkeypatch.setattr(mixing, "input_statistics", listen)
    audio = [tiny.sounds(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))]
    students, way = (family["speech"], family["music"]), {"sequential": sequential}
    at, more = ["0.75,0.25", "0.5,0.5"], {"methods": ["regression"], "audio": audio, "keep": True}
    made = sweep(None, students, tmp_path / "swept", tasks=tasks, at=at, parameters={"regression": way}, **more)
    assert len(listened) == times
    heard = {"reference_audio": audio[0], "other_audio": audio[1]}
    found = align(*students, audio, points=POINTS)
    for weight, name in ((0.75, "0.75-0.25"), (0.5, "0.5-0.5")):
        apart = merge(
            *students, tmp_path / name, weight=weight, method="regression", parameters=way, alignment=found, **heard
        )
        kept = load_file(made.path / "points" / f"regression-{name}" / "model.safetensors")
        for key, value in load_file(apart.path / "model.safetensors").items():
            torch.testing.assert_close(kept[key], value, atol=1e-6, rtol=1e-5)


def test_every_method_on_one_stage(swept: Sweep, family: Family, tasks: list[Path], tmp_path: Path) -> None:
    audio = [tiny.sounds(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))]
    methods = ("ties", "ties-secondary", "dare", "linear", "slerp", "aligned", "regression")
    made = sweep(
        family["base"],
        [family["speech-vector"], family["music-vector"]],
        tmp_path / "stage",
        tasks=tasks,
        methods=methods,
        at=["0.75,0.25"],
        total=1,
        parameters={"ties": {"density": 0.5}},
        audio=audio,
        also=["logmel", "fbank+logmel"],
        with_pair=True,
        beside=[swept.path],
        keep=True,
    )
    mixtures = [f"{method} 0.75:0.25" for method in methods]
    others = [f"{point.name} (sweep)" for point in swept.points]
    as_they_are = ["logmel", "fbank+logmel", "speech-vector+music-vector"]
    assert [point.name for point in made.points] == [*mixtures, *as_they_are, *others]
    sizes = {point.name: point.parameters for point in made.points}
    assert sizes["speech-vector+music-vector"] == 2 * sizes["linear 0.75:0.25"]
    assert sorted(path.name for path in (made.path / "points").iterdir()) == sorted(
        name.replace(" ", "-").replace(":", "-") for name in mixtures
    )
    assert len({result.model.sha256 for result in made.results}) == len(methods) + 2 + len(others)
    record = json.loads((made.path / "sweep.json").read_text())
    assert record["recipe"]["parameters"] == {"ties": {"density": 0.5}}
    assert {*record["geometry"]["barrier"]} == {"unaligned", "aligned"}
    assert (made.path / "report.html").read_text().count("<img") == 3


def test_kept_mixtures_are_called_what_the_user_called_them(family: Family, tasks: list[Path], tmp_path: Path) -> None:
    given = [family["speech"], family["music-vector"]]
    made = sweep(family["base"], given, tmp_path / "out", tasks=tasks[:1], at=["0.5,0.5"], keep=True)
    (point,) = (made.path / "points").iterdir()
    recipe = json.loads((point / "crossfade.json").read_text())["combined"]
    assert recipe["vectors"] == [{"vector": str(one), "weight": 0.5} for one in given]


def test_without_a_base(tasks: list[Path], tmp_path: Path) -> None:
    pair = [tiny.folder(tmp_path / name, "hubert", seed) for seed, name in enumerate(("a", "b"))]
    made = sweep(None, pair, tmp_path / "out", tasks=tasks[:1], methods=["linear"], at=["1,0", "0.5,0.5"])
    assert [point.name for point in made.points] == ["a", "linear 0.5:0.5"]
    assert not (made.path / "front.png").exists()


def test_the_same_weight_for_all_and_below_zero(family: Family, tasks: list[Path], tmp_path: Path) -> None:
    given = [family["speech-vector"], family["music-vector"]]
    made = sweep(family["base"], given, tmp_path / "out", tasks=tasks[:1], grid="scale", step=1.0)
    assert [point.name for point in made.points] == ["base", "task-arithmetic 1:1"]
    less = sweep(family["base"], given[:1], tmp_path / "less", tasks=tasks[:1], at=["-0.5"])
    assert [point.name for point in less.points] == ["task-arithmetic -0.5"]


def test_what_is_refused(swept: Sweep, family: Family, tasks: list[Path], tmp_path: Path) -> None:
    given = [family["speech-vector"], family["music-vector"]]
    stranger = student_of(tiny.folder(tmp_path / "other", "hubert", 7), tmp_path / "stranger", 8)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"vectors": []}, "received none"),
        ({"vectors": [given[0], given[0]]}, "two of the vectors are named 'speech-vector'"),
        ({"vectors": [stranger]}, "was trained from another base"),
        ({"base": None}, "adds vectors to a base, and there is none"),
        ({"methods": ["tis"]}, "did you mean 'ties'?"),
        ({"methods": []}, "methods: expected one or more"),
        ({"methods": ["linear"], "at": ["0.9,0.2"]}, "weights 0.9:0.2, expected shares that add up to 1"),
        ({"methods": ["aligned"]}, "hears audio: expected one source for each of speech-vector and music-vector"),
        ({"methods": ["linear"], "vectors": given[:1]}, "merges two encoders, received 1"),
        ({"at": ["0.9,0.2"], "total": 1}, "a sum of 1.1, expected 1"),
        ({"step": 0.3}, "step = 0.3"),
        ({"parameters": {"ties": {"density": 0.5}}}, "parameters of 'ties', which is not among the methods"),
        ({"parameters": {"task-arithmetic": {"scal": 2}}}, "did you mean 'scale'?"),
        ({"also": [family["base"], family["base"]]}, "two encoders are named 'base'"),
        ({"vectors": given[:1], "with_pair": True}, "a pair is of two students"),
        ({"beside": [swept.path], "tasks": tasks[:1]}, "was measured on other tasks or clips"),
        ({"beside": [tmp_path]}, "no sweep.json; expected a folder that `crossfade vector sweep` wrote"),
    ]
    for options, message in refused:
        asked: dict[str, Any] = {"base": family["base"], "vectors": given, "tasks": tasks, "step": 0.5, **options}
        with pytest.raises(InputError) as caught:
            sweep(output=tmp_path / "out", **asked)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
