"""The golden set: answers in every form, from the words to the score, under every reader; all values by hand.

Forms: other case, punctuation, an option's letter, options of several words, a sentence around the answer, a refusal,
nothing said, two options at once, an item that failed.
"""

from collections.abc import Mapping
from math import exp, sqrt
from typing import Any

import pytest
from answered import answers, told

from crossfade.instructions.judge import Judge
from crossfade.instructions.metrics import ANSWER_METRICS, find_metric
from crossfade.instructions.scores import InstanceScore, score_instance

OPTIONS = ("happy", "sad", "very angry")
CHOICES = [
    ("happy", "HAPPY"),
    ("happy", "happy."),
    ("sad", "(b)"),
    ("sad", "B. sad"),
    ("very angry", "The speaker sounds very angry to me."),
    ("very angry", "Very Angry"),
    ("happy", "I'm sorry, I can't tell whether it is happy."),
    ("sad", ""),
    ("sad", "happy or sad"),
    ("sad", "happy"),
    ("happy", None),
]
NUMBERS = [
    ("1", "1"),
    ("2", "About 2.0 dB."),
    ("3", "The answer is five."),
    ("4", "I cannot tell."),
    ("5", ""),
    ("6", "4"),
    ("7", "between 6 and 8"),
]
WORDS = [
    ("hello big world", "Hello, big world!"),
    ("two cats", "two bats"),
    ("stop", "I'm sorry, I can't transcribe this."),
    ("go on", ""),
]
PHONES = [("HH AH L OW", "hh ah l ow"), ("K AE T", ""), ("D AO G", "I'm sorry, I cannot.")]
TEXTS = [("The cat sat on the mat.", 'The translation is: "The cat sat on the mat."'), ("It is late now.", "")]
TAGS = [("rock, pop", "Pop and rock."), ("jazz", "It is Jazz"), ("folk", ""), ("funk", "I'm not sure.")]
PHRASES = [
    ("electric guitar", "It is an electric guitar."),
    ("drums", "DRUMS"),
    ("flute", ""),
    ("harp", "I cannot tell."),
]
SLOTS = [
    ("play B-artist the beatles E-artist", '{"artist": "The Beatles"}'),
    ("call B-name ann E-name", "name: Anna"),
    ("B-city rome E-city", "I'm sorry, I can't tell."),
]

# What is expected of the exact reader, then of the rules: {metric: value}, and how many were not applicable.
Expected = tuple[Mapping[str, float], int]
GOLDEN: dict[str, tuple[str, list[Any], Expected, Expected]] = {
    # 1 and 6 are right, 10 is wrong.  By the rules 1 to 6 are right, 10 claims "happy".
    "choices": ("classification", CHOICES,
        ({"accuracy": 200 / 11, "uar": 25, "f1": 100 / 3, "f1_weighted": 800 / 33, "f1_micro": 200 / 7}, 8),
        ({"accuracy": 600 / 11, "uar": 190 / 3, "f1": 500 / 7, "f1_weighted": 5000 / 77, "f1_micro": 200 / 3}, 4)),
    # (1, 1) and (6, 4).  By the rules (2, 2) and (3, 5) too.
    "numbers": ("regression", NUMBERS,
        ({"mse": 2, "rmse": sqrt(2), "mae": 1, "medae": 1, "lcc": 1, "srcc": 1, "ktau": 1, "accuracy": 100 / 7}, 5),
        ({"mse": 2, "rmse": sqrt(2), "mae": 1, "medae": 1, "lcc": 8 / sqrt(140), "srcc": 0.8, "ktau": 4 / 6,
          "accuracy": 200 / 7}, 3)),
    # Wrong words 2 + 1 + 6 + 2 of 8, signs 3 + 1 + 33 + 5 of 32.  By the rules 0 + 1 + 1 + 2, 0 + 1 + 4 + 5.
    "words": ("generation", WORDS, ({"wer": 1100 / 8, "cer": 4200 / 32}, 1), ({"wer": 50, "cer": 1000 / 32}, 2)),
    "phones": ("generation", PHONES, ({"per": 110}, 1), ({"per": 60}, 2)),
    # Of 13 tokens 7, 6, 5 and 4 n-grams are right; by the rules all, but 7 tokens stand for 12.
    "texts": ("generation", TEXTS, ({"bleu": 100 * (7 / 13 * 6 / 12 * 5 / 11 * 4 / 10) ** 0.25}, 1),
        ({"bleu": 100 * exp(1 - 12 / 7)}, 1)),
    "tags": ("generation", TAGS, ({"f1": 0, "f1_micro": 0}, 1), ({"f1": 75, "f1_micro": 75}, 2)),
    "phrases": ("generation", PHRASES, ({"accuracy": 25}, 1), ({"accuracy": 50}, 2)),
    # Words without marks are no slots; of the rules' slots one has a letter too many, one is missing.
    "slots": ("generation", SLOTS, ({"slot_type_f1": 0, "slot_value_cer": 100}, 0),
        ({"slot_type_f1": 200 / 3, "slot_value_cer": 500 / 18}, 1)),
}  # fmt: skip


