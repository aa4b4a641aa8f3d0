"""The whole way: sounds and labels on disk, features, heads, results."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny
from torch import Tensor

import crossfade
from crossfade.audio.decode import encoded
from crossfade.errors import InputError
from crossfade.probing import clips, sounds
from crossfade.probing import run as run_module
from crossfade.probing.results import Result, journal, load_results
from crossfade.report.results import results_table

RATE = 16_000
PITCHES = {"low": 220.0, "middle": 880.0, "high": 3520.0}
QUICK = "{steps: 60, rate: 0.01, batch: 16, projection: 32}"
Probe = Callable[..., list[Result]]


def tone(pitch: float, seconds: float, random: np.random.Generator) -> Any:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * pitch * time) + 0.01 * random.standard_normal(len(time))).astype(np.float32)


def labelled(folder: Path, rows: list[dict[str, Any]], task: str = "") -> Path:
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if task:
        (folder / "task.yaml").write_text(task)
    return folder


@pytest.fixture
def pitches(tmp_path: Path) -> Path:
    """Three classes of 12 tones each by six players, in clips of several lengths; a quick protocol is published."""
    folder, random, rows = tmp_path / "pitches", np.random.default_rng(0), []
    folder.mkdir()
    for name, pitch in PITCHES.items():
        for number in range(12):
            path = f"{name}{number}.wav"
            sound = tone(pitch * random.uniform(0.95, 1.05), random.uniform(0.2, 0.4), random)
            soundfile.write(folder / path, sound, RATE)
            rows.append({"path": path, "label": name, "group": f"player{number % 6}"})
    return labelled(folder, rows, f"protocol: {QUICK}\n")


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """Rows of three tones each, with what they spell and where they lie."""
    folder, random, rows = tmp_path / "spoken", np.random.default_rng(1), []
    folder.mkdir()
    names = list(PITCHES)
    for number in range(30):
        said = random.choice(names, 3, replace=False).tolist()
        sound = np.concatenate([tone(PITCHES[name], 0.2, random) for name in said])
        soundfile.write(folder / f"{number}.wav", sound, RATE)
        segments = [[0.2 * place, 0.2 * (place + 1), name] for place, name in enumerate(said)]
        split = "train" if number < 20 else "valid" if number < 25 else "test"
        rows.append({"path": f"{number}.wav", "text": " ".join(said), "segments": segments, "split": split})
    return labelled(folder, rows)


@pytest.fixture
def probe(tmp_path: Path) -> Probe:
    """`crossfade.probe` with a cache of its own."""

    def run(models: Any, tasks: Any, **settings: Any) -> list[Result]:
        return crossfade.probe(models, tasks, cache=tmp_path / "cache", **settings)

    return run


def same(results: list[Result]) -> list[dict[str, Any]]:
    return [result.model_dump(exclude={"cost"}) for result in results]


@pytest.mark.parametrize("head", ["linear", "mlp", "ridge", "knn"])
def test_every_head_over_clips_hears_pitch(probe: Probe, pitches: Path, head: str) -> None:
    (found,) = probe("logmel", pitches, head=head)
    right = sum(item.predictions == (item.label,) for item in found.items)
    assert right >= 34
    assert found.value == pytest.approx(100 * right / 36)
    assert 80 < found.interval[0] <= found.value <= found.interval[1] <= 100
    assert len(found.items) == 36
    assert {item.fold for item in found.items} == {0, 1, 2, 3, 4}
    assert found.task.test == 36
    assert found.protocol.head == head
    assert (found.protocol.steps is None) == (head in ("ridge", "knn"))
    tried = {"linear": 11, "mlp": 11, "ridge": 7, "knn": 5}[head]
    assert len([point for point in found.sweep if point.fold == 0]) == tried


def test_frames_and_text(probe: Probe, spoken: Path) -> None:
    quick = "protocol: {head: frame, projection: null, batch: 10, steps: 60, rate: 0.03}\n"
    labelled(spoken, _rows(spoken), f"kind: frames\nlabel: segments\n{quick}")
    (named,) = probe("logmel", spoken, protocol="published")
    assert named.metric == "frame_accuracy"
    assert named.value > 90
    labelled(spoken, _rows(spoken), f"kind: ctc\nlabel: text\ntokens: words\n{quick}")
    (said,) = probe("logmel", spoken, beam=2, protocol="published")
    assert (said.metric, said.better) == ("wer", "lower")
    assert said.value < 40, said.value
    assert said.protocol.beam == 2
    assert said.items[0].predictions[0].count(" ") <= 3


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_published_protocol_trains_one_rate(probe: Probe, pitches: Path) -> None:
    (found,) = probe("logmel", pitches, protocol="published")
    assert found.protocol.rates == (0.01,)
    assert (found.protocol.steps, found.protocol.batch, found.protocol.projection) == (60, 16, 32)
    assert found.protocol.published
    assert found.chosen == (0.01,) * 5


def test_the_same_seed_gives_the_same_file(probe: Probe, pitches: Path, tmp_path: Path) -> None:
    encoder = tiny.folder(tmp_path / "encoder", "hubert", 1)
    settings = {"seeds": 2, "noise": pitches, "snr": [5.0], "protocol": "published"}
    first = probe(encoder, pitches, **settings)
    assert same(probe(encoder, pitches, **settings)) == same(first)
    assert [len(result.values) for result in first] == [2, 2]
    assert first[0].seeds == (0, 1)
    assert first[0].model.sha256 is not None
    assert (first[0].model.name, first[0].model.path) == ("encoder", str(encoder))


def test_noise_is_heard_in_tests_alone(probe: Probe, pitches: Path, tmp_path: Path) -> None:
    noise = tmp_path / "hiss"
    noise.mkdir()
    soundfile.write(noise / "hiss.wav", np.random.default_rng(2).uniform(-0.5, 0.5, RATE), RATE)
    clean, quiet, loud = probe("logmel", pitches, head="ridge", noise=noise, snr=(40, -40))
    assert [found.protocol.condition for found in (clean, quiet, loud)] == ["clean", "hiss at 40 dB", "hiss at -40 dB"]
    assert clean.value == 100.0
    assert loud.value < 70
    assert quiet.value > loud.value
    assert clean.sweep == loud.sweep


def test_every_file_is_hashed_once_in_a_run(
    probe: Probe, pitches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise, read = tmp_path / "hiss", list[str]()
    noise.mkdir()
    soundfile.write(noise / "hiss.wav", np.random.default_rng(2).uniform(-0.5, 0.5, RATE), RATE)
    monkeypatch.setattr(clips, "encoded", lambda file: (read.append(Path(file.name).name), encoded(file))[1])
    found = probe(["logmel", "fbank"], pitches, head="knn", noise=noise, snr=(40, -40))
    assert len(found) == 6
    assert sorted(read) == sorted([*(row["path"] for row in _rows(pitches)), "hiss.wav"])


def test_models_after_the_first_hear_what_was_decoded(
    pitches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = list[str]()

    def watched(clip: clips.Clip, *rest: Any) -> Tensor:
        decoded.append(Path(clip.name).name)
        return clips.hear(clip, *rest)

    monkeypatch.setattr(sounds, "hear", watched)
    found = crossfade.probe(["logmel", "fbank"], pitches, head="knn", cache=tmp_path / "together")
    names = sorted(row["path"] for row in _rows(pitches))
    assert sorted(decoded) == names
    alone = [crossfade.probe(name, pitches, head="knn", cache=tmp_path / name) for name in ("logmel", "fbank")]
    assert sorted(decoded) == sorted(names * 3)
    assert same(found) == same([result for (result,) in alone])


def test_the_cache_holds_what_one_model_needs_for_one_task(probe: Probe, pitches: Path, tmp_path: Path) -> None:
    logmel, fbank = (36 * width * 4 for width in (80, 240))
    found = probe(["logmel", "fbank"], pitches, head="ridge", cache_bytes=fbank + logmel // 2)
    assert same(found) == same(probe(["logmel", "fbank"], pitches, head="ridge"))
    with pytest.raises(InputError, match=r"cache size: what is measured now needs about 0\.0397 MB"):
        probe("fbank", pitches, head="ridge", cache_bytes=fbank - 1)


def test_few_shots_are_drawn_several_times(probe: Probe, pitches: Path) -> None:
    (found,) = probe("logmel", pitches, head="ridge", shots=1, draws=4, seed=3)
    assert (found.protocol.shots, found.protocol.draws, found.seeds) == (1, 4, (3, 4, 5, 6))
    assert len(found.values) == 4
    assert found.interval_method == "t over 4 draws of the training clips"
    with pytest.raises(InputError, match="one seed for each, received 4 draws, 2 seeds"):
        probe("logmel", pitches, shots=1, draws=4, seeds=2)


def test_pairs_of_unseen_speakers_are_told_apart(probe: Probe, pitches: Path) -> None:
    rows = [row | {"label": row["label"] + row["group"][-1], "group": row["label"] + row["group"]}
            for row in _rows(pitches)]  # fmt: skip
    held = ("low5", "middle5", "high5")
    split = [row | {"split": "test" if row["label"] in held else "train"} for row in rows]
    (found,) = probe("logmel", labelled(pitches, split, "kind: verification\nprotocol: {steps: 100}\n"))
    assert (found.metric, found.value) == ("eer", 0.0)
    assert len(found.items) == 6 * 5 // 2
    assert found.items[0].id == "low5.wav | low11.wav"
    assert [item.label for item in found.items].count(True) == 3


def test_what_cannot_be_heard_is_named(probe: Probe, pitches: Path) -> None:
    (pitches / "low3.wav").write_bytes(b"RIFF nothing")
    soundfile.write(pitches / "high7.wav", np.zeros(4000), RATE)
    (found,) = probe("logmel", pitches, head="ridge")
    assert [name for name, _ in found.skipped] == ["low3.wav", "high7.wav"]
    assert "silent" in found.skipped[1][1]
    assert len(found.items) == 34


def test_a_run_that_was_stopped_goes_on(
    probe: Probe, pitches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, measure, heard = tmp_path / "results.json", run_module.measure, list[str]()

    def watched(upstream: Any, *rest: Any, **named: Any) -> list[Result]:
        heard.append(upstream.name)
        if heard == ["logmel", "fbank"]:
            raise KeyboardInterrupt
        return measure(upstream, *rest, **named)

    monkeypatch.setattr(run_module, "measure", watched)
    with pytest.raises(KeyboardInterrupt):
        probe(["logmel", "fbank"], pitches, output=output, head="ridge")
    assert not output.exists()
    assert journal(output).exists()
    found = probe(["logmel", "fbank"], pitches, output=output, head="ridge")
    assert heard == ["logmel", "fbank", "fbank"]
    assert [result.model.name for result in load_results(output)] == ["logmel", "fbank"]
    assert same(load_results(output)) == same(found)
    assert not journal(output).exists()
    monkeypatch.setattr(run_module, "measure", measure)
    assert same(probe("logmel", pitches, head="ridge")) == same(found[:1])


def test_other_questions_are_not_answered_by_the_journal(
    probe: Probe, pitches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "results.json"
    monkeypatch.setattr(run_module, "save_results", lambda *_, **__: None)
    probe("logmel", pitches, output=output, head="ridge")
    (found,) = probe("logmel", pitches, output=output, head="knn")
    assert found.protocol.head == "knn"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "blstm"}, "head 'blstm' cannot learn classification; expected linear or mlp or ridge or knn"),
        ({"head": "knn", "protocol": "published"}, "head knn is in no published protocol"),
        ({"beam": 3}, r"beam = 3: no task asked for is text \(kind ctc\)"),
        ({"head": "knn", "seeds": 2}, "pitches: head knn has no seed, so 2 of them are one"),
        ({"snr": [5]}, "snr says how loud noise is, which is not given"),
        ({"data": "."}, r"data: \., but every task asked for has sounds of its own"),
        ({"data": {"pitch": "."}}, "data: 'pitch' is no task that is asked for; did you mean 'pitches'?"),
        ({"layers": 7}, "layers = 7: expected 'weighted', 'last' or a number from 0 to 0"),
        ({"shots": 2, "draws": 0}, "received 0 draws"),
        ({"output": "."}, "is a folder"),
    ],
)
def test_what_cannot_be_asked(probe: Probe, pitches: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        probe("logmel", pitches, **settings)


def test_names_that_would_hide_results(probe: Probe, pitches: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two tasks are named 'pitches'"):
        probe("logmel", [pitches, pitches])
    with pytest.raises(InputError, match="two conditions are named 'pitches at 10 dB'"):
        probe("logmel", pitches, noise=[pitches, pitches])


def test_models_of_one_name_have_columns_of_their_own(probe: Probe, pitches: Path, tmp_path: Path) -> None:
    models = [tiny.folder(tmp_path / str(seed) / "encoder", "hubert", seed) for seed in (1, 2)]
    found = probe([*models, "logmel"], pitches, head="knn")
    header, cells = results_table(found)
    assert header == ["task", "metric", *map(str, models), "logmel"]
    assert len(cells) == 1
    assert len(cells[0]) == 5


def test_other_sound_is_other_data(probe: Probe, pitches: Path, tmp_path: Path) -> None:
    (before,) = probe("logmel", pitches, head="knn")
    soundfile.write(pitches / "low0.wav", tone(220.0, 0.3, np.random.default_rng(9)), RATE)
    (after,) = probe("logmel", pitches, head="knn")
    assert before.task.sha256 != after.task.sha256


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("metric: foo\n", "metric: expected accuracy or uar for kind classification, received 'foo'"),
        ("metric: wer\n", "expected accuracy or uar for kind classification, received 'wer'"),
    ],
)
def test_a_metric_fits_its_kind(probe: Probe, pitches: Path, task: str, message: str) -> None:
    labelled(pitches, _rows(pitches), task)
    with pytest.raises(InputError, match=message):
        probe("logmel", pitches)


def test_more_shots_than_there_are(probe: Probe, pitches: Path) -> None:
    with pytest.raises(InputError, match=r"shots: 500, but no class has more than [67] training clips"):
        probe("logmel", pitches, head="ridge", shots=500)


def test_one_test_clip_shows_nothing(probe: Probe, pitches: Path) -> None:
    rows = [{key: row[key] for key in ("path", "label")} for row in _rows(pitches)]
    rows = [row | {"split": "test" if at == 0 else "valid" if at % 4 == 0 else "train"} for at, row in enumerate(rows)]
    with pytest.raises(InputError, match="one test clip, which shows nothing"):
        probe("logmel", labelled(pitches, rows))


def test_stretches_that_are_none(probe: Probe, pitches: Path) -> None:
    labelled(pitches, [row | {"start": -1} for row in _rows(pitches)])
    with pytest.raises(InputError, match="start -1 s, seconds None; expected 0 or more, and above 0"):
        probe("logmel", pitches)
