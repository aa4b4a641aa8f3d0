"""A merge as a YAML file: the same words as the command line."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crossfade.errors import InputError, nearest

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
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such recipe") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected keys and values, received {type(content).__name__}")
    for key in content:
        if key not in Recipe.model_fields:
            raise InputError(f"{path}: unknown key {key!r}; {nearest(str(key), Recipe.model_fields)}")
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        received = "" if first["type"] == "missing" else f", received {first['input']!r}"
        raise InputError(f"{path}: {where}: {first['msg'].lower()}{received}") from None
    return recipe.model_dump(include=recipe.model_fields_set)
