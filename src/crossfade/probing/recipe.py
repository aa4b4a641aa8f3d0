"""A probe as a YAML file: the same words as the command line."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from crossfade.documents import Listed, Strict, read_yaml, validated
from crossfade.probing.learners import Layers, ProtocolName
from crossfade.probing.schema import Count, Head
from crossfade.probing.upstreams import Precision, Window

Names = Annotated[tuple[str, ...], Field(min_length=1), Listed]


class ProbeRecipe(Strict):
    """What `crossfade probe RECIPE.yaml` reads: arguments of `crossfade.probe`, with its defaults."""

    models: Names
    tasks: Names
    data: str | dict[str, str] | None = None
    protocol: ProtocolName = "sweep"
    head: Head | None = None
    layers: Layers | None = None
    seeds: Count = 1
    shots: Count | None = None
    draws: Count = 10
    noise: Annotated[tuple[str, ...], Listed] = ()
    snr: Annotated[tuple[float, ...], Field(min_length=1), Listed] | None = None
    beam: Count = 1
    seed: int = 0
    precision: Precision = "float32"
    window: Window = "clip"


def read_recipe(path: Path) -> dict[str, Any]:
    """The arguments of `crossfade.probe` that a recipe states. Raises InputError."""
    recipe = validated(ProbeRecipe, read_yaml(path), path)
    return recipe.model_dump(include=recipe.model_fields_set)