def scored(kind: str, pairs: list[Any], metrics: tuple[str, ...], judge: Judge | None = None) -> InstanceScore:
    options = OPTIONS if kind == "classification" else ()
    instance = told("Golden_X", len(pairs), kind=kind, metrics=metrics).instance
    return score_instance(instance, answers("Golden_X", pairs, options=options), whole=True, judge=judge)


@pytest.mark.parametrize("name", GOLDEN)
def test_scores_are_those_worked_out_by_hand(name: str) -> None:
    kind, pairs, exact, rules = GOLDEN[name]
    found = scored(kind, pairs, tuple(rules[0]))
    for reader, (values, unread) in (("exact", exact), ("normalised", rules)):
        figures = {figure.metric: figure for figure in found.readers[reader].figures}  # type: ignore[index]
        assert {metric: figure.value for metric, figure in figures.items()} == pytest.approx(dict(values), abs=1e-9)
        assert {figure.not_applicable for figure in figures.values()} == {unread}
    assert found.failed == sum(answer is None for _, answer in pairs)


def test_every_metric_is_in_the_golden_set() -> None:
    named = {find_metric(metric, kind).metric.name for kind, _, _, (values, _) in GOLDEN.values() for metric in values}  # type: ignore[arg-type]
    assert named == {metric.metric.name for metric in ANSWER_METRICS.values()}


def test_a_judge_that_reads_as_people_do() -> None:
    """It is not asked where nothing was said; what it finds in words is measured as by the rules."""
    said = {
        "It is happy.": "CORRECT",
        "I'm sorry, I can't tell.": "NONE",
        "sad": "INCORRECT",
        "about two and a half": "2.5",
        "too quiet to say": "NONE",
    }

    def ask(prompt: str) -> str:
        (found,) = [verdict for answer, verdict in said.items() if answer in prompt.replace("happy, sad", "")]
        return found

    judge = Judge(ask, {"model": "people"})
    pairs = [
        ("happy", "It is happy."),
        ("happy", "I'm sorry, I can't tell."),
        ("happy", "sad"),
        ("very angry", ""),
        ("happy", None),
    ]
    found = scored("classification", pairs, ("accuracy", "uar", "f1"), judge)
    figures = {one.metric: (one.value, one.not_applicable) for one in found.readers["judge"].figures}
    assert figures == {"accuracy": (20.0, 3), "uar": (12.5, 3)}
    assert found.notes == ("f1: the judge says what is right, not what was answered: not scored by it",)
    numbers = [("2", "about two and a half"), ("3", "too quiet to say"), ("4", "")]
    (figure,) = scored("regression", numbers, ("mse",), judge).readers["judge"].figures
    assert (figure.value, figure.counted, figure.not_applicable) == (0.25, 1, 2)
