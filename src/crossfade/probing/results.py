"""The results file: what was measured, of which model, on what, and every single prediction."""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, FiniteFloat, JsonValue, ValidationError, model_validator

from crossfade import __version__
from crossfade.documents import Strict, first_fault
from crossfade.errors import InputError

SCHEMA = 1
_APPENDING = Lock()


def _listed(value: Any) -> Any:
    """Tuples as the lists that JSON knows, at every depth."""
    if isinstance(value, list | tuple):
        return [_listed(part) for part in value]
    return {key: _listed(part) for key, part in value.items()} if isinstance(value, dict) else value


def _finite(value: Any) -> Any:
    """None for the NaN of a head that diverged."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


Answer = Annotated[JsonValue, BeforeValidator(_listed)]


class ModelInfo(Strict):
    """The encoder, given as `path`: `sha256` of its weights, `parameters` in all, `layers` of `width`."""

    name: str
    path: str | None = None
    revision: str | None = None
    sha256: str | None = None
    parameters: int
    layers: int
    width: int


class TaskInfo(Strict):
    """The task and how many clips it had; `sha256` covers ids, labels and folds, and must agree to compare."""

    name: str
    title: str
    domain: str
    kind: str
    sha256: str
    train: int
    valid: int
    test: int


class ProtocolInfo(BaseModel):
    """How the task was asked; results compare only where all of it agrees. Further settings may be added.

    `condition` is "clean" or what the test clips were mixed with ("babble at 10 dB"); `shots` are training clips per
    class (None: all), drawn `draws` times; `folds` says whether the metric is taken over the pooled predictions of all
    folds or averaged over folds; `precision` is the encoder's; `beam` the width of the search for text.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    head: str
    layers: str | int
    projection: int | None = None
    steps: int | None = None
    batch: int | None = None
    rates: tuple[FiniteFloat, ...] = ()
    published: bool = False
    shots: int | None = None
    draws: int = 1
    condition: str = "clean"
    folds: Literal["pooled", "averaged"] = "pooled"
    precision: str = "float32"
    beam: int = 1


class SweepPoint(Strict):
    """What was tried and its best validation value (None: it diverged); one of each fold and seed was `chosen`.

    A head: a learning rate, and the step that had that value. Nearest neighbours: a layer and how many of them vote.
    Ridge regression: its damping.
    """

    fold: int = 0
    seed: int = 0
    chosen: bool = False
    rate: FiniteFloat | None = None
    valid: Annotated[FiniteFloat | None, BeforeValidator(_finite)]
    step: int = 0
    layer: int | None = None
    neighbours: int | None = None
    damping: FiniteFloat | None = None


class Scored(Strict):
    """One test item: its label and what was predicted, once per seed (or draw of few shots)."""

    id: str
    group: str | None = None
    fold: int = 0
    label: Answer
    predictions: tuple[Answer, ...]


class Cost(Strict):
    """What it took; the only part of a result that a second run with the same seed may change."""

    seconds_features: float
    seconds_heads: float
    peak_memory_bytes: int
    cache_bytes_per_clip: float
    threads: int


