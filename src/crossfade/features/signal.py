"""The small interface behind which every signal stands."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Signal:
    """Something that turns sound into layers of frames, and what there is to know of it.

    `listen` takes clips (samples,) float32 at `rate` Hz, on the signal's device and none shorter than
    `minimum_samples`, and gives (layers, frames, width) float32 for each: what the clip gives alone, to 1e-5. Frames
    are `hop` samples apart; the middle of the first lies `offset` seconds after the clip's start. `parameters` are
    those of the network, 0 where there is none, and `sha256` is that of the file that holds them. `facts` are JSON
    values: with the name and `sha256` they say all that the frames depend on besides the sound.
    """

    listen: Callable[[Sequence[Tensor]], list[Tensor]]
    rate: int
    hop: int
    layers: int
    width: int
    offset: float = 0.0
    minimum_samples: int = 1
    parameters: int = 0
    sha256: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def frames_per_second(self) -> float:
        """Frames in a second of sound."""
        return self.rate / self.hop


def computed(
    compute: Callable[[Tensor], Tensor], *, rate: int, hop: int, width: int, offset: float, minimum_samples: int
) -> Signal:
    """A signal without a network: `compute` gives the frames (frames, width) of a clip (samples,)."""
    return Signal(
        listen=lambda clips: [compute(clip)[None] for clip in clips],
        rate=rate,
        hop=hop,
        layers=1,
        width=width,
        offset=offset,
        minimum_samples=minimum_samples,
    )
