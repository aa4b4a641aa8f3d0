"""Decoding against every path there is, on sizes where all can be listed."""

from collections import defaultdict
from itertools import groupby, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossfade.errors import InputError
from crossfade.probing.ctc import BLANK, TokenTable, beam_search, frames_needed, greedy, token_table

FRAMES, OUTPUTS = 5, 3


def random_scores(seed: int, frames: int = FRAMES, outputs: int = OUTPUTS) -> Tensor:
    return 2 * torch.randn(frames, outputs, generator=torch.Generator().manual_seed(seed))


def merged(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for token, _ in groupby(path) if token != BLANK)


def all_spellings(scores: Tensor) -> dict[tuple[int, ...], float]:
    """The probability of everything that can be spelled, over all paths."""
    probability = scores.double().softmax(-1)
    found: dict[tuple[int, ...], float] = defaultdict(float)
    for path in product(range(scores.shape[1]), repeat=len(scores)):
        found[merged(path)] += float(probability[range(len(path)), path].prod())
    return found


@settings(max_examples=25)
@given(st.integers(0, 1000))
def test_a_wide_beam_finds_the_most_probable_text(seed: int) -> None:
    scores = random_scores(seed)
    spelled = all_spellings(scores)
    assert sum(spelled.values()) == pytest.approx(1)
    assert tuple(beam_search(scores, 100)) == max(spelled, key=spelled.__getitem__)


def test_a_beam_sees_what_the_best_path_misses() -> None:
    """Two frames of blank 0.6, a 0.4: the best path is empty (0.36), but paths that spell a have 0.64."""
    scores = torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log()
    assert greedy(scores) == []
    assert beam_search(scores, 1) in ([], [1])
    assert beam_search(scores, 2) == [1]


@given(st.integers(0, 1000))
def test_greedy_merges_the_best_path(seed: int) -> None:
    scores = random_scores(seed, 12, 4)
    assert tuple(greedy(scores)) == merged(tuple(scores.argmax(-1).tolist()))


def test_repeats_need_a_blank_between() -> None:
    hot = torch.nn.functional.one_hot(torch.tensor([1, 1, 0, 1, 2, 2, 0]), 3).float() * 20
    assert greedy(hot) == beam_search(hot, 3) == [1, 1, 2]
    assert frames_needed(torch.tensor([1, 1, 2])) == 4
    assert frames_needed(torch.tensor([], dtype=torch.int64)) == 0


def test_tables_hold_what_training_has() -> None:
    letters = token_table(["ab a", "ba"], "characters")
    assert letters == TokenTable("characters", (" ", "a", "b"))
    assert len(letters) == 4
    assert letters.encode("b a").tolist() == [3, 1, 2]
    assert letters.decode([3, 1, 2]) == "b a"
    phones = token_table(["SH IY", "IY"], "words")
    assert phones.tokens == ("IY", "SH")
    assert phones.decode(phones.encode("SH  IY SH").tolist()) == "SH IY SH"


@given(st.text("abc ", max_size=12))
def test_text_comes_back(text: str) -> None:
    table = token_table(["abc "], "characters")
    assert table.decode(table.encode(text).tolist()) == text


def test_tokens_that_training_lacks_are_never_written() -> None:
    table = token_table(["ab"], "characters")
    assert table.decode(table.encode("azb").tolist()) == "ab"


def test_empty_transcripts_teach_nothing() -> None:
    with pytest.raises(InputError, match="all 2 training transcripts are empty"):
        token_table(["", ""], "words")
