"""Dataset distillation on real recordings: every budget against every rival, and what the paper claims of it.

    python benchmarks/distill_data.py MODEL DATA [MODEL DATA ...] [--parts times evaluate left-out] [--quick]
        [--output FILE] [--work DIR] [--cache DIR]

MODEL is an encoder of the package by its name, or a folder; DATA a labelled folder, or a task in the package. For each
pair: a generator is fitted on cached features and timed, sampled and timed, evaluated in all folds with three seeds,
and the claims get their verdicts; then parts of its objective are left out in turn. FILE gets all of it but the
predictions; tasks that it has already and that are not asked for stay. DIR gets generators and results files, many
megabytes. `--quick` sees that it runs: one fold, one seed, few updates.
"""

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, TypeVar

from processes import HERE, circumstances

from crossfade.condensing import evaluate, fit, read_generator
from crossfade.condensing.artefact import rounded
from crossfade.condensing.evaluating import Evaluation, Standing
from crossfade.condensing.fitting import make_bench, scored
from crossfade.condensing.hearing import Heard, hear
from crossfade.condensing.rivals import FULL, GENERATOR, RANDOM
from crossfade.condensing.settings import Settings
from crossfade.condensing.training import fit_generator
from crossfade.condensing.trial import Row, measure
from crossfade.parallel import side_by_side
from crossfade.probing.compare import compare
from crossfade.probing.metrics import METRICS
from crossfade.probing.results import Scored, write_file
from crossfade.probing.significance import estimate
from crossfade.quickstart.pack import ENCODERS

Found = TypeVar("Found")
BUDGETS = (10, 50, 100)
SAME = 2.0
"""Points of recall by which two results may differ and still be called the same."""

SAVED = 95.0
"""Percent that the paper saves of storage and of training time."""

SAMPLED = 200_000
LEFT_OUT: Mapping[str, Mapping[str, Any]] = {
    "all of it": {},
    "the Gaussian start, untrained": {"gan_steps": 0, "distil_steps": 1, "ahead": 0, "rate": 1e-12},
    "without softmax matching": {"softmax": 0.0},
    "without the diversity penalty": {"diversity": 0.0},
    "without feature matching": {"matching": 0.0},
    "GAN alone": {"gan_steps": 500, "distil_steps": 0},
    "a critic without a head start": {"ahead": 0},
    "started at random, ten times the rate": {"start": "random", "rate": 1e-3},
    "no limit to its size": {"noise": 128, "hidden": 128, "share": 1e9},
}
QUICK = {"gan_steps": 20, "distil_steps": 20, "check": 20}


@dataclass(frozen=True)
class Claim:
    """What the paper says, what was measured, and whether it holds here."""

    says: str
    about: str
    value: float
    interval: tuple[float, float] | None
    verdict: str


def verdict(interval: tuple[float, float], bound: float) -> str:
    """Whether a value whose interval is this is above `bound`."""
    return "holds" if interval[0] > bound else "does not hold" if interval[1] < bound else "undecided"


def reached(value: float, bound: float) -> str:
    """The same of a value that is known."""
    return "holds" if value >= bound else "does not hold"


def judge(found: Evaluation) -> list[Claim]:
    """Every claim of the paper at every budget."""
    rows = {row.name: row for row in found.rows}
    full, claims = rows[FULL], []
    for size in sorted({row.per_class for row in found.rows if row.per_class}):
        balanced, original = (rows[Row(GENERATOR, size, prior).name] for prior in ("balanced", "original"))
        claims += [
            _difference(f"as good as all real clips (within {SAME:g} points), original prior", original, -SAME),
            _difference("better than all real clips, balanced", balanced, 0.0),
            _balanced_gain(found, balanced, original),
            _saved("storage: points take 95 % less than the real features", balanced, balanced.bytes, full.bytes),
            _faster(found, balanced),
            *_speakers(balanced, full, rows[Row(RANDOM, size, "balanced").name]),
        ]
    stored = found.storage
    claims.append(_saved("storage: the generator takes 95 % less than the real features", None,
                         stored["generator_bytes"], stored["feature_bytes"]))  # fmt: skip
    if stored["sound_bytes"]:
        claims.append(_saved("storage: the generator takes 95 % less than the sound", None,
                             stored["generator_bytes"], stored["sound_bytes"]))  # fmt: skip
    return claims


