"""From tuned folders to results: modes, noises, seeds, a bank, an attack; files that `compare` and `report` read."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tuning import materials, recipe

from crossfade.cli.main import main
from crossfade.errors import InputError
from crossfade.probing.compare import compare
from crossfade.probing.metrics import METRICS
from crossfade.probing.results import Result, load_results
from crossfade.prompts.conditions import Condition, conditions
from crossfade.prompts.folders import attack, inspect, make_bank
from crossfade.prompts.run import train
from crossfade.prompts.scoring import check_prompts, evaluate
from crossfade.prompts.soft import SoftPrompts
from crossfade.prompts.tuned import open_tuned


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts of two seeds and a head, tuned on clean clips; prompts for two noises that go on from the first."""
    home = materials(tmp_path_factory.mktemp("scoring"))
    short = {"steps": 2, "valid_steps": 2}
    for seed in (0, 1):
        train(recipe(home, training=short), home / f"prompts-{seed}", seed=seed, device="cpu")
    train(recipe(home, training=short), home / "head", method="head", device="cpu")
    for colour in ("white", "pink"):
        noise = {colour: 1.0, "folder": 0.0, "chance": 1.0}
        more = {"start": str(home / "prompts-0"), "noise": noise, "training": short | {"head_rate": 0.0, "rate": 1.0}}
        train(recipe(home, **more), home / colour, device="cpu")
    return home


def rows(results: tuple[Result, ...] | list[Result], metric: str = "cer") -> dict[tuple[object, ...], Result]:
    told = [(result, result.protocol.model_extra or {}) for result in results]
    return {
        (more["method"], more.get("mode"), result.protocol.condition): result
        for result, more in told
        if result.metric == metric
    }


def test_seeds_are_one_row_and_modes_are_others(home: Path, tmp_path: Path) -> None:
    folders = [home / "prompts-1", home / "prompts-0", home / "head"]
    noise = ["white", home / "noise"]
    modes = ["keep", "remove", "random", "shuffled"]
    made = evaluate(folders, tmp_path / "r.json", modes=modes, noise=noise, snr=(0, 10), device="cpu")
    found = rows(made.results)
    places = ["clean", "white at 0 dB", "white at 10 dB", "noise at 0 dB", "noise at 10 dB"]
    wanted = {("prompts", mode, place) for mode in modes for place in places}
    assert found.keys() == wanted | {("head", None, place) for place in places}
    row = found["prompts", "keep", "clean"]
    assert (row.seeds, len(row.values), row.model.name) == ((0, 1), 2, "encoder")
    assert row.interval[0] <= row.value <= row.interval[1]
    labels, said = zip(*((item.label, item.predictions[1]) for item in row.items), strict=True)
    assert row.values[1] == pytest.approx(METRICS["cer"].value(labels, said))
    assert "cc b é" in labels
    assert found["head", None, "clean"].seeds == (0,)
    assert load_results(tmp_path / "r.json") == list(made.results)
    told = json.loads((tmp_path / "r.json").read_text())["tuned"]
    assert [one["seed"] for one in told] == [0, 1, 0]
    assert told[0]["unknown"] == {"é": 1}
    assert told[0]["speed"][0]["real_time_factor"] > 0
    assert [(one["condition"], one["mode"]) for one in told[2]["speed"]] == [(place, None) for place in places]


def test_what_is_heard_for_prompts_changes_what_is_written(home: Path) -> None:
    """`remove` is the encoder alone; without positions among prompts their order says nothing."""
    from crossfade.prompts.hearing import Means, hearing

    tuned = open_tuned(home / "white", "cpu")
    clips = [torch.randn(9000, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]

    def scores(mode: str, **means: object) -> torch.Tensor:
        with torch.no_grad():
            heard = hearing(mode, tuned, clips, Means(**means))([0, 1])  # type: ignore[arg-type]
            return torch.cat(tuned.recognizer(clips, heard))

    kept, removed = scores("keep"), scores("remove")
    with torch.no_grad():
        assert torch.equal(removed, torch.cat(tuned.recognizer(clips, None)))
    assert float((kept - removed).abs().max()) > 1e-4
    torch.testing.assert_close(scores("shuffled"), kept, atol=1e-5, rtol=1e-5)
    assert float((scores("random") - kept).abs().max()) > 1e-4
    other = open_tuned(home / "pink", "cpu").recognizer.prompts
    assert other is not None
    vectors = other.vectors.detach()
    assert torch.equal(scores("interpolated", other=vectors, share=0.0), kept)
    assert torch.equal(scores("interpolated", other=vectors, share=1.0), scores("swapped", other=vectors))


def test_a_bank_serves_a_noise_that_nobody_tuned_for(home: Path, tmp_path: Path) -> None:
    banked = make_bank([home / "white", home / "pink"], tmp_path / "bank")
    assert banked.noises == ("white", "pink")
    modes = ["nearest", "weighted", "averaged"]
    made = evaluate(
        home / "prompts-0", tmp_path / "r.json", modes=modes, bank=tmp_path / "bank", noise=["white"], clean=False
    )
    assert rows(made.results).keys() == {("prompts", mode, "white at 10 dB") for mode in modes}
    swapped = evaluate(
        home / "prompts-0", tmp_path / "s.json", modes=["swapped"], other=home / "white", noise=["white"], clean=False
    )
    (own,) = rows(swapped.results).values()
    nearest = rows(made.results)["prompts", "nearest", "white at 10 dB"]
    assert [item.predictions for item in nearest.items] == [item.predictions for item in own.items]
    for folders, message in (
        (["prompts-0"], "prompts-0: tuned under no noise"),
        (["head"], "head: method head has no prompts; expected method prompts or deep"),
        (["encoder"], "encoder: no crossfade.json of a tuning; expected a folder of `crossfade prompt-tune train`"),
        (
            ["white", "prompts-1"],
            "prompts-1 started from None, .*white from .*prompts-0; prompts can be combined where",
        ),
        (["white", "white"], "white holds the same vectors as .*white; leave one out"),
    ):
        with pytest.raises(InputError, match=message):
            make_bank([home / name for name in folders], tmp_path / "other")


def test_prompts_of_another_encoder_are_not_swapped_in(home: Path, tmp_path: Path) -> None:
    other = shutil.copytree(home / "white", tmp_path / "other")
    said = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps(said | {"base_sha256": "ab" * 32}))
    own = open_tuned(home / "prompts-0", "cpu")
    beside = SoftPrompts.from_pretrained(other)
    with pytest.raises(InputError, match=r"its weights have SHA-256 .*, the prompts were tuned on .*abababababab"):
        check_prompts([own], ["swapped"], beside)


