"""`crossfade.probe`: encoders on tasks, one after the other, into one results file."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from crossfade.probing.cache import Cache, open_cache
from crossfade.probing.exam import Exam, digest, listed, set_exam, sound_hashes
from crossfade.probing.learners import Layers, ProtocolName
from crossfade.probing.measure import Question, measure
from crossfade.probing.results import Result, append_partial, read_partial, require_free, save_results
from crossfade.probing.schema import Dataset, Head
from crossfade.probing.sounds import Sounds
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
    exam = set_exam(
        tasks,
        data=data,
        protocol=protocol,
        head=head,
        layers=layers,
        seeds=seeds,
        shots=shots,
        draws=draws,
        noise=noise,
        snr=snr,
        beam=beam,
        seed=seed,
    )
    names, kept = listed(models), open_cache(cache, cache_bytes)
    if len(names) == 1:
        exam = replace(exam, sounds=Sounds(most_bytes=0))  # nobody comes after it
    journal = read_partial(output) if output is not None else {}
    results: list[Result] = []
    for name in names:
        upstream = open_upstream(str(name), device, precision, window)
        results += sit(exam, upstream, kept, output=output, journal=journal, progress=progress)
    if output is not None:
        save_results(output, results, overwrite=overwrite)
    return results


def sit(
    exam: Exam,
    upstream: Upstream,
    cache: Cache,
    *,
    model: str | None = None,
    output: str | Path | None = None,
    journal: Mapping[str, Result] | None = None,
    progress: Progress = SILENT,
) -> list[Result]:
    """Results of one model on every task of an exam; threads may sit the same exam, each with a cache of its own.

    With `output`, each is noted beside it as soon as it is there; `journal` has those of an earlier run. There
    `model` stands for the model, by default its name and the key of its features.
    """
    results: list[Result] = []
    for dataset, question in exam.parts:
        keys = _keys([upstream.name, upstream.key] if model is None else [model], dataset, question)
        found = _noted(keys, journal or {})
        if found is None:
            cache.used.clear()  # by the task before, whose features may go now
            found = measure(upstream, dataset, question, cache=cache, sounds=exam.sounds, progress=progress)
            if output is not None:
                for key, result in zip(keys, found, strict=True):
                    append_partial(output, key, result)
        results += found
    return results


def noted(exam: Exam, model: str, journal: Mapping[str, Result]) -> list[Result] | None:
    """What `sit` noted in an earlier run for a `model` that need not be there now; None unless it is all there."""
    return _noted([key for dataset, question in exam.parts for key in _keys([model], dataset, question)], journal)


def _noted(keys: Sequence[str], journal: Mapping[str, Result]) -> list[Result] | None:
    return [journal[key] for key in keys] if all(key in journal for key in keys) else None


def _keys(model: Sequence[str], dataset: Dataset, question: Question) -> list[str]:
    """Stand for all that decides each result of a model: that of clean sound, then that of each background."""
    told = asdict(replace(question, backgrounds=()))  # without a copy of each file
    told["backgrounds"] = [[str(one), sound_hashes(one.files)] for one in question.backgrounds]
    facts = [*model, dataset.sha256, dataset.task.name, dataset.task.metric, told]
    return [digest([*facts, number]) for number in range(1 + len(question.backgrounds))]
