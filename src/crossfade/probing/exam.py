"""Tasks with their data, and all that is asked of a model: set once, sat by one model after the other."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crossfade.audio.decode import UnreadableError
from crossfade.audio.sources import AudioFile, find_audio
from crossfade.errors import InputError, nearest
from crossfade.probing.clips import hash_files
from crossfade.probing.learners import Layers, ProtocolName, plan_lesson
from crossfade.probing.measure import Background, Question
from crossfade.probing.schema import Dataset, Head, Task
from crossfade.probing.sounds import Sounds
from crossfade.probing.tasks import load_dataset, load_tasks


@dataclass(frozen=True)
class Exam:
    """Every task's data and what is asked of it; `sounds` is what was decoded for the models before."""

    parts: tuple[tuple[Dataset, Question], ...]
    sounds: Sounds = field(default_factory=Sounds)


def set_exam(
    tasks: str | Path | Sequence[str | Path],
    *,
    data: str | Path | Mapping[str, str | Path] | None = None,
    protocol: ProtocolName = "sweep",
    head: Head | None = None,
    layers: Layers | None = None,
    seeds: int | Sequence[int] = 1,
    shots: int | None = None,
    draws: int = 10,
    noise: str | Path | Sequence[str | Path] = (),
    snr: float | Sequence[float] | None = None,
    beam: int = 1,
    seed: int = 0,
) -> Exam:
    """What these settings ask, see `crossfade.probe`; data and manifests are read, nothing is decoded.

    Raises InputError for tasks and data that cannot be used, and options that no task would use.
    """
    starts = tuple(range(seed, seed + seeds)) if isinstance(seeds, int) else tuple(seeds)
    if shots is not None and (draws < 1 or len(starts) > 1):
        raise InputError(
            f"shots: expected 1 draw or more and one seed for each, received {draws} draws, {len(starts)} seeds"
        )
    asked = [task for name in listed(tasks) for task in load_tasks(name)]
    _used(asked, data, beam, snr, noise)
    datasets = [with_sound(_dataset(task, data, seed)) for task in asked]
    _distinct("tasks", [dataset.task.name for dataset in datasets])
    levels = [10.0 if snr is None else snr] if snr is None or isinstance(snr, int | float) else list(snr)
    backgrounds = _backgrounds(listed(noise), levels)

    def question(dataset: Dataset) -> Question:
        return Question(
            plan_lesson(dataset, protocol=protocol, head=head, layers=layers, seeds=starts, beam=beam, shots=shots),
            published=protocol == "published",
            shots=shots,
            draws=draws,
            backgrounds=backgrounds,
            seed=seed,
        )

    return Exam(tuple((dataset, question(dataset)) for dataset in datasets))


def _used(asked: Sequence[Task], data: Any, beam: int, snr: Any, noise: Any) -> None:
    """InputError for an option that no task asked for would use."""
    names = [task.name for task in asked]
    if isinstance(data, Mapping) and (unknown := [name for name in data if name not in names]):
        raise InputError(f"data: '{unknown[0]}' is no task that is asked for; {nearest(unknown[0], names)}")
    if data and not isinstance(data, Mapping) and all(task.folder for task in asked):
        raise InputError(
            f"data: {data}, but every task asked for has sounds of its own; leave it out, or name the task"
        )
    if beam > 1 and not any(task.kind == "ctc" for task in asked):
        raise InputError(f"beam = {beam}: no task asked for is text (kind ctc), which alone is searched; leave it out")
    if snr is not None and not listed(noise):
        raise InputError("snr says how loud noise is, which is not given; add noise (--noise DIR), or leave it out")


def _dataset(task: Task, data: str | Path | Mapping[str, str | Path] | None, seed: int) -> Dataset:
    """A task's data: its own folder's, what is given for its name, or what is given for all."""
    if isinstance(data, Mapping):
        return load_dataset(task, data.get(task.name), seed=seed)
    return load_dataset(task, None if task.folder else data, seed=seed)


def with_sound(dataset: Dataset) -> Dataset:
    """The data set under a hash that covers what its files hold: other sound under the same names is other data."""
    if sum(len(fold.test) for fold in dataset.folds) < 2:
        raise InputError(f"{dataset.task.name}: one test clip, which shows nothing; expected at least two")
    sounds = sound_hashes([item.audio for item in dataset.items])
    return replace(dataset, sha256=digest([dataset.sha256, sounds]))


def sound_hashes(files: Sequence[AudioFile]) -> list[str]:
    """Hash of every file; those that cannot be read are alike."""
    hashes = hash_files(files)
    return ["unreadable" if isinstance(hashes[file], UnreadableError) else str(hashes[file]) for file in files]


def _backgrounds(folders: Sequence[str | Path], levels: Sequence[float]) -> tuple[Background, ...]:
    """Every folder at every level."""
    found = [(Path(folder).name, tuple(find_audio(str(folder))[0])) for folder in folders]
    backgrounds = tuple(Background(name, files, float(level)) for name, files in found for level in levels)
    _distinct("conditions", [str(background) for background in backgrounds])
    return backgrounds


def _distinct(what: str, names: Sequence[str]) -> None:
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two {what} are named '{twice[0]}'; rename one of the folders, or leave one out")


def listed(one: Any) -> list[Any]:
    """One name or path, or several, as a list."""
    return [one] if isinstance(one, str | Path) else list(one)


def digest(facts: Any) -> str:
    """Stands for `facts`, as 64 hex digits."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
