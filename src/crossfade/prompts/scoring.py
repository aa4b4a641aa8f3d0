"""Error rates of what was tuned, however its prompts are heard and under every noise, as results of `probe`."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from crossfade.errors import InputError, nearest
from crossfade.memory import peak_memory
from crossfade.probing.exam import digest, listed, sound_hashes
from crossfade.probing.measure import CLEAN, versions
from crossfade.probing.metrics import METRICS
from crossfade.probing.results import (
    Cost,
    ModelInfo,
    ProtocolInfo,
    Result,
    Scored,
    append_partial,
    read_partial,
    require_free,
    save_results,
)
from crossfade.probing.significance import estimate
from crossfade.probing.sounds import Sounds
from crossfade.probing.upstreams import Precision
from crossfade.progress import SILENT, Progress
from crossfade.prompts.bank import PromptBank
from crossfade.prompts.conditions import Condition, conditions
from crossfade.prompts.corpus import Reader, Utterance, list_utterances, readable
from crossfade.prompts.drift import Defence
from crossfade.prompts.hearing import BANKED, BESIDE, MODES, Means, hearing, hears_nothing
from crossfade.prompts.methods import METHODS, require
from crossfade.prompts.recipe import Data
from crossfade.prompts.recognizer import transcribe_alike
from crossfade.prompts.run import METRICS_OF, load_data
from crossfade.prompts.soft import SoftPrompts
from crossfade.prompts.transcripts import read_transcripts
from crossfade.prompts.tuned import Tuned, open_tuned


@dataclass(frozen=True)
class Evaluation:
    """`results` (two error rates of each row for characters), and for each folder what it weighs and how fast it is."""

    path: Path
    results: tuple[Result, ...]
    tuned: tuple[Mapping[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the items, ready for JSON."""
        rows = [result.model_dump(mode="json", exclude={"items", "versions", "sweep"}) for result in self.results]
        return {"path": str(self.path), "results": rows, "tuned": [dict(one) for one in self.tuned]}


