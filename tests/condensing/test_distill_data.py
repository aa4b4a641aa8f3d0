"""From labelled sound to a generator, points, a classifier and an evaluation, with an encoder that really hears."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file
from started import started, wait_for
from tones import tones

from crossfade import compare
from crossfade.condensing import (
    evaluate,
    fit,
    leakage,
    read_classifier,
    read_generator,
    read_points,
    sample,
    train,
    trial,
)
from crossfade.condensing.artefact import Distilled
from crossfade.condensing.classifier import fit_classifiers
from crossfade.condensing.evaluating import Evaluation
from crossfade.condensing.optimised import distribution_matching, gradient_matching
from crossfade.condensing.rivals import RIVALS, learned
from crossfade.errors import InputError
from crossfade.probing.results import load_results

SMALL = {
    "noise": 8, "hidden": 16, "gan_steps": 10, "distil_steps": 10, "critic_steps": 2, "batch": 32, "check": 5,
    "per_class": 6, "share": 1.0, "ahead": 4,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _short() -> Iterator[None]:
    """Classifiers that only compare are trained for a quarter of their updates, matched points learned for a tenth."""
    with pytest.MonkeyPatch.context() as patch:
        for place in (trial, leakage):
            patch.setattr(place, "fit_classifiers", partial(fit_classifiers, steps=40))
        for name, learn in (("distribution matching", distribution_matching), ("gradient matching", gradient_matching)):
            patch.setitem(RIVALS, name, learned(partial(learn, steps=20)))
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny encoders, tones by five players, and a generator of one fold."""
    home = tmp_path_factory.mktemp("condensing")
    for seed, name in ((1, "encoder"), (2, "another")):
        tiny.folder(home / name, "hubert", seed)
    folder = tones(home / "tones", "speech", 0, clips=60)
    rows = [json.loads(line) | {"licence": "CC0-1.0"} for line in (folder / "manifest.jsonl").read_text().splitlines()]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fit(str(home / "encoder"), folder, home / "generator", settings=SMALL, cache=home / "cache")
    return home


@pytest.fixture(scope="module")
def generator(home: Path) -> Distilled:
    return read_generator(home / "generator")


@pytest.fixture(scope="module")
def evaluation(home: Path) -> Evaluation:
    return evaluate(
        home / "generator",
        home / "tones",
        home / "results.json",
        per_class=[4],
        folds="all",
        cache=home / "cache",
    )


def test_the_folder_says_all_that_is_known(home: Path, generator: Distilled) -> None:
    assert {path.name for path in generator.path.iterdir()} == {
        "README.md", "config.json", "crossfade.json", "model.safetensors",
    }  # fmt: skip
    record = generator.record
    assert record["classes"] == {"high": 18, "low": 18}
    assert (record["data"]["train"], record["data"]["valid"], record["data"]["test"]) == (36, 12, 12)
    assert record["data"]["feature_bytes"] == 36 * 48 * 4
    assert record["data"]["sound_bytes"] == 36 * (home / "tones" / "0.wav").stat().st_size
    assert record["licence"] == "CC0-1.0"
    assert record["encoder"]["sha256"] == read_generator(generator.path).record["encoder"]["sha256"]
    assert [one["name"] for one in record["measured"]] == [
        "full set",
        "generator, 6 per class, balanced",
        "random subset, 6 per class, balanced",
        "gaussian, 6 per class, balanced",
    ]
    assert all(one["uar"] > 80 for one in record["measured"])
    card = (generator.path / "README.md").read_text()
    for said in (record["encoder"]["sha256"], "CC0-1.0", record["sha256"], "groups recognised", "| high | 18 |"):
        assert said in card
    assert not list(home.glob(".generator.*"))


def test_points_are_features_of_the_encoder(home: Path, generator: Distilled) -> None:
    sampled = sample(generator.path, home / "points", 50, seed=1)
    points = read_points(home / "points")
    assert (sampled.points, sampled.classes, sampled.bytes) == (100, {"high": 50, "low": 50}, 100 * 48 * 4)
    assert points.features.shape == (100, 48)
    assert points.classes.bincount().tolist() == [50, 50]
    assert points.names == ("high", "low")
    assert points.about["encoder"]["sha256"] == generator.record["encoder"]["sha256"]
    assert torch.equal(points.features, generator.sample(50, seed=1).features)
    assert not torch.equal(points.features, generator.sample(50, seed=2).features)
    shift = (points.features.mean(0) - generator.mean).abs() / generator.deviation
    assert shift.max() < 1.5  # in the encoder's own units
    assert generator.sample(10, "original").classes.bincount().tolist() == [10, 10]


