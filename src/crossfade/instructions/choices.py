"""Which of several options an answer in free words means.

The rules, in order; the first that finds something decides:

1. the whole answer is an option, but for case, punctuation, quotes, markup and number words, as far as options differ
   in more than these;
2. what it declares ("the answer is ...", the last such) names one option, by words or by letter;
3. it refuses, or says that it cannot tell: not applicable;
4. its last line, or its first sentence, is an option; or its first word agrees ("yes", "correct") or disagrees;
5. it begins with the letter of an option, as in "(b)" or "b. sad", and names no other;
6. it mentions exactly one option, longest first ("non-speech" before "speech"), not counting what is negated, nor
   an article where A is an option.

What is left is not applicable.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from crossfade.instructions.numerals import in_digits, numbers_in

AGREES = frozenset({"yes", "yeah", "yep", "yup", "true", "correct", "affirmative"})
DISAGREES = frozenset({"no", "nope", "nah", "false", "incorrect"})

_MARKUP = re.compile(r"[*`~]+|^#+\s+|^>\s+|<[^<>\n]{1,20}>", re.MULTILINE)
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "’": "'", "‘": "'", "−": "-"})
_DECLARED = re.compile(
    r"\b(?:answer|choice|label|prediction|classification|conclusion)(?:\s+(?!is\b|would\b|should\b|must\b|will\b)\w+){0,4}"
    r"\s*(?:\bis\b|\b(?:would|should|must|will) be\b|:|=)\s*:?\s*(?P<rest>[^\n]*\S)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[.!;:](?=\s|$)|\n|\s[-–—]\s")
_REFUSAL = re.compile(
    r"(?:i'?m|i am|we are|we're) (?:really |very |so )?(?:sorry|afraid|unable|not able|not sure|not certain|unsure)\b"
    r"|(?:sorry|unfortunately|apologies|my apologies|no idea|cannot|can't|unable to|not applicable|not available)\b"
    r"|i (?:cannot|can't|can not|could not|couldn't|do not|don't|did not|didn't|have no|am not) "
    r"(?:able|determine|tell|know|identify|hear|see|listen|process|access|provide|answer|say|have|idea|help|assist|"
    r"transcribe|recognize|recognise|detect|classify)\b"
    r"|as an? (?:ai|language model|text-based|large language)\b"
    r"|(?:it is|it's) (?:not possible|impossible|unclear|hard to|difficult to|not clear)\b"
    r"|(?:there is|there's) (?:no|not enough|insufficient) (?:audio|information|context|way)\b"
    r"|n/?a[.]?$|unknown[.]?$|none of (?:the|these|them)\b",
    re.IGNORECASE,
)
_UNDECIDED = re.compile(
    r"\b(?:cannot|can't|can not|could not|couldn't|impossible to|unable to|hard to|not possible to) "
    r"(?:be )?(?:determined?|tell|told|identif\w+|say|said|hear|listen|answer\w*|judged?)\b",
    re.IGNORECASE,
)
_SIGN = re.compile(r"(?<=\w)'(?=\w)|(?<![\w)])-(?=\.?\d)|(?<=\d)\.(?=\d)|(?<=\b[a-g])#")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NEGATED = re.compile(
    r"(?:\b(?:not|no|never|neither|nor|without|than|instead of)|n't)"
    r"(?: (?:a|an|the|be|being|really|very|any|of|sound|seem|appear))*\s*$"
)
_LETTERED = re.compile(
    r"(?:(?:option|choice|answer)\s+)?(?:\((?P<inside>[a-z])\)|(?P<bare>[a-z])(?:[).:]|$))\s*(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_NAMED_LETTER = re.compile(r"\b(?:option|choice)\s+\(?(?P<bare>[a-z])\b\)?", re.IGNORECASE)


_ARTICLE = re.compile(
    r"\ba\s+(?!(?:is|was|or|and|in|as|with|because|major|minor|sharp|flat|natural)\b)(?=[^\W\d_])", re.IGNORECASE
)


def plain(text: str) -> str:
    """The text in Unicode's compatible form, straight quotes, without markup and blanks around it."""
    return _MARKUP.sub("", unicodedata.normalize("NFKC", text).translate(_QUOTES)).strip()


def spaced(text: str) -> str:
    """Lower case and words alone, one space between them; apostrophes inside words stay. Signs alone stay as they are.

    The signs of numbers and notes are parts of words: "-5", "2.5" and "c#" stay, "1,200" is "1200".
    """
    text = _THOUSANDS.sub("", plain(text).casefold().replace("♯", "#").replace("♭", "b"))
    signs = {found.start() for found in _SIGN.finditer(text)}
    words = "".join(
        one if place in signs or unicodedata.category(one)[0] in "LNM" else " " for place, one in enumerate(text)
    )
    return " ".join(words.split()) or text.strip()