def evaluate(
    tuned: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    modes: Sequence[str] = ("keep",),
    noise: Sequence[str | Path] = (),
    snr: Sequence[float] = (10.0,),
    clean: bool = True,
    data: str | Path | None = None,
    other: str | Path | None = None,
    share: float = 0.5,
    bank: str | Path | None = None,
    temperature: float = 1.0,
    model: str | None = None,
    defence: Defence = "refuse",
    seed: int = 0,
    device: str = "auto",
    precision: Precision = "float32",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Evaluation:
    """Test what was tuned on the test clips of its data, or of the task `data`, and write a results file.

    Folders whose recipes differ in their seed alone are one row with a prediction for each. A run that was killed goes
    on where it was.

    Args:
        modes: of `MODES`; `swapped` and `interpolated` want the prompts of the folder `other` (by `share`), `nearest`,
            `weighted` (by `temperature`) and `averaged` a `bank`. What has no prompts is heard as it is.
        noise, snr: white, pink or folders of sound that test clips are heard over, at each of these levels in dB.
        model: where the encoder is now, if not where it was. defence: see `drift.defend`.
        seed: decides noises and what is drawn for modes.
        precision: what the encoder computes in, see `open_upstream`.

    Raises InputError for folders, data and settings that cannot be used, and an existing output without `overwrite`.
    """
    require("jiwer")
    require_free(output, overwrite=overwrite)
    for mode in modes:
        if mode not in MODES:
            raise InputError(f"mode {mode}: {nearest(mode, MODES)}")
        if (mode in BESIDE and other is None) or (mode in BANKED and bank is None):
            missing = "--with: the folder of other prompts" if mode in BESIDE else "--bank: a bank of prompts"
            raise InputError(f"mode {mode}: needs {missing}")
    asked = conditions(noise, snr, clean=clean)
    beside = open_tuned(other, device, model, defence, precision).recognizer.prompts if other is not None else None
    if other is not None and beside is None:
        raise InputError(f"{other}: has no prompts; expected a folder tuned by method prompts or deep")
    means = Means(
        seed,
        beside.vectors.detach() if beside else None,
        share,
        PromptBank.from_pretrained(bank, defence=defence) if bank is not None else None,
        temperature,
    )
    opened = [open_tuned(folder, device, model, defence, precision) for folder in listed(tuned)]
    check_prompts(opened, modes, beside)
    groups = _groups(opened)
    journal, results, told = read_partial(output), list[Result](), list[Mapping[str, Any]]()
    for group in groups:
        found, facts = _Examiner(group, data, means, defence, output, journal, progress).results(modes, asked)
        results += found
        told += facts
    save_results(output, results, overwrite=overwrite, more={"tuned": told})
    return Evaluation(Path(output), tuple(results), tuple(told))


def check_prompts(opened: Sequence[Tuned], modes: Sequence[str], beside: SoftPrompts | None) -> None:
    """InputError where no folder has prompts for these modes, or the prompts beside them are for another encoder."""
    prompted = [one for one in opened if one.recognizer.prompts is not None]
    if not prompted and (idle := [mode for mode in modes if mode != "keep"]):
        methods = ", ".join(sorted({one.recipe.method for one in opened}))
        raise InputError(f"mode {idle[0]}: method {methods} has no prompts; expected folders of method prompts or deep")
    if beside is not None:
        for one in prompted:
            beside.require_base(one.upstream.name, one.upstream.sha256)


def _facts(one: Tuned) -> dict[str, Any]:
    """What decides how something is tuned, but for its seed, encoder and data."""
    told = one.recipe.model_dump(mode="json", by_alias=True)
    rest = {key: told[key] for key in ("text", "head", "noise", "training")} | {"started": told["start"] is not None}
    own = METHODS[one.recipe.method].section(one.recipe)
    return {"method": one.recipe.method, **own, "recipe": digest(rest)[:8]}


def _groups(tuned: Sequence[Tuned]) -> list[list[Tuned]]:
    """What differs in its seed alone, together. Raises InputError for what is given twice."""
    groups = defaultdict(list)
    for one in tuned:
        same = [one.record["model"]["sha256"], one.record["data"]["sha256"], one.record["tokens"], _facts(one)]
        groups[json.dumps(same, sort_keys=True)].append(one)
    for group in groups.values():
        group.sort(key=lambda one: one.recipe.seed)
        for one, following in pairwise(group):
            if one.recipe.seed == following.recipe.seed:
                raise InputError(
                    f"{one.path} and {following.path} are the same tuning, seed {one.recipe.seed}; leave one out"
                )
    return list(groups.values())


class _Examiner:
    """Everything about one group of folders."""

    def __init__(
        self,
        group: Sequence[Tuned],
        data: str | Path | None,
        means: Means,
        defence: Defence,
        output: str | Path,
        journal: Mapping[str, Result],
        progress: Progress,
    ) -> None:
        self.group, self.means, self.output, self.journal, self.progress = group, means, output, journal, progress
        self.first, self.defence = (first := group[0]), defence
        self.dataset = load_data(Data(task=str(data)) if data is not None else first.recipe.data, first.recipe.seed)
        self.transcripts = read_transcripts(self.dataset, first.recipe.text, first.recognizer.table)
        sounds = Sounds()
        listed, skipped = list_utterances(self.dataset, self.transcripts, "test", first.upstream, sounds)
        most = round(first.recipe.training.batch_seconds * first.upstream.rate)
        self.reader = Reader(listed, first.upstream, sounds, None, most, seed=0)
        self.skipped = [(skip.name, skip.reason) for skip in skipped]
        self.kept: list[tuple[Utterance, Tensor]] = []

    def results(self, modes: Sequence[str], asked: Sequence[Condition]) -> tuple[list[Result], list[dict[str, Any]]]:
        """A result for each condition, mode and metric; and for each folder what it weighs and how fast it is."""
        heard = modes if self.first.recognizer.prompts is not None else ["keep"]
        todo = [(condition, mode) for condition in asked for mode in heard]
        name = f"Evaluating {self.first.path.name}"
        found = [
            result
            for condition, mode in self.progress.track(todo, total=len(todo), description=name)
            for result in self._noted(condition, mode)
        ]
        facts = [self._weighed(one, found) for one in self.group]
        return found, facts

    def _noted(self, condition: Condition, mode: str) -> list[Result]:
        """From the journal, or found now and noted there."""
        names = METRICS_OF[self.transcripts.table.unit]
        means = [self.means.seed, self.means.share, self.means.temperature, self.defence, self.first.upstream.precision]
        others = [_hashed(self.means.other), _hashed(self.means.bank.vectors if self.means.bank else None)]
        told = [[one.sha256 for one in self.group], self.dataset.sha256, str(condition), mode, means, others]
        keys = [digest([*told, sound_hashes(condition.files), name]) for name in names]
        if all(key in self.journal for key in keys):
            return [self.journal[key] for key in keys]
        found = self._examined(condition, mode, names)
        for key, result in zip(keys, found, strict=True):
            append_partial(self.output, key, result)
        return found

    def _examined(self, condition: Condition, mode: str, names: Sequence[str]) -> list[Result]:
        if not self.kept:
            self.kept, unheard = readable(self.reader.utterances, self.reader)
            self.skipped += unheard
        own = [(one.item.id, samples) for one, samples in self.kept]
        clips = condition.over(own, self.first.upstream.rate, self.means.seed)
        started = perf_counter()
        alike = [self.group] if hears_nothing(mode, self.first) else [[one] for one in self.group]
        columns = [
            transcribe_alike(
                [one.recognizer for one in some], clips, hearing(mode, some[0], clips, self.means), self.reader.most
            )
            for some in alike
        ]
        seconds = (perf_counter() - started) / len(alike)
        items = tuple(
            Scored(id=one.item.id, group=one.item.group, label=one.text, predictions=tuple(chain(*said)))
            for (one, _), said in zip(self.kept, zip(*columns, strict=True), strict=True)
        )
        cost = Cost(
            seconds_features=seconds,
            seconds_heads=0.0,
            peak_memory_bytes=peak_memory(),
            cache_bytes_per_clip=0.0,
            threads=torch.get_num_threads(),
        )
        return [self._result(condition, mode, METRICS[name], items, cost) for name in names]

    def _result(self, condition: Condition, mode: str, metric: Any, items: tuple[Scored, ...], cost: Cost) -> Result:
        found, first = estimate(metric, items), self.first
        base = first.record["model"]
        return Result(
            model=ModelInfo(
                name=Path(base["name"]).name if Path(base["name"]).is_dir() else base["name"],
                path=base["name"],
                revision=base["revision"],
                sha256=base["sha256"],
                parameters=first.upstream.parameters,
                layers=first.upstream.layers,
                width=first.upstream.width,
            ),
            task=self.dataset.told(self.dataset.folds[:1]),
            protocol=ProtocolInfo.model_validate(self._protocol(condition, mode)),
            metric=metric.name,
            better=metric.better,
            percent=metric.percent,
            value=found.value,
            interval=found.interval,
            interval_method=found.method,
            group_interval=found.group_interval,
            values=found.values,
            seeds=tuple(one.recipe.seed for one in self.group),
            skipped=tuple(self.skipped),
            items=items,
            cost=cost,
            versions=versions(),
        )  # fmt: skip

    def _protocol(self, condition: Condition, mode: str) -> dict[str, Any]:
        recipe = self.first.recipe
        own: dict[str, Any] = {
            "head": "linear",
            "layers": recipe.head.layers,
            "steps": recipe.training.steps,
            "method": recipe.method,
            "precision": self.first.upstream.precision,
        }
        if self.first.recognizer.prompts is not None:
            own["mode"] = f"{mode} {self.means.share:g}" if mode == "interpolated" else mode
        if self.defence != "refuse":
            own["defence"] = self.defence
        if condition.noise is not None:
            own |= {"noise": condition.noise, "snr": condition.snr}
        tuned_under = self.first.record["noise"] or CLEAN
        return {**own, **_facts(self.first), "tuned_under": tuned_under, "condition": str(condition)}

    def _weighed(self, one: Tuned, found: Sequence[Result]) -> dict[str, Any]:
        training = one.record["training"]
        sound = sum(len(samples) for _, samples in self.kept) / one.upstream.rate
        speed = [
            {"condition": result.protocol.condition, "mode": (result.protocol.model_extra or {}).get("mode"),
             "seconds": result.cost.seconds_features, "real_time_factor": result.cost.seconds_features / sound}
            for result in found if sound and result.metric == found[0].metric
        ]  # fmt: skip
        told = ("parameters", "seconds", "seconds_per_step", "memory_bytes", "steps", "chosen")
        return {
            "path": str(one.path),
            "method": one.recipe.method,
            "seed": one.recipe.seed,
            "bytes": one.nbytes,
            "training": {key: training[key] for key in told},
            "speed": speed,
            "unknown": dict(self.transcripts.unknown),
        }


def _hashed(vectors: Tensor | None) -> str | None:
    return None if vectors is None else digest(vectors.cpu().tolist())
