"""A user's own model: a class in a file."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import JsonValue

from crossfade.errors import InputError
from crossfade.instructions.models import Answer, PythonSpec, Question
from crossfade.instructions.sounds import shaped
from crossfade.own_code import FAULTS, load


class CustomModel:
    """What FILE.py:NAME makes: `answer(questions)` gives a text, an `Answer` or an exception for every question.

    What its code raises leaves such questions without an answer, and the run goes on.
    """

    def __init__(self, spec: PythonSpec) -> None:
        self.spec, self.batch = spec, spec.batch
        file, make = load(spec.model, "model", "class")
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


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
