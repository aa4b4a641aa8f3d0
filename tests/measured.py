"""Results without encoders: what a model is said to have answered, judged by the real metrics."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from crossfade.probing.metrics import METRICS
from crossfade.probing.results import Cost, ModelInfo, ProtocolInfo, Result, Scored, SweepPoint, TaskInfo
from crossfade.probing.significance import estimate

COST = Cost(seconds_features=1.5, seconds_heads=0.5, peak_memory_bytes=10**8, cache_bytes_per_clip=20e3, threads=1)


def scored(
    labels: Sequence[Any],
    *predictions: Sequence[Any],
    groups: Sequence[str | None] | None = None,
    folds: Sequence[int] | None = None,
) -> tuple[Scored, ...]:
    """Test items, with a column of predictions for each seed."""
    return tuple(
        Scored(
            id=f"clip-{index:04d}",
            group=groups[index] if groups else None,
            fold=folds[index] if folds else 0,
            label=label,
            predictions=tuple(column[index] for column in predictions),
        )
        for index, label in enumerate(labels)
    )


def answers(labels: Sequence[str], right: float, seed: int) -> list[str]:
    """Predictions of which each is right with the probability given."""
    random = np.random.default_rng(seed)
    return [label if random.random() < right else "wrong" for label in labels]


def result(
    model: str = "speech",
    task: str = "melody",
    items: Sequence[Scored] | None = None,
    *,
    right: float = 0.8,
    seed: int = 0,
    count: int = 200,
    metric: str = "accuracy",
    domain: str = "music",
    sha256: str = "data",
    weights: str | None = None,
    value: float | None = None,
    **protocol: Any,
) -> Result:
    """A result of one model on one task; `right` of `count` answers are right where no items are given."""
    labels = [f"class {index % 4}" for index in range(count)]
    items = tuple(items or scored(labels, answers(labels, right, seed)))
    asked = ProtocolInfo(**({"head": "linear", "layers": "weighted", "steps": 500, "rates": (1e-3, 1e-2)} | protocol))
    found = estimate(
        METRICS[metric],
        items,
        averaged=asked.folds == "averaged",
        drawn=asked.shots is not None,
        resamples=200,
    )
    return Result(
        model=ModelInfo(name=model, sha256=weights or f"weights of {model}", parameters=2_500_000, layers=4, width=96),
        task=TaskInfo(
            name=task, title=task.title(), domain=domain, kind="classification", sha256=sha256,
            train=400, valid=100, test=len(items),
        ),
        protocol=asked,
        metric=metric,
        better=METRICS[metric].better,
        percent=METRICS[metric].percent,
        value=found.value if value is None else value,
        interval=found.interval,
        interval_method=found.method,
        group_interval=found.group_interval,
        values=found.values,
        sweep=(SweepPoint(fold=0, seed=0, rate=1e-3, valid=80.0, step=400),),
        chosen=(1e-3,),
        seeds=tuple(range(len(found.values))),
        items=items,
        cost=COST,
        versions={"crossfade": "0.1.0"},
    )  # fmt: skip
