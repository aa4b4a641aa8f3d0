"""Options that take several values after one flag, as in `--audio speech music`."""

import re
from collections.abc import Iterable, Iterator

MANY = (
    "--audio",
    "--reference-audio",
    "--other-audio",
    "--set",
    "--task",
    "--data",
    "--noise",
    "--snr",
    "--at",
    "--also",
    "--beside",
    "--mode",
    "--seen",
)
NUMBER = re.compile(r"-\d+(\.\d+)?(,-?\d+(\.\d+)?)*")


def spread(arguments: Iterable[str]) -> Iterator[str]:
    """Rewrite `--audio a b` as `--audio a --audio b`, which the parser knows.

    The values end at the next word that starts with a dash and is no number, nor several with commas; `--audio=a` takes
    one value only.
    """
    flag: str | None = None
    repeat = False
    for word in arguments:
        if word.startswith("-") and not NUMBER.fullmatch(word):
            flag, repeat = (word if word in MANY else None), False
        elif flag is not None:
            if repeat:
                yield flag
            repeat = True
        yield word
