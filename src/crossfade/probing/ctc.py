"""From frame-wise scores to text: token tables, greedy decoding, and prefix beam search without a language model."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor

from crossfade.errors import InputError

Unit = Literal["characters", "words"]
BLANK = 0

_SPLIT: Mapping[Unit, Callable[[str], list[str]]] = {"characters": list, "words": str.split}
_BETWEEN: Mapping[Unit, str] = {"characters": "", "words": " "}


@dataclass(frozen=True)
class TokenTable:
    """What a CTC head can write: characters (a space among them) or words (which may be phones); output 0 is blank."""

    unit: Unit
    tokens: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tokens) + 1

    @cached_property
    def ids(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens, BLANK + 1)}

    def encode(self, text: str) -> Tensor:
        """Ids (tokens,) int64; tokens that the table lacks are left out: no head can learn them."""
        known = [self.ids[token] for token in _SPLIT[self.unit](text) if token in self.ids]
        return torch.tensor(known, dtype=torch.int64)

    def decode(self, ids: Sequence[int]) -> str:
        return _BETWEEN[self.unit].join(self.tokens[number - 1] for number in ids)


def token_table(transcripts: Sequence[str], unit: Unit) -> TokenTable:
    """The tokens of the training transcripts, sorted.

    What only test transcripts have is not an error: it is never written and so counts as one, as in any system.
    Raises InputError when there is nothing to write.
    """
    tokens = sorted({token for text in transcripts for token in _SPLIT[unit](text)})
    if not tokens:
        raise InputError(f"all {len(transcripts)} training transcripts are empty; expected text")
    return TokenTable(unit, tuple(tokens))


def frames_needed(ids: Tensor) -> int:
    """Fewest frames that can carry a transcript: one a token, and a blank between two alike."""
    return len(ids) + int((ids[1:] == ids[:-1]).sum())


def greedy(scores: Tensor) -> list[int]:
    """The ids of the best path through scores (frames, outputs): repeats merged, blanks left out."""
    return [number for number, _ in groupby(scores.argmax(-1).tolist()) if number != BLANK]


def beam_search(scores: Tensor, width: int) -> list[int]:
    """The most probable ids given scores (frames, outputs), over all paths that spell them.

    Prefix beam search (Hannun et al. 1408.2873) in the log domain, `width` prefixes kept a frame, no language model.
    """
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}  # ends in blank, ends in its last token
    for frame in scores.double().log_softmax(-1).tolist():
        coming: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [-math.inf, -math.inf])
        for prefix, (blank, token) in beams.items():
            both = _add(blank, token)
            stay = coming[prefix]
            stay[0] = _add(stay[0], both + frame[BLANK])
            if prefix:
                stay[1] = _add(stay[1], token + frame[prefix[-1]])
            for number in range(BLANK + 1, len(frame)):
                grown = coming[*prefix, number]
                from_ = blank if prefix and number == prefix[-1] else both
                grown[1] = _add(grown[1], from_ + frame[number])
        kept = sorted(coming.items(), key=lambda item: -_add(*item[1]))[:width]
        beams = {prefix: (blank, token) for prefix, (blank, token) in kept}
    best = max(beams.items(), key=lambda item: _add(*item[1]))
    return [*best[0]]


def _add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