def _difference(says: str, row: Standing, bound: float) -> Claim:
    assert row.difference is not None
    assert row.difference_interval is not None
    told = verdict(row.difference_interval, bound)
    return Claim(says, row.name, row.difference, row.difference_interval, told)


def _balanced_gain(found: Evaluation, balanced: Standing, original: Standing) -> Claim:
    two = [[result for result in found.results if result.model.name == row.name] for row in (original, balanced)]
    (gain,) = compare(*two, reference=original.name).differences
    told = verdict(gain.interval, 0.0)
    return Claim("better balanced than at the original prior", balanced.name, gain.difference, gain.interval, told)


def _saved(says: str, row: Standing | None, part: float, whole: float) -> Claim:
    saved = 100 * (1 - part / whole)
    return Claim(says, row.name if row else "generator", saved, None, reached(saved, SAVED))


def _faster(found: Evaluation, row: Standing) -> Claim:
    seconds = {one.points: one.seconds for one in found.training}
    saved = 100 * (1 - seconds[round(row.points)] / found.training[-1].seconds)
    return Claim("training a classifier takes 95 % less time", row.name, saved, None, reached(saved, SAVED))


def _speakers(made: Standing, full: Standing, subset: Standing) -> list[Claim]:
    claims = []
    for real in (full, subset):
        if "groups" not in made.leakage:
            continue
        ours, theirs = made.leakage["groups"], real.leakage["groups"]
        narrow, wide = (one.interval or (one.value, one.value) for one in (ours, theirs))
        interval = (wide[0] - narrow[1], wide[1] - narrow[0])  # all that both intervals allow
        claims.append(Claim(f"speakers (groups) are recognised less than from {real.name}", made.name,
                            theirs.value - ours.value, interval, verdict(interval, 0.0)))  # fmt: skip
    return claims


def left_out(heard: Heard, settings: Settings, folds: Sequence[int]) -> list[dict[str, Any]]:
    """Recall on the test clips of all folds with parts of the objective left out, 50 points a class, one seed."""
    row = Row(GENERATOR, settings.per_class, "balanced")
    told = []
    for name, changed in LEFT_OUT.items():
        own = Settings.model_validate({**settings.model_dump(), **changed})

        def one(fold: int, own: Settings = own) -> list[Scored]:
            material = heard.material(fold)
            generator = rounded(fit_generator(material, own, 0).generator)
            found = measure(make_bench(heard, material, fold), generator, [row], 0)[row.name]
            return scored(heard, fold, material.names, found["answers"])

        value = estimate(METRICS["uar"], [item for items in side_by_side(one, folds) for item in items])
        told.append({"objective": name, "uar": value.value, "interval": value.interval})
        print(f"  {name}: {value.value:.1f} [{value.interval[0]:.1f}, {value.interval[1]:.1f}]", flush=True)
    return told


@dataclass(frozen=True)
class Pair:
    """An encoder, its data, and the data as it hears them."""

    model: str
    data: str
    heard: Heard
    settings: Settings

    @property
    def name(self) -> str:
        """The task's."""
        return self.heard.dataset.task.name

    @property
    def folds(self) -> range:
        """All of the data's."""
        return range(len(self.heard.dataset.folds))


