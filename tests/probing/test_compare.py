"""Comparisons: what is found, what is left to chance, and what is not compared and why."""

import json
import random
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from measured import COST, answers, result, scored
from scipy import stats

from crossfade.errors import InputError
from crossfade.probing.compare import Comparison, Difference, compare
from crossfade.probing.results import Result, Scored, save_results
from crossfade.probing.scores import Preset
from crossfade.probing.significance import mcnemar

LABELS = [f"class {index % 4}" for index in range(200)]
WORDS = ["one two three four five"] * 100
GOOD, BAD = ["one two three four five"] * 90 + ["one two"] * 10, ["one two"] * 50 + ["one two three four five"] * 50


def only(comparison: Comparison) -> Difference:
    (found,) = comparison.differences
    return found


def heard(model: str, predictions: Sequence[str], **more: Any) -> Result:
    return result(model, "words", scored(WORDS, predictions), metric="wer", domain="speech", **more)


def test_right_and_wrong_is_mcnemars() -> None:
    one, other = result("speech", right=0.6, seed=1), result("merged", right=0.9, seed=2)
    found = only(compare([one], [other]))
    right = [[item.predictions[0] == item.label for item in model.items] for model in (one, other)]
    pairs = list(zip(*right, strict=True))
    assert (found.p, found.test) == mcnemar(pairs.count((True, False)), pairs.count((False, True)))
    assert found.difference == pytest.approx(other.value - one.value)
    assert found.interval[0] < found.difference < found.interval[1]
    assert found.interval[0] > 0
    assert found.verdict == "better"
    assert found.items == 200


def test_words_are_bootstrapped_and_fewer_errors_are_better() -> None:
    found = only(compare([heard("speech", BAD)], [heard("merged", GOOD)]))
    assert found.test == "paired bootstrap over items"
    assert (found.reference_value, found.value) == pytest.approx((30, 6))
    assert found.difference == pytest.approx(-24)
    assert found.interval[1] < 0
    assert found.verdict == "better"
    assert found.p == pytest.approx(2 / 10_001)


