"""A function or class of the user's, named as FILE.py:NAME."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crossfade.errors import InputError, nearest

FAULTS = (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, OSError, RuntimeError,
          SyntaxError, TypeError, ValueError)  # fmt: skip
"""What a user's code may raise."""


def load(named: str, option: str, kind: str) -> tuple[Path, Callable[..., Any]]:
    """The file and what it calls NAME; `option` asked for it, as a `kind`: "function" or "class". Raises InputError."""
    place, _, wanted = named.rpartition(":")
    file = Path(place).expanduser()
    spec = importlib.util.spec_from_file_location(file.stem, file) if file.suffix == ".py" and file.is_file() else None
    if spec is None or spec.loader is None:
        raise InputError(f"{option}: no file '{place or named}'; expected FILE.py:NAME")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except FAULTS as error:
        raise InputError(f"{option}: {file} cannot be imported ({type(error).__name__}: {error})") from error
    if not callable(getattr(module, wanted, None)):
        known = [name for name in vars(module) if not name.startswith("_")]
        raise InputError(f"{option}: {file} has no {kind} '{wanted}'; {nearest(wanted, known)}")
    return file, getattr(module, wanted)