def times(pair: Pair, asked: argparse.Namespace) -> dict[str, Any]:
    """Fit the first fold's generator, and sample it: by the clock, and by the processor, which others use as well."""
    made, fitted = timed(
        lambda: fit(pair.model, pair.data, asked.work / pair.name, settings=pair.settings, cache=asked.cache,
                    overwrite=True)
    )  # fmt: skip
    own = read_generator(made.path)
    own.sample(10)
    sampled = timed(lambda: own.sample(SAMPLED // len(own.names)))[1]
    found = {
        "fit_seconds": round(fitted[0], 2),
        "fit_processor_seconds": round(fitted[1], 2),
        "points_per_second": round(SAMPLED / sampled[0]),
        "points_per_processor_second": round(SAMPLED / sampled[1]),
    }
    print(f"  {found}", flush=True)
    return found


def timed(work: Callable[[], Found]) -> tuple[Found, tuple[float, float]]:
    """What `work` makes, its seconds by the clock and by the processor."""
    clock, processor = perf_counter(), process_time()
    return work(), (perf_counter() - clock, process_time() - processor)


def evaluated(pair: Pair, asked: argparse.Namespace) -> dict[str, Any]:
    """Every row in all folds with three seeds, and the claims."""
    quick, generator = asked.quick, asked.work / pair.name
    if not generator.exists():
        fit(pair.model, pair.data, generator, settings=pair.settings, cache=asked.cache)
    found, seconds = timed(
        lambda: evaluate(
            generator,
            pair.data,
            asked.work / f"{pair.name}.json",
            per_class=BUDGETS[:1] if quick else BUDGETS,
            folds="own" if quick else "all",
            seeds=1 if quick else 3,
            cache=asked.cache,
            overwrite=True,
        )
    )
    for row in found.rows:
        print(f"  {row.name}: {row.uar:.1f} [{row.interval[0]:.1f}, {row.interval[1]:.1f}]", flush=True)
    claims = judge(found)
    for claim in claims:
        print(f"  {claim.verdict:<14} {claim.says} ({claim.about}): {claim.value:.1f}", flush=True)
    told = {key: value for key, value in found.to_dict().items() if key != "path"}
    return {**told, "evaluate_seconds": round(seconds[0], 1), "claims": [asdict(claim) for claim in claims]}


def left_out_of(pair: Pair, asked: argparse.Namespace) -> dict[str, Any]:
    """The objective by its parts."""
    return {"left_out": left_out(pair.heard, pair.settings, [0] if asked.quick else pair.folds)}


PARTS: Mapping[str, Callable[[Pair, argparse.Namespace], dict[str, Any]]] = {
    "times": times,
    "evaluate": evaluated,
    "left-out": left_out_of,
}


def main() -> None:
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("pairs", nargs="+", metavar="MODEL DATA")
    asked.add_argument("--quick", action="store_true")
    asked.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS])
    asked.add_argument("--output", type=Path, default=HERE / "results" / "distill-data.json")
    asked.add_argument("--work", type=Path, default=Path("build", "distill-data"))
    asked.add_argument("--cache", type=Path)
    said = asked.parse_args()
    if len(said.pairs) % 2:
        asked.error(f"expected a MODEL and its DATA, in turn; received {len(said.pairs)} words")
    said.work.mkdir(parents=True, exist_ok=True)
    settings = Settings.model_validate(QUICK if said.quick else {})
    named = {name: os.path.relpath(folder) for name, folder in ENCODERS.items()}
    pairs = []
    for model, data in zip(said.pairs[::2], said.pairs[1::2], strict=True):
        path = named.get(model, model)
        pairs.append(Pair(path, data, hear(path, data, cache=said.cache), settings))
    for part in said.parts:
        for pair in pairs:
            print(f"{pair.name}, {len(pair.heard.labels)} clips: {part}", flush=True)
            keep(said.output, pair.name, part, PARTS[part](pair, said))
    print(f"written to {said.output}")


def keep(target: Path, name: str, part: str, found: Mapping[str, Any]) -> None:
    """Put what was found of a task beside what the file has of it, and of others."""
    tasks = json.loads(target.read_text()) if target.exists() else {}
    told = tasks.setdefault(name, {})
    told |= dict(found)
    told.setdefault("circumstances", {})[part] = circumstances(1).to_dict()
    write_file(target, json.dumps(tasks, indent=2) + "\n", overwrite=True)


if __name__ == "__main__":
    main()
