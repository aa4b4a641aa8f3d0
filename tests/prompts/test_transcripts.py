"""The stated rule for text, and what a head can write."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuning import letters

from crossfade.errors import InputError
from crossfade.probing.tasks import load_dataset, load_task
from crossfade.prompts.recipe import Text
from crossfade.prompts.transcripts import normalised, read_transcripts

RULE = Text()


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("Wat is dit -- voor raar schip?!", "wat is dit voor raar schip"),
        ("zo'n", "zo n"),
        ("Loď\tCO\n JE", "loď co je"),
        ("МОИ\u0306 2 м²", "мой 2 м"),
        ("हिन्दी।", "हिन्दी"),
        ("...", ""),
    ],
)
def test_the_rule(said: str, text: str) -> None:
    assert normalised(said, RULE) == text


def test_parts_of_the_rule_can_be_left_out() -> None:
    assert normalised("A  b!", Text(lower=False)) == "A b"
    assert normalised("A  b!", Text(keep="everything")) == "a b!"


@given(st.text())
def test_the_rule_twice_is_the_rule_once(said: str) -> None:
    once = normalised(said, RULE)
    assert normalised(once, RULE) == once
    assert once == once.strip()
    assert "  " not in once


def test_tokens_are_those_of_training_clips(tmp_path: Path) -> None:
    dataset = load_dataset(load_task(letters(tmp_path / "letters")))
    found = read_transcripts(dataset, RULE)
    assert found.texts[:3] == ("a b", "b c", "c a b")
    assert found.table.tokens == (" ", "a", "b", "c")
    assert found.unknown == {"é": 1}
    assert read_transcripts(dataset, Text(lower=False)).table.tokens == (" ", "A", "b", "c")


def test_units_divided_by_blanks_stay_as_they_are(tmp_path: Path) -> None:
    folder = letters(tmp_path / "letters")
    (folder / "task.yaml").write_text("kind: ctc\nlabel: text\nmetric: per\ntokens: words\n")
    dataset = load_dataset(load_task(folder))
    table = read_transcripts(dataset, RULE).table
    assert table.tokens == ("A", "b", "b.", "c", "c.")
    (folder / "task.yaml").write_text("kind: ctc\nlabel: text\nmetric: cer\n")
    with pytest.raises(InputError, match="has characters, the head writes words"):
        read_transcripts(load_dataset(load_task(folder)), RULE, table)