def test_pairs_of_clips_are_told_apart_by_clips() -> None:
    """Verification: both models on the same draws of clips, not of pairs."""
    pairs = [(f"c{one:02d} | c{other:02d}", one // 4 == other // 4) for one, other in combinations(range(24), 2)]

    def heard_pairs(model: str, apart: float, seed: int) -> Result:
        noise = random.Random(seed)
        items = [Scored(id=id, label=own, predictions=(apart * own + noise.gauss(0, 1),)) for id, own in pairs]
        return result(model, "speakers", items, metric="eer", domain="speech")

    found = only(compare([heard_pairs("speech", 1, 1)], [heard_pairs("merged", 4, 2)]))
    assert found.test == "paired bootstrap over clips"
    assert found.items == 276
    assert found.verdict == "better"
    assert found.difference < found.interval[1] < 0
    alike = only(compare([heard_pairs("speech", 1, 1)], [heard_pairs("merged", 1, 1)]))
    assert (alike.difference, alike.p) == (0, 1)
    assert alike.interval == pytest.approx((0, 0))


def test_the_other_way_round() -> None:
    files = (
        [heard("speech", BAD), result("speech", right=0.7)],
        [heard("merged", GOOD), result("merged", right=0.72, seed=9)],
    )
    there, back = compare(*files), compare(*files, reference="merged")
    for first, second in zip(there.differences, back.differences, strict=True):
        assert second.difference == pytest.approx(-first.difference)
        assert second.interval == pytest.approx((-first.interval[1], -first.interval[0]))
        assert (second.p, second.q) == pytest.approx((first.p, first.q))
    assert [found.verdict for found in there.differences] == ["better", "no difference shown"]
    assert [found.verdict for found in back.differences] == ["worse", "no difference shown"]


def test_all_tests_are_one_family() -> None:
    tasks = [f"task {number}" for number in range(12)]
    sources = [[result(model, task, right=right, seed=hash_of(model, task)) for task in tasks]
               for model, right in (("a", 0.7), ("b", 0.8), ("c", 0.7))]  # fmt: skip
    made = compare(*sources)
    assert len(made.differences) == 24
    expected = stats.false_discovery_control([one.p for one in made.differences])
    assert [one.q for one in made.differences] == pytest.approx(list(expected))
    assert {one.verdict for one in made.real} == {"better"}
    assert {one.model for one in made.real} == {"b"}  # a and c are as good as each other
    assert len(made.real) < sum(one.p < 0.05 for one in made.differences)


def hash_of(*words: str) -> int:
    return sum(ord(letter) * (place + 1) for place, letter in enumerate("".join(words)))


def test_a_model_and_itself() -> None:
    found = only(compare([result("a", weights="same")], [result("b", weights="same")]))
    assert (found.difference, found.interval, found.p) == (0, (0, 0), 1)
    assert found.verdict == "no difference shown"


def test_what_it_says() -> None:
    one = [heard("speech", BAD), result("speech", right=0.9), result("speech", "drums", right=0.8, shots=5, seed=3)]
    other = [heard("merged", GOOD), result("merged", right=0.5), result("merged", "drums", right=0.8, shots=5, seed=4)]
    made = compare(one, other)
    assert made.sentence() == (
        "Real differences from speech: merged is better on words and worse on melody. "
        "The other one cannot be told from chance."
    )
    assert repr(made) == "Comparison(merged with speech: 2 of 3 differences real, 0 results not comparable)"
    facts = json.loads(json.dumps(made.to_dict()))
    assert facts["sentence"] == made.sentence()
    assert [row["verdict"] for row in facts["differences"]] == ["better", "worse", "no difference shown"]
    assert compare(one[2:], other[2:]).sentence() == "The difference from speech cannot be told from chance."
    alike = compare(one[2:], other[2:], [result("fbank", "drums", right=0.8, shots=5, seed=5)])
    assert alike.sentence() == "None of the 2 differences from speech can be told from chance."
    assert compare(one[:1], other[:1]).sentence() == "Real differences from speech: merged is better on words."


# What is not compared ------------------------------------------------------------------------------------------------

SHORT = scored(LABELS[:190], answers(LABELS[:190], 0.8, 0))
RELABELLED = scored(["class 3", *LABELS[1:]], answers(LABELS, 0.8, 0))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"sha256": "others"}, "other clips, labels or folds (task hashes data and others)"),
        ({"steps": 900}, "other settings: steps 500 and 900, in results 1 and results 2"),
        ({"layers": "last"}, "other settings: layers weighted and last"),
        ({"mixup": 0.7}, "other settings: mixup none and 0.7"),
        ({"head": "mlp", "beam": 3}, "other settings: head linear and mlp, beam 1 and 3"),
        ({"head": "ridge", "steps": None, "rates": ()}, "other settings: head linear and ridge, in"),
        ({"metric": "uar"}, "metric accuracy and uar"),
        ({"items": SHORT}, "test items that are in one of them only: 10, 'clip-0190' among them"),
        ({"items": RELABELLED}, "test items with other labels, groups or folds: 1, 'clip-0000' among them"),
        ({"condition": "babble at 10 dB"}, "not measured for speech"),
        ({"shots": 5}, "not measured for speech"),
        ({"task": "drums"}, "not measured for speech"),
    ],
)
def test_what_cannot_be_compared_is_named(other: dict[str, Any], reason: str) -> None:
    task = other.get("task", "melody")
    asked = {key: value for key, value in other.items() if key != "task"}
    one = [result("speech"), heard("speech", BAD)]
    made = compare(one, [result("merged", task, **asked), heard("merged", GOOD)])
    assert only(made).task == "words"
    assert reason in made.not_comparable[0].reason
    assert made.not_comparable[0].task == task
    if reason.startswith("not measured"):
        assert [one.model for one in made.not_comparable] == ["merged", "speech"]
    with pytest.raises(InputError, match="nothing can be compared with speech: "):
        compare(one[:1], [result("merged", task, **asked)])


def test_few_shots_are_compared_on_the_same_draws() -> None:
    def drawn(model: str, right: float, draws: int) -> Result:
        columns = [answers(LABELS, right, seed) for seed in range(draws)]
        return result(model, items=scored(LABELS, *columns), shots=5, draws=5)

    found = only(compare([drawn("speech", 0.5, 5)], [drawn("merged", 0.9, 5)]))
    assert found.setting == "melody (5 shots)"
    assert found.test == "paired bootstrap over items"
    assert found.verdict == "better"
    with pytest.raises(InputError, match=r"other draws of training clips \(seeds \[0, 1, 2, 3, 4\] and \[0, 1, 2\]\)"):
        compare([drawn("speech", 0.5, 5)], [drawn("merged", 0.9, 3)])


