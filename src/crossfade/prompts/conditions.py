"""What test clips are heard under: nothing, a colour of noise, or recordings, at a level."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from random import Random
from typing import get_args

from torch import Tensor

from crossfade.audio.corruption import COLOURS, Colour, MadeNoise, noise_samples
from crossfade.audio.mixing import draw_backgrounds, mix, read_background
from crossfade.audio.sources import AudioFile, find_audio
from crossfade.errors import InputError, nearest
from crossfade.probing.measure import CLEAN


@dataclass(frozen=True)
class Condition:
    """What test clips are heard under: nothing, a colour, or `files` of a folder, at a level of `snr` dB."""

    noise: str | None = None
    snr: float = inf
    files: tuple[AudioFile, ...] = ()

    def __str__(self) -> str:
        return CLEAN if self.noise is None else f"{self.noise} at {self.snr:g} dB"

    def over(self, clips: Sequence[tuple[str, Tensor]], rate: int, seed: int) -> list[Tensor]:
        """Clips (id, samples), each over a noise that the seed and its id alone decide: the same one at every level."""
        if self.noise is None:
            return [samples for _, samples in clips]
        if self.files:
            drawn = draw_backgrounds(self.files, [name for name, _ in clips], self.snr, seed)
            return [
                mix(samples, read_background(one, rate, len(samples)), self.snr)
                for (_, samples), one in zip(clips, drawn, strict=True)
            ]
        return [mix(samples, self._made(name, rate, len(samples), seed), self.snr) for name, samples in clips]

    def _made(self, name: str, rate: int, samples: int, seed: int) -> Tensor:
        (colour,) = (one for one in get_args(Colour) if one == self.noise)
        return noise_samples(MadeNoise(colour, Random(f"{seed}/{colour}/{name}").getrandbits(63)), rate, samples)


def conditions(noise: Sequence[str | Path], snr: Sequence[float], *, clean: bool) -> list[Condition]:
    """Clean sound, if asked for, and every noise (white, pink, a folder) at every level. Raises InputError."""
    found = [Condition()] if clean else []
    if bad := [level for level in snr if not isfinite(level)]:
        raise InputError(f"snr: expected levels in dB, received {bad[0]}")
    for name in map(str, noise):
        if name not in COLOURS and not Path(name).expanduser().exists():
            raise InputError(f"noise {name}: no such folder or colour; {nearest(name, COLOURS)}")
        files = () if name in COLOURS else tuple(find_audio(name)[0])
        found += [Condition(Path(name).name, float(level), files) for level in snr]
    if not found:
        raise InputError("nothing to evaluate under: no noise and no clean sound; give one")
    if len({str(one) for one in found}) < len(found):
        raise InputError("two conditions have one name; rename one of the folders, or leave one out")
    return found
