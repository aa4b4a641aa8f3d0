"""YAML files that a user writes, against the model of what they may say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from crossfade.errors import InputError, nearest

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """Data that says nothing unknown and never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Listed = BeforeValidator(lambda told: told if isinstance(told, list | tuple) else [told])
"""One thing may be said without a list around it."""

PLAIN = {
    "model_type": "expected keys and values",
    "dict_type": "expected keys and values",
    "tuple_type": "expected a list, such as [0, 20]",
    "list_type": "expected a list",
}
"""What a message of pydantic's is to who writes YAML and not Python."""

SHOWN = 80
"""Characters of a value that a message repeats."""


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file; an empty one has none. Raises InputError."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a YAML file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a YAML file") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        # Not the line itself, which may hold a key.
        raise InputError(f"{path}: not valid YAML ({where}{error.problem})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict | None):
        raise InputError(f"{path}: expected keys and values, received {type(content).__name__}")
    return content or {}


def validated(model: type[Model], content: Mapping[Any, Any], where: object) -> Model:
    """`content` as a `model`. Raises InputError that names `where`, the first key at fault and what was expected."""
    for key in content:
        if key not in model.model_fields:
            raise InputError(f"{where}: unknown key '{key}'; {nearest(str(key), model.model_fields)}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{where}: {_unknown(model, error) or first_fault(error)}") from None


def _unknown(model: type[BaseModel], error: ValidationError) -> str | None:
    """One line about the first unknown key below the top, where there is one."""
    for *path, key in (fault["loc"] for fault in error.errors() if fault["type"] == "extra_forbidden"):
        if known := _leads_to(model, path):
            return f"unknown key '{_named([*path, key])}'; {nearest(str(key), known.model_fields)}"
    return None


def _leads_to(model: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel] | None:
    """The model at a path of keys and places, None where there may be several."""
    for key in path:
        if key in model.model_fields:
            found = _models(model.model_fields[str(key)].annotation)
            if len(found) != 1:
                return None
            (model,) = found
    return model


def _models(annotation: Any) -> set[type[BaseModel]]:
    """Every model that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for part in get_args(annotation) for model in _models(part)}


def _named(path: Sequence[int | str]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def first_fault(error: ValidationError) -> str:
    """One line about the first field at fault: where it is, what was expected, what was received."""
    first = error.errors()[0]
    field = _named(first["loc"])
    message = PLAIN.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    shown = repr(first["input"])
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
    told = first["type"] == "missing" or (first["type"] == "value_error" and isinstance(first["input"], Mapping))
    received = "" if told else f", received {shown}"
    return f"{field}{': ' if field else ''}{message[0].lower()}{message[1:]}{received}"


def first_difference(known: Any, wanted: Any, where: str = "") -> str:
    """Where two JSON values differ first, and how; empty where they do not."""
    if isinstance(known, dict) and isinstance(wanted, dict):
        for key in [*wanted, *(key for key in known if key not in wanted)]:
            if found := first_difference(known.get(key), wanted.get(key), f"{where}.{key}".removeprefix(".")):
                return found
        return ""
    if isinstance(known, list) and isinstance(wanted, list) and len(known) == len(wanted):
        pairs = enumerate(zip(known, wanted, strict=True))
        return next(filter(None, (first_difference(*pair, f"{where}[{place}]") for place, pair in pairs)), "")
    return "" if known == wanted else f"{where} was {str(known)[:60]} and is {str(wanted)[:60]}"