def test_many_points_are_those_of_many_blocks(generator: Distilled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfade.condensing.artefact.BLOCK", 7)
    found = generator.sample(20, seed=3)
    assert found.features.isfinite().all()
    assert len(found.features.unique(dim=0)) == 40


def test_a_classifier_of_points_names_real_clips(home: Path, generator: Distilled) -> None:
    sample(generator.path, home / "few", 30)
    for source, name in ((home / "few", "of points"), (generator.path, "of generator")):
        made = train(source, home / name, **({} if source.is_file() else {"per_class": 30}))
        read = read_classifier(home / name)
        assert read.classes == made.classes == ("high", "low")
        assert read.about["points"] == 60
        points = generator.sample(200, seed=9)
        named = torch.tensor([read.classes.index(name) for name in read.name(points.features)])
        assert (named == points.classes).double().mean() > 0.9
    assert load_file(home / "of points" / "model.safetensors").keys() == {"mean", "deviation", "weights", "bias"}
    same = [torch.equal(*(load_file(home / name / "model.safetensors")[part] for name in ("of points", "of generator")))
            for part in ("mean", "weights")]  # fmt: skip
    assert same == [True, True]


def test_every_row_is_measured_on_every_clip(evaluation: Evaluation) -> None:
    names = [row.name for row in evaluation.rows]
    assert names[0] == "full set"
    assert len(names) == len({*names}) == 1 + 8 * 2
    assert evaluation.about["folds"] == [0, 1, 2, 3, 4]
    assert evaluation.about["clips"] == 60
    full, made = evaluation.rows[0], evaluation.rows[1]
    assert (full.points, full.difference) == (36, None)
    assert (made.method, made.points, made.bytes) == ("generator", 8, 8 * 48 * 4)
    assert all(row.uar > 70 for row in evaluation.rows)
    assert made.difference is not None
    assert made.difference == pytest.approx(made.uar - full.uar)
    assert made.verdict in ("better", "worse", "no difference shown")
    assert all(row.interval[0] <= row.uar <= row.interval[1] for row in evaluation.rows)
    assert made.group_interval is None or made.group_interval[0] < made.uar < made.group_interval[1]


def test_leakage_and_coverage_are_beside_those_of_real_clips(evaluation: Evaluation) -> None:
    by_name = {row.name: row for row in evaluation.rows}
    full, subset = by_name["full set"], by_name["random subset, 4 per class, balanced"]
    assert full.leakage["membership"].value == 1
    assert full.coverage["coverage"].value == 1
    assert full.leakage["chance"].value == pytest.approx(100 / 3)
    assert 0.5 < subset.leakage["membership"].value < 1
    assert not by_name["generator, 4 per class, original"].leakage
    assert [one.points for one in evaluation.training] == [8, 36]
    assert evaluation.training[-1].steps > 4 * evaluation.training[0].steps
    assert len(evaluation.fits) == 5
    assert all(fit["collapsed"] is None for fit in evaluation.fits)


def test_the_results_are_results(home: Path, evaluation: Evaluation) -> None:
    results = load_results(home / "results.json")
    assert [result.model.name for result in results] == [row.name for row in evaluation.rows]
    assert all(len(result.items) == 60 for result in results)
    assert len(compare(home / "results.json", reference="full set").differences) == 16
    kept = json.loads((home / "results.json").read_text())["distilled"]
    assert [row["uar"] for row in kept["rows"]] == [row.uar for row in evaluation.rows]
    assert not list(home.glob(".results*"))


OWN: dict[str, Any] = {"per_class": [4], "priors": ["balanced"], "seeds": 2}


@pytest.fixture(scope="module")
def own(home: Path) -> Evaluation:
    return evaluate(home / "generator", home / "tones", home / "own.json", cache=home / "cache", **OWN)


def test_the_own_fold_is_tested_with_the_generator_itself(own: Evaluation) -> None:
    """And two seeds are two columns."""
    assert own.about["folds"] == [0]
    assert [fit["seed"] for fit in own.fits] == [0, 1]
    assert all(len(item.predictions) == 2 for result in own.results for item in result.items)
    assert {len(result.items) for result in own.results} == {12}


def test_an_evaluation_that_was_killed_goes_on(
    home: Path, own: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had measured is read, not measured again; and it is what another run with the same seed has."""
    words = (home / "generator", home / "tones", tmp_path / "results.json")
    with monkeypatch.context() as patch:
        patch.setattr("crossfade.condensing.evaluating.assemble", lambda *facts: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            evaluate(*words, cache=home / "cache", **OWN)
    assert len(list((tmp_path / ".results.json.work").glob("fold-*.json"))) == 2
    monkeypatch.setattr("crossfade.condensing.evaluating.measure", None)  # nothing is measured again
    found = evaluate(*words, cache=home / "cache", **OWN)
    assert len(found.rows) == 9
    assert [row.uar for row in found.rows] == [row.uar for row in own.rows]
    assert not (tmp_path / ".results.json.work").exists()


SCRIPT = """
import json, sys
from crossfade.condensing import fit
fit(sys.argv[1], sys.argv[2], sys.argv[3], settings=json.loads(sys.argv[4]), cache=sys.argv[5])
"""


def test_killed_at_a_random_update_and_taken_up(home: Path, tmp_path: Path) -> None:
    """A real process, a real SIGKILL; then every weight is bit for bit that of a run in peace."""
    settings = SMALL | {"gan_steps": 40, "distil_steps": 80, "check": 20, "patience": 100, "rate": 1e-3}
    words = [str(home / "encoder"), str(home / "tones"), str(tmp_path / "killed"), json.dumps(settings)]
    work = tmp_path / ".killed.work"
    process = started(["-c", SCRIPT, *words, str(home / "cache")])
    wait_for(lambda: any(work.glob("checkpoint-*")), process)
    process.kill()
    process.communicate()
    assert not (tmp_path / "killed").exists()
    for name in ("killed", "peace"):
        fit(words[0], words[1], tmp_path / name, settings=settings, cache=home / "cache")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("killed", "peace"))
    assert all(torch.equal(one[name], other[name]) for name in other)
    looks = [read_generator(tmp_path / name).record["training"]["looks"] for name in ("killed", "peace")]
    assert looks[0] == looks[1]
    assert not list(tmp_path.glob(".*"))


def test_another_training_is_not_taken_up(home: Path, tmp_path: Path) -> None:
    work = tmp_path / ".generator.work"
    work.mkdir()
    (work / "run.json").write_text('{"seed": 7}')
    words = (str(home / "encoder"), home / "tones", tmp_path / "generator")
    with pytest.raises(InputError, match="holds another training: "):
        fit(*words, settings=SMALL, cache=home / "cache")
    assert fit(*words, settings=SMALL, cache=home / "cache", overwrite=True).counts == (18, 18)


def test_refusals(home: Path, generator: Distilled, tmp_path: Path) -> None:
    out, cache = tmp_path / "out", home / "cache"
    encoder, data = str(home / "encoder"), home / "tones"
    with pytest.raises(InputError, match=r"generator: made for the encoder encoder \(weights \w{8}\), but .*another is "
                       r"another \(weights \w{8}\); give the one it was made for"):  # fmt: skip
        evaluate(generator.path, data, out, model=str(home / "another"), cache=cache)
    with pytest.raises(InputError, match=r"layer 9: .*encoder has 0 to 3; or give 'mean'"):
        fit(encoder, data, out, layer=9, cache=cache)
    with pytest.raises(InputError, match=r"tones: fold 5: expected 0 to 4"):
        fit(encoder, data, out, fold=5, cache=cache)
    with pytest.raises(InputError, match=r"settings: unknown key 'step'; did you mean"):
        fit(encoder, data, out, settings={"step": 3}, cache=cache)
    with pytest.raises(
        InputError, match=r"tones: no config.json in it; expected a folder of `crossfade distill-data fit`"
    ):
        sample(data, out)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_bytes((generator.path / "config.json").read_bytes())
    with pytest.raises(InputError, match=r"half: no crossfade.json in it; expected a folder of `crossfade distill"):
        sample(tmp_path / "half", out)
    with pytest.raises(InputError, match=r"tones: no config.json in it; .* `crossfade distill-data train`"):
        read_classifier(data)
    other = tones(tmp_path / "other", "speech", 0, clips=40)
    with pytest.raises(InputError, match=r"was fitted on other clips, labels or folds \(tones, \w{8}\) than these"):
        evaluate(generator.path, other, out, cache=cache)
    (other / "task.yaml").write_text("kind: regression\nlabel: group\n")
    with pytest.raises(InputError, match=r"other: kind regression; expected a task with one class for each clip"):
        fit(encoder, other, out, cache=cache)
    sample(generator.path, tmp_path / "points", 3)
    with pytest.raises(InputError, match=r"--per-class: .*points holds its points already"):
        train(tmp_path / "points", out, per_class=3)
    with pytest.raises(InputError, match=r"--damping -1: expected a finite number, 0 or more"):
        train(tmp_path / "points", out, damping=-1)
    assert not out.exists()
    assert not list(tmp_path.glob(".*"))


def test_a_class_with_one_training_clip(home: Path, tmp_path: Path) -> None:
    folder = tones(tmp_path / "lone", "speech", 0, clips=20)
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    split = ["train", "valid", "test"]
    for number, row in enumerate(rows):
        row |= {"split": split[int(row.pop("group")) % 3]}
        row["label"] = "lone" if number == 0 else row["label"]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=r"lone, fold 0: class 'lone' has one training clip"):
        fit(str(home / "encoder"), folder, tmp_path / "out", cache=home / "cache")
    for row in rows:
        row["label"] = "same"
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=r"only one class to train on, 'same'; expected two or more"):
        fit(str(home / "encoder"), folder, tmp_path / "out", cache=home / "cache")
