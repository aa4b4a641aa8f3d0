"""`crossfade.probe`: encoders on tasks, one after the other, into one results file."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from crossfade.audio.decode import UnreadableError
from crossfade.audio.sources import AudioFile, find_audio
from crossfade.errors import InputError, nearest
from crossfade.probing.cache import Cache, open_cache
from crossfade.probing.clips import hash_files
from crossfade.probing.learners import Layers, ProtocolName, plan_lesson
from crossfade.probing.measure import Background, Question, measure
from crossfade.probing.results import Result, append_partial, read_partial, require_free, save_results
from crossfade.probing.schema import Dataset, Head, Task
from crossfade.probing.tasks import load_dataset, load_tasks
from crossfade.probing.upstreams import Precision, Upstream, open_upstream
from crossfade.probing.whisper import Window
from crossfade.progress import SILENT, Progress


def probe(
    models: str | Path | Sequence[str | Path],
    tasks: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
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
    device: str = "auto",
    precision: Precision = "float32",
    window: Window = "clip",
    cache: str | Path | None = None,
    cache_bytes: int | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> list[Result]:
    """Measure what frozen encoders know: train a small head on their features of every task, and test it.

    Args:
        models: folders, hub ids `name[@revision]`, Whisper folders, the baselines `fbank` and `logmel`, or several of
            them side by side, `A+B`.
        tasks: names of tasks, `embedded` for all that the package carries, or labelled folders with a manifest.
        output: the results file; with it, a run that was killed goes on where it was.
        data: where the data of named tasks is: one folder or `hf:` name for all, or one for each task by its name.
        protocol: "sweep" (eleven learning rates, the best on validation data) or "published" (the task's own).
        head: linear, mlp, ridge (for few clips) or knn for tasks over clips, frame or blstm for tasks over frames;
            None: as published, or as a labelled folder's task.yaml says.
        layers: "weighted" (a learned sum), "last" or a number; None: as published.
        seeds: heads to train, each from another start; a number counts from `seed`.
        shots, draws: train on that many clips of each class, drawn that many times. None: on all.
        noise, snr: folders of sound that test clips are heard over, at each of these levels in dB (power of the clip
            over the background; None: 10): noise, or music under speech. Heads are trained on clean clips.
        beam: width of the search for text, in tasks of kind ctc; 1 is greedy.
        seed: decides splits that the data leaves open, draws, mixes and the first head.
        device, precision, window: how encoders run, see `open_upstream`.
        cache, cache_bytes: where features are kept, and how much of them: at least what one model needs for one task.

    Returns one result for every model, task and condition, in that order. Raises InputError for models, tasks and data
    that cannot be used, options that nothing asked for would use, an existing output without `overwrite`, and a cache
    that is too small.
    """
    if output is not None:
        require_free(output, overwrite=overwrite)
    starts = tuple(range(seed, seed + seeds)) if isinstance(seeds, int) else tuple(seeds)
    if shots is not None and (draws < 1 or len(starts) > 1):
        raise InputError(
            f"shots: expected 1 draw or more and one seed for each, received {draws} draws, {len(starts)} seeds"
        )
    asked = [task for name in _listed(tasks) for task in load_tasks(name)]
    _used(asked, data, beam, snr, noise)
    datasets = [_with_sound(_dataset(task, data, seed)) for task in asked]
    _distinct("tasks", [dataset.task.name for dataset in datasets])
    levels = [10.0 if snr is None else snr] if snr is None or isinstance(snr, int | float) else list(snr)
    backgrounds = _backgrounds(_listed(noise), levels)
    questions = [
        Question(
            plan_lesson(dataset, protocol=protocol, head=head, layers=layers, seeds=starts, beam=beam, shots=shots),
            published=protocol == "published",
            shots=shots,
            draws=draws,
            backgrounds=backgrounds,
            seed=seed,
        )
        for dataset in datasets
    ]
    kept = open_cache(cache, cache_bytes)
    journal = read_partial(output) if output is not None else {}
    results: list[Result] = []
    for name in _listed(models):
        upstream = open_upstream(str(name), device, precision, window)
        for dataset, question in zip(datasets, questions, strict=True):
            results += _one(upstream, dataset, question, kept, output, journal, progress)
    if output is not None:
        save_results(output, results, overwrite=overwrite)
    return results


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
    if snr is not None and not _listed(noise):
        raise InputError("snr says how loud noise is, which is not given; add noise (--noise DIR), or leave it out")


def _one(
    upstream: Upstream,
    dataset: Dataset,
    question: Question,
    cache: Cache,
    output: str | Path | None,
    journal: Mapping[str, Result],
    progress: Progress,
) -> list[Result]:
    """Results of one model on one task, from the journal of an earlier run where all of them are there."""
    keys = _keys(upstream, dataset, question)
    if all(key in journal for key in keys):
        return [journal[key] for key in keys]
    cache.used.clear()  # by the task before, whose features may go now
    found = measure(upstream, dataset, question, cache=cache, progress=progress)
    if output is not None:
        for key, result in zip(keys, found, strict=True):
            append_partial(output, key, result)
    return found


def _keys(upstream: Upstream, dataset: Dataset, question: Question) -> list[str]:
    """Stand for all that decides each result: that of clean sound, then that of each background."""
    told = asdict(replace(question, backgrounds=()))  # without a copy of each file
    told["backgrounds"] = [[str(one), _sounds(one.files)] for one in question.backgrounds]
    facts = [upstream.name, upstream.key, dataset.sha256, dataset.task.name, dataset.task.metric, told]
    return [_digest([*facts, number]) for number in range(1 + len(question.backgrounds))]


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _dataset(task: Task, data: str | Path | Mapping[str, str | Path] | None, seed: int) -> Dataset:
    """A task's data: its own folder's, what is given for its name, or what is given for all."""
    if isinstance(data, Mapping):
        return load_dataset(task, data.get(task.name), seed=seed)
    return load_dataset(task, None if task.folder else data, seed=seed)


def _with_sound(dataset: Dataset) -> Dataset:
    """The data set under a hash that covers what its files hold: other sound under the same names is other data."""
    if sum(len(fold.test) for fold in dataset.folds) < 2:
        raise InputError(f"{dataset.task.name}: one test clip, which shows nothing; expected at least two")
    sounds = _sounds([item.audio for item in dataset.items])
    return replace(dataset, sha256=_digest([dataset.sha256, sounds]))


def _sounds(files: Sequence[AudioFile]) -> list[str]:
    """Hash of every file; what cannot be read is alike."""
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


def _listed(one: Any) -> list[Any]:
    return [one] if isinstance(one, str | Path) else list(one)
