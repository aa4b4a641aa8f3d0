"""Settings that recipes of every training share: noise over the sound, and how long and how fast weights move."""

from typing import Annotated, Literal

from pydantic import Field

from crossfade.documents import Listed, Strict

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]

Heard = Literal["student", "same", "independent"]


class Noise(Strict):
    """What is added to the sound, drawn anew for every clip from the recipe's seed.

    heard: who hears it: the student alone, both the same, or each its own.
    """

    heard: Heard = "student"
    chance: Share = 0.5
    """Of any noise at all."""
    snr: tuple[float, float] = (0.0, 20.0)
    folders: Annotated[tuple[str, ...], Listed] = ()
    """Recordings of noise, or music under speech."""
    white: NotNegative = 0.0
    pink: NotNegative = 0.0
    folder: NotNegative = 1.0
    """How often each kind is drawn, relative to the others."""
    reverb: Share = 0.0
    """Chance of a room, before noise is added."""
    rooms: Annotated[tuple[str, ...], Listed] = ()
    """Folders of impulse responses; none: rooms are made, with a decay of 0.2 to 0.8 s."""


class Schedule(Strict):
    """How long and how fast weights move, and how often they are saved."""

    steps: Annotated[int, Field(ge=0)] = 200_000
    accumulate: Count = 1
    rate: Positive = 2e-4
    warmup: Share = 0.07
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: NotNegative = 1e-6
    betas: tuple[Share, Share] = (0.9, 0.98)
    epsilon: Positive = 1e-6
    clip: Positive = 5.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    save_steps: Count = 1000
    log: Literal["none", "tensorboard", "trackio"] = "none"
