"""Probe mode: what a frozen encoder knows of instances, found by heads that learn from the instances' own items.

No instruction is followed, and items are learned from: nothing here compares with the benchmark's leaderboard.
"""

from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from crossfade.audio.decode import UnreadableError
from crossfade.audio.sources import AudioFile
from crossfade.errors import InputError
from crossfade.instructions.benchmark import Benchmark, Instance
from crossfade.instructions.items import Item
from crossfade.instructions.models import Answer, EncoderSpec
from crossfade.instructions.running import Asked, answered, begun, finish, header_of, readable, record, scorable
from crossfade.instructions.runs import Answered, Run, Settings
from crossfade.probing.cache import Cache, open_cache
from crossfade.probing.clips import hash_files
from crossfade.probing.features import Clip, extract
from crossfade.probing.kinds import encode_clips
from crossfade.probing.metrics import METRICS
from crossfade.probing.ridge import fit_ridge
from crossfade.probing.schema import Item as Labelled
from crossfade.probing.schema import Kind, Task
from crossfade.probing.splits import assemble
from crossfade.probing.upstreams import Upstream, open_upstream
from crossfade.progress import SILENT, Progress

KINDS = ("classification", "regression")
NOTE = "Probe mode: heads learned from the benchmark's own items. Not comparable with the leaderboard."
METRIC = {"classification": "accuracy", "regression": "r2"}
NOWHERE = AudioFile("", Path())
"""Rows are dealt, not sounds."""

FEWEST = 2
"""Sounds that a class must have: one to test, one to learn from."""


def probe_run(
    benchmark: Benchmark,
    spec: EncoderSpec,
    output: str | Path,
    *,
    path: str | Path = "",
    instances: Sequence[Instance] | None = None,
    limit: int | None = None,
    seed: int = 33,
    cache: str | Path | None = None,
    progress: Progress = SILENT,
) -> Run:
    """Answer every classification and regression as `running.run` does, by ridge heads over the encoder's layers.

    Items are dealt into five parts, those with the same first sound into the same one; each part is answered by a head
    that learned from the others. A run goes on instance by instance. Raises InputError for an encoder that cannot be
    opened, and where no instance is a classification or a regression.
    """
    chosen = [one for one in scorable(benchmark, instances) if one.kind in KINDS]
    if not chosen:
        raise InputError("probe mode: none of the instances is a classification or a regression; choose others")
    asked, lost = readable(chosen, limit)
    upstream = open_upstream(spec.model, spec.device)
    header = header_of(
        benchmark,
        asked,
        Settings(limit=limit, seed=seed),
        path,
        model=spec.name or Path(spec.model).name,
        identity={"kind": spec.kind, "key": upstream.key, "sha256": upstream.sha256, "head": "ridge", "folds": 5},
        comparable=False,
        note=NOTE,
    )
    kept = open_cache(cache, None)
    with begun(Path(output), header) as journal:
        new = [one for one in asked if any((item.instance, item.id) not in journal.places for item in one.items)]
        left = sum(len(one.items) for one in new)
        with closing(_all(upstream, new, seed, kept, progress)) as answers:
            record(journal, answers, left, SILENT)
    return finish(journal.folder, lost)


def _all(
    upstream: Upstream, asked: Sequence[Asked], seed: int, cache: Cache, progress: Progress
) -> Generator[Answered, None, None]:
    for one in progress.track(asked, total=len(asked), description="instances"):
        started = perf_counter()
        items = list(one.items)
        given = guesses(upstream, one.instance, items, seed=seed, cache=cache)
        seconds = (perf_counter() - started) / max(1, len(items))
        for item, answer in zip(items, given, strict=True):
            yield answered(item, answer, seconds)


def guesses(
    upstream: Upstream, instance: Instance, items: Sequence[Item], *, seed: int, cache: Cache
) -> list[Answer | Exception]:
    """An answer for every item by a head that has not learned from it, or why there is none."""
    given: list[Answer | Exception] = [InputError("left out of cross-validation")] * len(items)
    try:
        rows, skipped = features(upstream, items, cache)
    except InputError as error:
        return [error] * len(items)
    hashes = hash_files([item.sounds[0].file for item in items])
    groups = [str(hashes[item.sounds[0].file]) for item in items]
    labels: dict[int, Any] = {}
    for place, item in enumerate(items):
        try:
            labels[place] = item.label if instance.kind == "classification" else (float(item.label),)
        except ValueError:
            skipped[place] = f"label '{item.label}' is no number"
    skipped |= _rare(labels, groups, skipped)
    for place, reason in skipped.items():
        given[place] = UnreadableError(reason)
    places = [place for place in range(len(items)) if place not in skipped]
    try:
        found = _cross_validated(instance, rows[places], [labels[one] for one in places],
                                 [groups[one] for one in places], seed)  # fmt: skip
    except InputError as error:
        for place in places:
            given[place] = InputError(f"cannot be cross-validated: {error}")
        return given
    for number, text in found.items():
        given[places[number]] = Answer(text)
    return given


def features(upstream: Upstream, items: Sequence[Item], cache: Cache) -> tuple[Tensor, dict[int, str]]:
    """A row (layers, width) for each item, and why some have none: zeros.

    One sound is its mean over time; of several, all of them side by side, and how far each is from the first.
    """
    counts = {len(item.sounds) for item in items}
    if len(counts) != 1 or 0 in counts:
        raise InputError(
            f"items have {' or '.join(map(str, sorted(counts)))} sounds; expected as many in each, one or more"
        )
    (count,) = counts
    clips = [Clip(sound.file) for item in items for sound in item.sounds]
    heard = extract(upstream, clips, pool="mean", cache=cache)
    means = heard.means.view(len(items), count, *heard.means.shape[1:])
    apart = [(means[:, 0] - means[:, other]).abs() for other in range(1, count)]
    rows = torch.cat([*means.unbind(1), *apart], dim=-1)
    return rows, {clip // count: reason for clip, reason in heard.skipped.items()}


def _rare(labels: dict[int, Any], groups: Sequence[str], skipped: dict[int, str]) -> dict[int, str]:
    """Items of a class that too few sounds have."""
    sounds: defaultdict[Any, set[str]] = defaultdict(set)
    for place, label in labels.items():
        if isinstance(label, str) and place not in skipped:
            sounds[label].add(groups[place])
    few = {label for label, own in sounds.items() if len(own) < FEWEST}
    return {
        place: f"class '{label}' is that of one sound, so none is left to learn it from"
        for place, label in labels.items()
        if label in few and place not in skipped
    }


def _cross_validated(
    instance: Instance, rows: Tensor, labels: Sequence[Any], groups: Sequence[str], seed: int
) -> dict[int, str]:
    """What was said of each row when it was tested."""
    kind: Kind = "classification" if instance.kind == "classification" else "regression"
    metric = METRICS[METRIC[kind]]
    task = Task.model_validate({"name": instance.name, "kind": kind, "metric": metric.name})
    parts = zip(labels, groups, strict=True)
    items = [Labelled(str(place), NOWHERE, label, group=group) for place, (label, group) in enumerate(parts)]
    found: dict[int, str] = {}
    for fold in assemble(task, items, seed=seed, where=instance.name).folds:
        targets = encode_clips(kind, labels, fold.train)
        scores = fit_ridge(rows, targets, fold, metric).scores(rows[fold.test])[0]
        for place, said in zip(fold.test.tolist(), targets.decode(scores), strict=True):
            found[place] = said if isinstance(said, str) else f"{said[0]:.6g}"
    return found
