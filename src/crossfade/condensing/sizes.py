"""How large a generator may be, that it takes but a small share of what it stands for."""

from crossfade.condensing.settings import Settings

HEADER = 1024
"""Bytes of a generator's file that are no numbers, about."""

FEWEST = 4
"""Channels of noise that are left however small the data are: with fewer, points are too much alike to teach."""


def fitting(settings: Settings, rows: int, width: int, count: int) -> tuple[int, int]:
    """`noise` and `hidden`, as large as settings allow and as fits into `share` of float32 features (rows, width) of
    `count` classes. What stands for a handful of clips takes more: noise does not fall below 4."""
    for noise in range(settings.noise, FEWEST, -1):
        hidden = max(1, round(settings.hidden * noise / settings.noise))
        if bytes_of(noise, hidden, width, count) <= settings.share * 4 * rows * width:
            return noise, hidden
    noise = min(settings.noise, FEWEST)
    return noise, max(1, round(settings.hidden * noise / settings.noise))


def bytes_of(noise: int, hidden: int, width: int, count: int) -> int:
    """What a generator of these sizes takes on disk: a byte a weight, and two rows of float32."""
    within = (noise + count + hidden + 2) * hidden
    return HEADER + 8 * width + within + (hidden + 1 + noise + count) * width