def test_by_group() -> None:
    """What clips show, eight speakers need not: here one model fails on two of them, and that is all."""
    groups = [f"speaker {index // 25}" for index in range(200)]
    failing = scored(LABELS, [label if index >= 50 else "wrong" for index, label in enumerate(LABELS)], groups=groups)
    files = [result("speech", items=scored(LABELS, LABELS, groups=groups))], [result("merged", items=failing)]
    assert only(compare(*files)).verdict == "worse"
    by_group = only(compare(*files, unit="group"))
    assert by_group.test == "paired bootstrap over groups"
    assert by_group.verdict == "no difference shown"
    with pytest.raises(InputError, match="test items without a group: 200"):
        compare([result("speech")], [result("merged")], unit="group")
    few = scored(LABELS, LABELS, groups=["a", "b"] * 100)
    with pytest.raises(InputError, match="unit group: expected 5 groups or more, the test items have 2"):
        compare([result("speech", items=few)], [result("merged", items=few)], unit="group")


def test_each_setting_meets_its_counterpart() -> None:
    one = [result("speech", head="mlp"), result("speech"), result("speech", head="knn", layers=3)]
    other = [result("merged"), result("merged", head="mlp"), result("merged", head="knn", layers=2)]
    made = compare(one, other)
    assert [found.setting for found in made.differences] == [
        "melody (head mlp, layers weighted)",
        "melody (head linear, layers weighted)",
    ]
    (lost,) = made.not_comparable
    assert lost.reason == "other settings: layers 3 and 2, in results 1 and results 2"


def test_a_setting_that_only_one_has_says_what_the_other_has() -> None:
    """Not `not measured`: the closest result of the same task is named, once, whoever has it."""
    both = [result("merged"), result("merged", head="ridge", steps=None)]
    there, back = compare([result("speech")], both), compare(both, [result("speech")])
    assert [(one.model, one.reason) for one in there.not_comparable] == [
        ("merged", "other settings: head linear and ridge, in results 1 and results 2")
    ]
    assert [(one.model, one.reason) for one in back.not_comparable] == [
        ("merged", "other settings: head ridge and linear, in results 1 and results 2")
    ]
    (lost,) = compare([result("speech"), heard("speech", BAD)], [both[1], heard("merged", BAD)]).not_comparable
    assert lost.reason.startswith("other settings: head linear and ridge")


# One model and itself ------------------------------------------------------------------------------------------------


def test_heads_of_one_model() -> None:
    """One model alone: its settings are compared, on every task that has both."""
    linear = [result("speech", right=0.5), heard("speech", BAD, steps=900)]
    ridge = [
        result("speech", right=0.9, seed=1, head="ridge", steps=None, rates=()),
        heard("speech", BAD, head="ridge", steps=None, rates=()),
    ]
    made = compare(linear, ridge)
    assert (made.reference, made.models) == ("speech (head linear)", ("speech (head ridge)",))
    assert made.sentence() == (
        "Real differences from speech (head linear): speech (head ridge) is better on melody. "
        "The other one cannot be told from chance."
    )
    back = compare(linear, ridge, reference="speech (head ridge)")
    assert [one.verdict for one in back.differences] == ["worse", "no difference shown"]
    with pytest.raises(InputError, match=r"reference: no results of 'speech'; known: speech \(head linear\), speech"):
        compare(linear, ridge, reference="speech")


def test_one_model_of_several() -> None:
    """With others in the files every setting meets its own, unless one model is asked for."""
    linear, ridge = ([result(model, head=head) for model in ("speech", "merged")] for head in ("linear", "ridge"))
    assert [(one.model, one.way) for one in compare(linear, ridge).differences] == [
        ("merged", "head linear"),
        ("merged", "head ridge"),
    ]
    made = compare(linear, ridge, model="merged")
    assert (made.reference, made.models) == ("merged (head linear)", ("merged (head ridge)",))
    assert only(made).setting == "melody"
    with pytest.raises(InputError, match="model: no results of 'merge'; did you mean 'merged'"):
        compare(linear, ridge, model="merge")
    with pytest.raises(InputError, match="or of one under two settings; received only merged"):
        compare(linear, model="merged")


