"""A user's own model: a class in a file."""

import hashlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from crossfade.errors import InputError, nearest
from crossfade.instructions.models import Answer, PythonSpec, Question
from crossfade.instructions.sounds import shaped

FAULTS = (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, OSError, RuntimeError,
          TypeError, ValueError)  # fmt: skip
"""What code may raise; such a question has no answer, and the run goes on."""


class CustomModel:
    """What FILE.py:NAME makes: `answer(questions)` gives a text, an `Answer` or an exception for every question."""

    def __init__(self, spec: PythonSpec) -> None:
        self.spec, self.batch = spec, spec.batch
        file, make = _found(spec.model)
        try:
            self.made = make(**spec.settings)
        except FAULTS as error:
            raise InputError(
                f"{spec.model}: cannot be made ({type(error).__name__}: {error}); mend it or settings"
            ) from error
        if not callable(getattr(self.made, "answer", None)):
            raise InputError(f"{spec.model}: has no method answer(questions); expected one that gives a list of texts")
        self.name = spec.name or str(getattr(self.made, "name", Path(spec.model.rpartition(":")[0]).stem))
        told = spec.model_dump(mode="json", exclude={"name", "batch"})
        shown = f"{file.name}:{spec.model.rpartition(':')[2]}"  # wherever it lies on each machine
        self.identity: Mapping[str, JsonValue] = told | {"model": shown, "sha256": _sha256(file)}

    def answer(self, questions: Sequence[Question]) -> list[Answer | Exception]:
        """An answer for each question, or what the class raised."""
        asked = [replace(one, sounds=tuple(shaped(one.sounds, self.spec))) for one in questions]
        try:
            answers = list(self.made.answer(asked))
        except InputError:
            raise
        except FAULTS as error:
            return [RuntimeError(f"{type(error).__name__}: {error}")] * len(questions)
        if len(answers) != len(questions):
            raise InputError(
                f"{self.spec.model}: {len(answers)} answers to {len(questions)} questions; expected one each"
            )
        return [self._answer(one) for one in answers]

    def close(self) -> None:
        """Tell the class, where it wants to know."""
        if callable(close := getattr(self.made, "close", None)):
            close()

    def _answer(self, given: object) -> Answer | Exception:
        if isinstance(given, Answer | Exception):
            return given
        if isinstance(given, str):
            return Answer(given)
        raise InputError(
            f"{self.spec.model}: an answer is {type(given).__name__}; expected text, Answer or an exception"
        )


def _found(name: str) -> tuple[Path, Callable[..., Any]]:
    """The file and the class. Raises InputError."""
    place, _, wanted = name.rpartition(":")
    file = Path(place).expanduser()
    spec = importlib.util.spec_from_file_location(file.stem, file) if file.suffix == ".py" and file.is_file() else None
    if spec is None or spec.loader is None:
        raise InputError(f"model: no file '{place or name}'; expected FILE.py:NAME")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, *FAULTS) as error:
        raise InputError(f"model: {file} cannot be imported ({type(error).__name__}: {error})") from error
    if not callable(getattr(module, wanted, None)):
        known = [name for name in vars(module) if not name.startswith("_")]
        raise InputError(f"model: {file} has no class '{wanted}'; {nearest(wanted, known)}")
    return file, getattr(module, wanted)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