class Result(Strict):
    """One model on one task under one protocol.

    `value` is the mean of `values` (one per seed or draw) in the metric's unit: percent where `percent`, `better` says
    which way is up. `interval` holds it with 95 % confidence, found as `interval_method` says; `group_interval` the
    same over groups of test clips (speakers, kits), None where there are none. `chosen` are the learning rates that
    validation data chose; `skipped` names clips that could not be used, with reasons.
    """

    model: ModelInfo
    task: TaskInfo
    protocol: ProtocolInfo
    metric: str
    better: Literal["higher", "lower"]
    percent: bool
    value: FiniteFloat
    interval: tuple[FiniteFloat, FiniteFloat]
    interval_method: str
    group_interval: tuple[FiniteFloat, FiniteFloat] | None = None
    values: tuple[FiniteFloat, ...]
    sweep: tuple[SweepPoint, ...] = ()
    chosen: tuple[FiniteFloat, ...] = ()
    seeds: tuple[int, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    items: tuple[Scored, ...]
    cost: Cost
    versions: Mapping[str, str]

    @property
    def valid(self) -> float | None:
        """The metric on validation clips, the mean of what was chosen in each fold and seed; None where there are none.

        Whoever chooses between models by it leaves the test clips untouched.
        """
        chosen = [point.valid for point in self.sweep if point.chosen and point.valid is not None]
        return sum(chosen) / len(chosen) if chosen else None

    @model_validator(mode="after")
    def _agrees(self) -> "Result":
        """Every item once, with a prediction for each value."""
        if len({item.id for item in self.items}) != len(self.items):
            raise ValueError("items: an id occurs twice, expected every test item once")
        for item in self.items:
            if len(item.predictions) != len(self.values):
                raise ValueError(
                    f"items: '{item.id}' has {len(item.predictions)} predictions, expected one for each of "
                    f"{len(self.values)} values"
                )
        return self


def save_results(
    path: str | Path, results: Sequence[Result], *, overwrite: bool = False, more: Mapping[str, Any] | None = None
) -> None:
    """Write `results` to `path`, whole or not at all, and remove the journal beside it; `more` stands above them.

    Raises:
        InputError: `path` exists and `overwrite` is false, or it is a folder.
    """
    lines = ",\n".join(result.model_dump_json() for result in results)
    head = json.dumps({"schema": SCHEMA, "crossfade": __version__, **(more or {})})[:-1]
    write_file(path, f'{head}, "results": [\n{lines}\n]}}\n', overwrite=overwrite)
    journal(path).unlink(missing_ok=True)


def load_results(path: str | Path) -> list[Result]:
    """The results in a file.

    Raises:
        InputError: no such file, not JSON, another schema, or a field that is missing, unknown or of the wrong type.
    """
    content = _read_json(Path(path))
    if not isinstance(content, dict) or not isinstance(content.get("results"), list):
        raise InputError(f"{path}: expected a results file of `crossfade probe`: an object with 'schema' and 'results'")
    if content.get("schema") != SCHEMA:
        raise InputError(f"{path}: schema {content.get('schema')!r}, expected {SCHEMA}; probe again to have it written")
    return [_result(record, f"{path}: results[{number}]") for number, record in enumerate(content["results"])]


def find_results(folder: Path) -> tuple[list[Path], list[Path]]:
    """Results files anywhere below `folder`, and the JSON files there that are none, in order of their names.

    A file counts as one by its keys alone, so that a damaged or older one is found and refused, not passed over.
    """
    paths = sorted(path for path in folder.rglob("*.json") if not path.name.startswith("."))
    contents = {path: _read_json(path) for path in paths}
    found = [
        path for path, content in contents.items() if isinstance(content, dict) and {*content} >= {"schema", "results"}
    ]
    return found, [path for path in paths if path not in found]


def journal(output: str | Path) -> Path:
    """Where the results of an unfinished run for `output` are kept."""
    return Path(output).with_name(f".{Path(output).name}.partial.jsonl")


def append_partial(output: str | Path, key: str, result: Result) -> None:
    """Add a result to the journal beside `output`, under a key that says all that decides it.

    It is on the disk when this returns. A line that a killed run left torn is cut off first. Threads may share it.
    """
    path = journal(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"schema": SCHEMA, "key": key, "result": result.model_dump(mode="json")}) + "\n"
    with _APPENDING, path.open("ab+") as file:
        file.seek(max(0, file.tell() - 1))
        if file.read() not in (b"", b"\n"):
            file.truncate(len(_whole(path.read_bytes())))
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_partial(output: str | Path) -> dict[str, Result]:
    """The results that an earlier run for `output` left in its journal, by key; a torn last line is not read.

    Raises:
        InputError: the journal is damaged elsewhere, or of another schema.
    """
    path = journal(output)
    if not path.exists():
        return {}
    return dict(_entries(path, _whole(path.read_bytes()).decode(errors="replace").splitlines()))


def _entries(path: Path, lines: Sequence[str]) -> Iterator[tuple[str, Result]]:
    for number, line in enumerate(lines, start=1):
        where = f"{path}: line {number}"
        try:
            content = json.loads(line)
            key, record, schema = content["key"], content["result"], content["schema"]
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{where}: damaged; delete this file to measure everything again") from None
        if schema != SCHEMA:
            raise InputError(f"{where}: schema {schema!r}, expected {SCHEMA}; delete this file to measure again")
        yield key, _result(record, where)


def _whole(content: bytes) -> bytes:
    """All lines but one that was not finished."""
    return content[: content.rfind(b"\n") + 1]


def require_free(path: str | Path, *, overwrite: bool) -> None:
    """InputError unless a file can go to `path`: to be asked before long work that ends there."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a file to write to; choose another output")
    if path.exists() and not overwrite:
        raise InputError(f"{path}: already exists; pass --overwrite to replace it, or choose another output")
    place = next(folder for folder in path.absolute().parents if folder.is_dir())
    try:
        with TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot be created ({error.strerror}); choose another output") from error


def write_file(path: str | Path, text: str, *, overwrite: bool) -> None:
    """Write `text` to `path`, whole or not at all. Raises InputError as `require_free` does, or without a folder."""
    path = Path(path)
    require_free(path, overwrite=overwrite)
    draft = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be created ({error.strerror}); choose another output") from error
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a results file of `crossfade probe`") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a results file") from None
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); the file is damaged or no results file") from None


def _result(record: Any, where: str) -> Result:
    try:
        return Result.model_validate(record)
    except ValidationError as error:
        raise InputError(f"{where}: {first_fault(error)}") from None
