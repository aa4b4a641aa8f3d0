"""What is written down about prompts: adapter_config.json, laid out as peft lays out its own."""

from typing import Annotated, Literal

from pydantic import Field

from crossfade.documents import Strict

Place = Literal["after", "before"]
Init = Literal["normal", "frames"]
Count = Annotated[int, Field(ge=1)]

PEFT_TYPE: Literal["CROSSFADE_SOFT_PROMPTS"] = "CROSSFADE_SOFT_PROMPTS"
BANDS = 80
"""Numbers in the profile of a noise, see `bank.noise_profile`."""


class Noise(Strict):
    """The noise that prompts were tuned under: a name, and what it sounds like."""

    name: str
    profile: Annotated[tuple[float, ...], Field(min_length=BANDS, max_length=BANDS)]


class Record(Strict):
    """What vectors were when they were saved, for the check at load (see `drift`).

    `sha256` is that of their float32 values, little endian. `mean` and `most` are the mean and the largest norm of the
    vectors of every layer.
    """

    sha256: str
    mean: tuple[float, ...]
    most: tuple[float, ...]


class PromptConfig(Strict):
    """Where prompts belong and how they were made.

    They belong to one encoder (`base_sha256` of its weight files) of a `family` of `encoders.families`, or "whisper".
    `layers` 1: the prompts enter below the first layer and stay; n: each of the first n layers has prompts of its own,
    which take the place of the ones before. `place`: relative to where positional information is added.
    """

    peft_type: Literal["CROSSFADE_SOFT_PROMPTS"] = PEFT_TYPE
    base_model_name_or_path: str
    base_sha256: str | None = None
    family: str
    count: Count
    width: Count
    layers: Count = 1
    place: Place = "after"
    init: Init = "normal"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    task: Literal["ctc"] = "ctc"
    noise: Noise | None = None
    record: Record | None = None
