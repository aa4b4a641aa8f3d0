"""What is said in a clip, as text that a head can write."""

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from crossfade.errors import InputError
from crossfade.probing.ctc import TokenTable, Unit, token_table
from crossfade.probing.schema import Dataset
from crossfade.prompts.recipe import Text

KEPT = frozenset(("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd"))
"""Unicode's categories of letters, marks on letters, and digits."""


def normalised(text: str, rule: Text) -> str:
    """NFC; lower case; all that is no letter, mark on a letter, digit or space becomes a space; one space for many."""
    text = unicodedata.normalize("NFC", text)
    text = unicodedata.normalize("NFC", text.lower()) if rule.lower else text
    if rule.keep == "letters":
        text = "".join(sign if unicodedata.category(sign) in KEPT else " " for sign in text)
    return " ".join(text.split())


@dataclass(frozen=True)
class Transcripts:
    """The text of every item, and the tokens of the training items (or those of a `table` that is given).

    `unknown` counts the tokens of validation and test items that no head can write: each is an error in any system.
    """

    texts: tuple[str, ...]
    table: TokenTable
    unknown: Mapping[str, int]


def read_transcripts(dataset: Dataset, rule: Text, table: TokenTable | None = None) -> Transcripts:
    """The transcripts of a task of kind ctc. Raises InputError for text that the rule empties, and other tokens."""
    task = dataset.task
    unit: Unit = task.tokens
    texts = tuple(_text(item.id, str(item.label), rule, unit) for item in dataset.items)
    fold = dataset.folds[0]
    table = table or token_table([texts[item] for item in fold.train.tolist()], unit)
    if table.unit != unit:
        raise InputError(f"{task.name}: has {unit}, the head writes {table.unit}; give a task of the same kind")
    others = [texts[item] for item in (*fold.valid.tolist(), *fold.test.tolist())]
    unknown = Counter(token for text in others for token in tokens(text, unit) if token not in table.ids)
    return Transcripts(texts, table, dict(sorted(unknown.items())))


def tokens(text: str, unit: Unit) -> list[str]:
    """What a head writes one after the other."""
    return text.split() if unit == "words" else list(text)


def _text(name: str, label: str, rule: Text, unit: Unit) -> str:
    text = label if unit == "words" else normalised(label, rule)
    if not text:
        raise InputError(f"{name}: its transcript {label!r} has no letter or digit, so nothing is left of it; mend it")
    return text