def test_seeds_that_hear_the_plain_encoder_hear_it_once(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crossfade.prompts.recognizer import Recognizer

    states, passes = Recognizer.states, list[int]()

    def counted(self: Recognizer, *given: Any) -> Any:
        passes.append(len(given[0]))
        return states(self, *given)

    monkeypatch.setattr(Recognizer, "states", counted)
    found, heard = list[Any](), list[int]()
    for some in (("prompts-0",), ("prompts-1",), ("prompts-0", "prompts-1")):
        for mode in ("keep", "remove"):
            passes.clear()
            made = evaluate([home / name for name in some], tmp_path / "r.json", modes=[mode], overwrite=True)
            found.append([item.predictions for item in made.results[0].items])
            heard.append(sum(passes))
    one = heard[0]
    assert heard == [one, one, one, one, 2 * one, one]
    for place, both in enumerate(found[4:]):
        assert both == [(*first, *other) for first, other in zip(found[place], found[place + 2], strict=True)]


def test_half_precision_is_a_protocol_of_its_own(home: Path, tmp_path: Path) -> None:
    tuned = [open_tuned(home / "prompts-0", "cpu", precision=precision) for precision in ("float32", "bfloat16")]
    clip = torch.randn(8000, generator=torch.Generator().manual_seed(0))
    (full,), (half,) = (one.recognizer.states([clip], None) for one in tuned)
    assert half.dtype == torch.float32
    assert 1e-5 < (full - half).norm() / full.norm() < 0.05
    made = evaluate(home / "prompts-0", tmp_path / "r.json", device="cpu", precision="bfloat16")
    assert {result.protocol.precision for result in made.results} == {"bfloat16"}


def test_a_killed_evaluation_goes_on(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crossfade.prompts import scoring

    plain, asked = scoring.transcribe_alike, list[int]()

    def once(*arguments: object) -> list[tuple[str, ...]]:
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return plain(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(scoring, "transcribe_alike", once)
    with pytest.raises(KeyboardInterrupt):
        evaluate(home / "prompts-0", tmp_path / "r.json", modes=["keep", "remove"], device="cpu")
    made = evaluate(home / "prompts-0", tmp_path / "r.json", modes=["keep", "remove"], device="cpu")
    assert len(asked) == 3
    assert len(made.results) == 4


def test_compare_tests_methods_and_modes(home: Path, tmp_path: Path) -> None:
    folders = [home / "prompts-0", home / "head"]
    made = evaluate(folders, tmp_path / "r.json", modes=["keep", "remove"], device="cpu")
    found = compare(list(made.results))
    assert len(found.differences) == 4
    assert not found.not_comparable
    assert {difference.metric for difference in found.differences} == {"wer", "cer"}
    names = {found.reference, *found.models}
    assert names == {
        f"encoder ({way})" for way in ("method prompts, mode keep", "method prompts, mode remove", "method head")
    }
    assert main(["report", str(tmp_path / "r.json"), "-o", str(tmp_path / "r.html")]) == 0


def test_attacked_prompts_are_refused_or_bounded(home: Path, tmp_path: Path) -> None:
    made = attack(home / "prompts-0", tmp_path / "attacked", epsilon=20.0, steps=5, device="cpu")
    assert made.loss_after > made.loss_before
    with pytest.raises(InputError, match="attacked"):
        open_tuned(tmp_path / "attacked", "cpu")
    before, bounded, changed = (
        open_tuned(folder, "cpu", None, defence).recognizer.prompts
        for folder, defence in (
            (home / "prompts-0", "refuse"),
            (tmp_path / "attacked", "bound"),
            (tmp_path / "attacked", "off"),
        )
    )
    assert before is not None
    assert bounded is not None
    assert changed is not None
    longest = float(before.vectors.detach().norm(dim=-1).max())
    assert float(changed.vectors.detach().norm(dim=-1).max()) > 2 * longest
    assert float(bounded.vectors.detach().norm(dim=-1).max()) <= longest * 1.001
    with pytest.raises(InputError, match="method head has no prompts"):
        attack(home / "head", tmp_path / "none", device="cpu")


def test_inspected(home: Path, tmp_path: Path) -> None:
    found = inspect(home / "prompts-0", tmp_path / "i.json", clips=2, device="cpu")
    told = json.loads((tmp_path / "i.json").read_text())
    assert told["clips"] == 2
    assert len(told["attention"]) == 3
    assert found.to_dict()["count"] == 3


def test_noise_has_its_level_and_is_the_same_at_each(home: Path) -> None:
    clip = torch.sin(torch.arange(8000) / 7)
    for name in ("white", "pink", str(home / "noise")):
        two, other = conditions([name], [0.0, 10.0], clean=False)
        loud, quiet = (one.over([("a", clip)], 16000, 0)[0] - clip for one in (two, other))
        assert float(10 * (clip.square().mean() / loud.square().mean()).log10()) == pytest.approx(0, abs=1e-3)
        torch.testing.assert_close(loud, quiet * 10**0.5, atol=1e-4, rtol=1e-3)
        (elsewhere,) = two.over([("b", clip)], 16000, 0)
        assert float((elsewhere - clip - loud).abs().max()) > 0.01
    assert Condition().over([("a", clip)], 16000, 0) == [clip]


def test_what_cannot_be_evaluated_is_refused(home: Path, tmp_path: Path) -> None:
    output, own = tmp_path / "r.json", home / "prompts-0"
    refused: list[tuple[dict[str, object], str]] = [
        ({"modes": ["kep"]}, r"^mode kep: did you mean 'keep'\? known: "),
        ({"modes": ["swapped"]}, r"^mode swapped: needs --with: the folder of other prompts"),
        ({"modes": ["nearest"]}, r"^mode nearest: needs --bank: a bank of prompts"),
        (
            {"tuned": home / "head", "modes": ["remove"]},
            "^mode remove: method head has no prompts; expected folders of",
        ),
        ({"modes": ["swapped"], "other": home / "head"}, r"head: has no prompts; expected a folder tuned by"),
        ({"noise": ["brown"]}, r"^noise brown: no such folder or colour"),
        ({"noise": ["white"], "snr": [float("nan")]}, r"^snr: expected levels in dB, received nan"),
        ({"clean": False}, r"^nothing to evaluate under: no noise and no clean sound"),
        ({"noise": ["white", "white"]}, r"^two conditions have one name"),
        ({"data": "month"}, r"^month: is of kind classification, expected ctc"),
    ]
    for changes, message in refused:
        with pytest.raises(InputError, match=message):
            evaluate(**({"tuned": own, "output": output, "device": "cpu"} | changes))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="are the same tuning, seed 0; leave one out"):
        evaluate([own, own], output, device="cpu")
    assert not output.exists()


def test_from_the_command_line(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prompt-tune", "evaluate", str(home / "prompts-0"), "-o", str(tmp_path / "r.json"), "--device", "cpu"]
    assert main([*words, "--mode", "keep", "remove", "--json"]) == 0
    out = capsys.readouterr().out
    assert "In no training transcript, so always wrong: 'é' 1." in out
    assert len(json.loads(out.splitlines()[-1])["results"]) == 4
    assert main(words) == 2
    assert "already exists" in capsys.readouterr().err
    bank = ["prompt-tune", "bank", str(home / "white"), str(home / "pink"), "-o", str(tmp_path / "bank")]
    assert main([*bank, "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["noises"] == ["white", "pink"]
    bad = ["prompt-tune", "inspect", str(home / "white"), "-o", str(tmp_path / "i.json"), "--figure"]
    assert main([*bad, str(tmp_path / "i.txt")]) == 2
    assert "i.txt: expected a name that ends in .png, .svg, .pdf" in capsys.readouterr().err
    assert main(["prompt-tune", "evaluate", str(home / "prompts-0"), "-o", "/proc/results.json"]) == 2
    assert "/proc/results.json: cannot be created (No such file or directory)" in capsys.readouterr().err
    look = ["prompt-tune", "inspect", str(home / "white"), "-o", str(tmp_path / "i.json"), "--clips", "2", "--quiet"]
    assert main([*look, "--figure", str(tmp_path / "i.png"), "--device", "cpu"]) == 0
    assert (tmp_path / "i.png").stat().st_size > 1000
    harm = ["prompt-tune", "attack", str(home / "white"), "-o", str(tmp_path / "bad"), "--steps", "2", "--json"]
    assert main([*harm, "--quiet", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 2
