"""What a recipe's `noise` adds to a clip: drawn from the seed, the clip and the number of the draw alone."""

from collections.abc import Sequence
from math import inf, isfinite
from random import Random
from typing import Literal

from crossfade.audio.corruption import Colour, Corruption, MadeNoise, RecordedNoise
from crossfade.audio.rooms import DECAYS, DIRECTS, MadeRoom, Room
from crossfade.audio.sources import AudioFile, find_audio
from crossfade.errors import InputError
from crossfade.training.settings import Noise


class NoiseDraws:
    """Draws of a recipe's noise.

    A draw depends on `seed`, the clip's id, the number of the draw and who listens, so not on order, other clips,
    batches or processes. The recipe's settings change what they say and little else: with another `heard`, `snr` or
    `reverb` the same noise is under a clip, and a lower `chance` leaves out some of it. Recordings go by their names,
    and all of `folders` are equally likely. Rooms and noise are drawn apart: where each has a chance of 0.5, clean,
    noise, room and both are equally likely.

    Raises InputError for a folder without sound, for an `snr` that is not two levels with the lower first, and for a
    chance of noise without any kind of noise.
    """

    def __init__(self, noise: Noise, seed: int) -> None:
        if not (all(map(isfinite, noise.snr)) and noise.snr[0] <= noise.snr[1]):
            raise InputError(f"noise.snr: expected two levels in dB, the lower first, received {list(noise.snr)}")
        self.noise, self.seed = noise, seed
        self.recordings, self.responses = _files(noise.folders), _files(noise.rooms)
        self.kinds: dict[Colour | Literal["folder"], float] = {
            "white": noise.white,
            "pink": noise.pink,
            "folder": noise.folder if self.recordings else 0.0,
        }
        if noise.chance and not any(self.kinds.values()):
            raise InputError("noise: none to draw; give `folders`, `white` or `pink`, or `chance: 0` for rooms alone")

    def draw(self, clip: str, number: int) -> tuple[Corruption, Corruption]:
        """What happens to a clip on its way to the student, and on its way to the teacher."""
        student = self._draw(f"{self.seed}/{number}/student", clip)
        match self.noise.heard:
            case "student":
                return student, Corruption()
            case "same":
                return student, student
            case "independent":
                return student, self._draw(f"{self.seed}/{number}/teacher", clip)

    def _draw(self, stream: str, clip: str) -> Corruption:
        noise, snr = self._noise(Random(f"{stream}/noise/{clip}"))
        return Corruption(noise, snr, self._room(Random(f"{stream}/room/{clip}")))

    def _noise(self, random: Random) -> tuple[MadeNoise | RecordedNoise | None, float]:
        if random.random() >= self.noise.chance:
            return None, inf
        snr, position, seed = random.uniform(*self.noise.snr), random.random(), random.getrandbits(63)
        (kind,) = random.choices(list(self.kinds), list(self.kinds.values()))
        if kind == "folder":
            return RecordedNoise(random.choice(self.recordings), position), snr
        return MadeNoise(kind, seed), snr

    def _room(self, random: Random) -> Room | None:
        if random.random() >= self.noise.reverb:
            return None
        if self.responses:
            return random.choice(self.responses)
        return MadeRoom(random.uniform(*DECAYS), random.uniform(*DIRECTS), random.getrandbits(63))


def _files(folders: Sequence[str]) -> list[AudioFile]:
    found = [file for source in find_audio(folders) for file in source] if folders else []
    return sorted(found, key=lambda file: file.name)
