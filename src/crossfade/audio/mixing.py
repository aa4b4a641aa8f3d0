"""Sound under sound at a chosen level: noise, or music under speech.

The level is a ratio of powers, 10 log10(P_clip / P_background) in dB, both taken over the whole clip.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, isfinite
from random import Random

import torch
from torch import Tensor

from crossfade.audio.decode import UnreadableError, audio_seconds, read_audio
from crossfade.audio.sources import AudioFile
from crossfade.errors import InputError


@dataclass(frozen=True)
class Mix:
    """What a clip is heard over: `background` from `offset` seconds on, `snr` dB below the clip."""

    background: AudioFile
    offset: float
    snr: float


def mix(clip: Tensor, background: Tensor, snr: float) -> Tensor:
    """`clip` (samples,) over `background`, which is repeated or cut to the clip's length and scaled.

    The clip itself is not scaled, so the sum may leave [-1, 1]. Raises InputError when either is silent over the clip's
    length, because no gain gives silence a level, and for an `snr` that is not a finite number.
    """
    if not isfinite(snr):
        raise InputError(f"snr: expected a level in dB, got {snr}")
    if not len(clip) or not len(background):
        raise InputError(f"mix: expected sound, got {len(clip)} samples over {len(background)} of background")
    under = background.repeat(ceil(len(clip) / len(background)))[: len(clip)]
    powers = clip.double().square().mean(), under.double().square().mean()
    for what, power in zip(("clip", "background"), powers, strict=True):
        if not power > 0:
            raise InputError(f"mix: the {what} is silent, so it has no level in dB; leave it out")
    gain = (powers[0] / powers[1] / 10 ** (snr / 10)).sqrt()
    return clip + (gain * under).to(clip.dtype)


def read_background(mix: Mix, rate: int, samples: int) -> Tensor:
    """`samples` samples of the background at `rate` Hz from its offset on; it starts again where it ends.

    Raises InputError when it cannot be decoded, and when there is silence.
    """
    try:
        heard = read_audio(mix.background, rate, mix.offset, samples / rate)
        if len(heard) < samples:
            whole = read_audio(mix.background, rate)
            heard = torch.cat([heard, whole.repeat(ceil(samples / max(1, len(whole))))])[:samples]
    except UnreadableError as error:
        raise unusable(mix.background, error) from error
    if not heard.any():
        raise InputError(
            f"{mix.background.name}: silent for {samples / rate:g} s from {mix.offset:g} s on, so it has no level; "
            "leave it out of the backgrounds"
        )
    return heard


def draw_backgrounds(files: Sequence[AudioFile], ids: Iterable[str], snr: float, seed: int = 0) -> list[Mix]:
    """A background and an offset for every clip id, drawn from the seed and that id alone.

    So neither the other clips nor the order of `files` matters, and a clip is heard over the same sound at every `snr`.
    Raises InputError when there are no files or one that was drawn cannot be read.
    """
    if not files:
        raise InputError("backgrounds: no files; expected at least one sound to mix with")
    sounds = sorted(files, key=lambda file: file.name)
    lengths = cache(_length)
    drawn = []
    for clip in ids:
        random = Random(f"{seed}/{clip}")
        background = sounds[random.randrange(len(sounds))]
        drawn.append(Mix(background, random.random() * lengths(background), snr))
    return drawn


def _length(background: AudioFile) -> float:
    try:
        return audio_seconds(background)
    except UnreadableError as error:
        raise unusable(background, error) from error


def unusable(background: AudioFile, error: UnreadableError) -> InputError:
    """The error for a background that cannot be read."""
    return InputError(f"{background.name}: {error}; leave it out of the backgrounds")
