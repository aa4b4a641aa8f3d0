"""The one exception a user can cause."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Input that cannot be used.

    The message is one line: the file, tensor, key or value at fault, what was expected, what was received and how to
    mend it. The command line prints it as it is and exits with code 2.
    """


def nearest(word: str, choices: Iterable[str]) -> str:
    """The end of an error message that lists `choices` and names the one closest to `word`."""
    known = sorted(choices)
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known: {', '.join(known)}"