def test_as_few_settings_as_tell_apart() -> None:
    sweep = result(steps=900, rates=(0.1, 0.2))
    published = [
        result(steps=steps, rates=(0.1,), batch=8, published=True, beam=beam) for steps, beam in ((300, 1), (300, 3))
    ]
    made = compare([sweep], published)
    assert [made.reference, *made.models] == [
        "speech (published no, beam 1)",
        "speech (published yes, beam 1)",
        "speech (published yes, beam 3)",
    ]
    conditions = [result(), result(condition="babble at 10 dB")]
    with pytest.raises(InputError, match="received only speech"):
        compare(conditions)
    assert len(compare(conditions, [result(head="mlp")]).not_comparable) == 1


# The same again ------------------------------------------------------------------------------------------------------


def test_the_same_answers_twice_are_one() -> None:
    one, other = [result("speech"), heard("speech", BAD)], [result("merged"), heard("merged", GOOD)]
    again = [found.model_copy(update={"cost": COST.model_copy(update={"seconds_heads": 9.0})}) for found in one]
    made = compare(one, other, again)
    assert made.notes == ("Counted once: results that results 1 and results 3 share (2)",)
    assert made.differences == compare(one, other).differences
    with pytest.raises(InputError) as refused:
        compare(one, other, [result("speech", seed=9)])
    assert str(refused.value) == (
        "speech is measured twice on melody under one protocol with unlike answers, in results 1 and in results 3; "
        "leave one of them out"
    )


def test_a_value_that_is_not_its_items() -> None:
    with pytest.raises(InputError) as refused:
        compare([result("speech")], [result("merged", value=12.0)])
    assert str(refused.value) == (
        "results 2: merged on melody: value 12 does not follow from its items, which give 72.5; probe again"
    )


# Who is who ----------------------------------------------------------------------------------------------------------


def test_files_and_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_results(tmp_path / f"{name}.json", [result("merged", weights=f"{name}{name}{name}", right=0.7)])
    made = compare(tmp_path / "a.json", str(tmp_path / "b.json"))
    assert (made.reference, made.models) == ("merged@aaa", ("merged@bbb",))


def test_whom_to_compare() -> None:
    with pytest.raises(
        InputError,
        match="compare needs results of two models or more, or of one under two settings; received only speech",
    ):
        compare([result("speech")])
    with pytest.raises(InputError, match="reference: no results of 'speach'; did you mean 'speech'"):
        compare([result("speech")], [result("merged")], reference="speach")
    with pytest.raises(InputError, match="no results in what was given"):
        compare([])
    unknown = [result(model).model_copy(update={"metric": "acuracy"}) for model in ("speech", "merged")]
    with pytest.raises(
        InputError, match="results 1: speech on melody: metric 'acuracy' is unknown; did you mean 'accuracy'"
    ):
        compare(unknown)


# Scores --------------------------------------------------------------------------------------------------------------

PRESET = Preset.model_validate(
    {
        "name": "small",
        "title": "Small",
        "source": "a test",
        "tasks": {
            "words": {"domain": "speech", "metric": "wer", "reference": 5, "baseline": 95},
            "melody": {"domain": "music", "metric": "accuracy", "reference": 90, "baseline": 25},
        },
    }
)


def test_scores_are_compared_too() -> None:
    one, other = [heard("speech", BAD), result("speech")], [heard("merged", GOOD), result("merged")]
    (found,) = compare(one, other, score=PRESET).scores
    assert found.difference == pytest.approx(500 / 90 * 24)
    assert found.difference == pytest.approx(found.score.value - found.reference_score.value)
    words = compare(one, other).differences[0]
    half = 500 / 90 * (words.interval[1] - words.interval[0]) / 2
    assert found.interval == pytest.approx((found.difference - half, found.difference + half), rel=0.02)
    with pytest.raises(InputError, match="merged compared with speech: small needs tasks that are missing: melody"):
        compare(one[:1], other[:1], score=PRESET)
    many = [result(model, head=head) for model in ("speech", "merged") for head in ("linear", "mlp")]
    with pytest.raises(InputError, match=r"merged: melody \(head linear\) is one of several settings of its task"):
        compare(one[:1], other[:1], many, score=PRESET)
    drums = [result(model, "drums", head=head) for model in ("speech", "merged") for head in ("linear", "mlp")]
    assert compare(one, other, drums, score=PRESET).scores == (found,)  # of no concern to the score
    more = compare(one, other, drums, [result("fbank", "drums")], score=PRESET, partial=True)
    assert [one.model for one in more.scores] == ["merged"]
    assert more.notes == ("fbank shares no task of small with speech",)
    assert compare(one[:1], other[:1], score=PRESET, partial=True).scores[0].score.missing == ("melody",)
