"""Options that take several values after one flag, as in `--audio speech music`."""

from collections.abc import Iterable, Iterator

MANY = ("--audio", "--reference-audio", "--other-audio", "--set", "--task", "--data", "--noise", "--snr")


def spread(arguments: Iterable[str]) -> Iterator[str]:
    """Rewrite `--audio a b` as `--audio a --audio b`, which the parser knows.

    The values end at the next word that starts with a dash; `--audio=a` takes one value only.
    """
    flag: str | None = None
    repeat = False
    for word in arguments:
        if word.startswith("-"):
            flag, repeat = (word if word in MANY else None), False
        elif flag is not None:
            if repeat:
                yield flag
            repeat = True
        yield word
