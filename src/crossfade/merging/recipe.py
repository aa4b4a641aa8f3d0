"""A merge as a YAML file: the same words as the command line."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from crossfade.documents import read_yaml, validated

Paths = str | list[str]


class Recipe(BaseModel):
    """What `crossfade merge RECIPE.yaml` reads; all but `reference` and `other` have the command line's defaults."""

    model_config = ConfigDict(extra="forbid")

    reference: str
    other: str
    weight: float | dict[str, Any] = 0.9
    method: str = "linear"
    parameters: dict[str, Any] = Field(default_factory=dict)
    align: Literal["none", "weights", "correlation"] | None = None
    points: list[str] | None = None
    audio: Paths | None = None
    reference_audio: Paths | None = None
    other_audio: Paths | None = None
    alignment: str | None = None
    base: str | None = None
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    repair: bool = False
    clips: int | None = None
    seconds: float = 5.0
    seed: int = 0


def read_recipe(path: Path) -> dict[str, Any]:
    """The arguments of `crossfade.merge` that a recipe states. Raises InputError."""
    recipe = validated(Recipe, read_yaml(path), path)
    return recipe.model_dump(include=recipe.model_fields_set)