def refuses(text: str) -> bool:
    """Whether a text says first of all that it has no answer, or says nothing."""
    text = plain(text)
    return not text or bool(_REFUSAL.match(text)) or bool(_UNDECIDED.search(text.split("\n", 1)[0]))


def declared(text: str) -> str | None:
    """What follows the last "the answer is" or "answer:" of a text, to the end of its sentence; None without one."""
    found = [*_DECLARED.finditer(text)]
    return _SENTENCE.split(found[-1]["rest"], maxsplit=1)[0].strip() or None if found else None


Named = Callable[[str], str]
"""How a text is written to be compared."""


def option_named(text: str, options: Sequence[str]) -> str | None:
    """The option that a text is, but for case, punctuation, quotes, markup and number words; or whose letter it is."""
    named, names = _written(tuple(options))
    letter = _LETTERED.fullmatch(plain(text))
    lettered = _lettered(plain(text), names) if letter and not letter["rest"] else set()
    return names.get(named(plain(text))) or next(iter(lettered), None)


def choose(answer: str, options: Sequence[str]) -> str | None:
    """The one of `options` that an answer means, as written there; None where it means none, or more than one."""
    text, (named, names) = plain(answer), _written(tuple(options))
    if whole := names.get(named(text)):
        return whole
    if (said := declared(text)) and (found := _stated(said, names, named)):
        return found
    if refuses(text):
        return None
    return _standing_out(text, names, named) or _stated(text, names, named)


@lru_cache(maxsize=4096)
def _written(options: tuple[str, ...]) -> tuple[Named, Mapping[str, str]]:
    """The loosest way to write options that keeps them apart, and the options by what that gives, in their order.

    Where they are numbers, number words are written in digits.
    """
    loose: tuple[Named, ...] = (_counted, _loose) if any(map(numbers_in, options)) else (_loose,)
    named = next((way for way in loose if len({*map(way, options)}) == len({*options})), _as_written)
    return named, {named(option): option for option in options if option.strip()}


def _loose(text: str) -> str:
    """As words alone, with notes in one: "C sharp" is "c#"."""
    return re.sub(r"\b([a-g]) flat\b", r"\1b", re.sub(r"\b([a-g]) sharp\b", r"\1#", spaced(text)))


def _counted(text: str) -> str:
    """The same, with number words in digits: "minus five" is "-5"."""
    return re.sub(r"\b(?:minus|negative) (?=\d)", "-", _loose(in_digits(text)))


def _as_written(text: str) -> str:
    """With its signs, for options that differ in nothing else, as `x--x` and `x-x-`."""
    return " ".join(plain(text).casefold().split()).strip("\"'.!")


def _standing_out(text: str, names: Mapping[str, str], named: Named) -> str | None:
    """The option that is the last line or the first sentence, or that agrees or disagrees as the first word does."""
    for part in (text.rsplit("\n", 1)[-1], _SENTENCE.split(text, maxsplit=1)[0]):
        if found := names.get(named(part)):
            return found
    first = re.match(r"\w+(?!\w| (?:or|and)\b)", text.casefold())
    for side in (AGREES, DISAGREES):
        alike = [option for name, option in names.items() if name in side]
        if first and first[0] in side and len(alike) == 1:
            return alike[0]
    return None


def _stated(text: str, names: Mapping[str, str], named: Named) -> str | None:
    """The option whose letter is given, if the words beside it name no other; else the only one that is mentioned."""
    if whole := names.get(named(text)):
        return whole
    letter = _LETTERED.fullmatch(text)
    stated = _lettered(text, names)
    stated |= _mentioned(letter["rest"] if stated and letter else text, names, named)
    return stated.pop() if len(stated) == 1 else None


def _lettered(text: str, names: Mapping[str, str]) -> set[str]:
    """The options whose letter a text begins with, or calls by name; none where options are letters themselves."""
    if any(len(name) == 1 and name.isalpha() for name in names):
        return set()
    found = _LETTERED.fullmatch(text)
    letters = [found["inside"] or found["bare"]] if found else _NAMED_LETTER.findall(text)
    called = {letter.lower() for letter in letters}
    return {option for place, option in enumerate(names.values()) if chr(ord("a") + place) in called}


def _mentioned(text: str, names: Mapping[str, str], named: Named) -> set[str]:
    """Every option that a text mentions without taking it back."""
    signs = {option for name, option in names.items() if name in text and not _has_words(name)}
    longest = sorted((re.escape(name) for name in names if _has_words(name)), key=len, reverse=True)
    if not longest or not text:
        return signs
    said = named(_ARTICLE.sub("", text) if "a" in names else text)
    found = re.finditer(rf"(?<![\w.#-])(?:{'|'.join(longest)})(?![\w#]|\.\d)", said)
    return signs | {names[one[0]] for one in found if not _NEGATED.search(said[: one.start()])}


def _has_words(name: str) -> bool:
    """Whether a name has a letter or a digit; signs alone are looked for as they stand."""
    return any(character.isalnum() for character in name)
