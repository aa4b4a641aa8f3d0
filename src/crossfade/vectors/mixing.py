"""Every way to mix two or more students, as jobs for a stage: sums on a base, merges, students side by side."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from crossfade.alignment import align
from crossfade.alignment.result import load_alignment
from crossfade.audio.sources import Source
from crossfade.encoders.encoder import Encoder
from crossfade.encoders.families import POINTS, WITHOUT_RESIDUAL
from crossfade.errors import InputError, nearest
from crossfade.merging import input_statistics, merge
from crossfade.merging.methods import LAYERWISE, VECTOR_METHODS
from crossfade.merging.statistics import InputStatistics
from crossfade.probing.exam import digest
from crossfade.probing.measure import model_name
from crossfade.probing.upstreams import BESIDE, Upstream, beside, open_upstream
from crossfade.progress import SILENT, Progress
from crossfade.vectors.combine import combine, plan_sum
from crossfade.vectors.geometry import geometry
from crossfade.vectors.grid import Weights, corner, told
from crossfade.vectors.operands import Operands
from crossfade.vectors.stage import Make, Measured, Stage

MERGES: Mapping[str, Mapping[str, Any]] = {
    "linear": {},
    "slerp": {"method": "slerp"},
    "aligned": {"points": WITHOUT_RESIDUAL},
    "aligned-residual": {"points": POINTS},
    "regression": {"points": POINTS, "method": "regression"},
}
"""Ways to merge two encoders that need no base: the points aligned first, and the method of `crossfade.merge`."""

ALONE, PAIR = "alone", "pair"
"""The method of what is measured as it is, and of encoders side by side."""


@dataclass(frozen=True)
class Job:
    """One encoder to be measured: `open` gives it as it is, or `make` writes it into a folder, which may be `kept`.

    `facts` say all that decides its weights.
    """

    name: str
    method: str
    weights: Weights | None
    facts: Any
    open: Callable[[], Upstream] | None = None
    make: Make | None = None
    kept: Path | None = None

    def measure(self, stage: Stage, progress: Progress = SILENT) -> Measured:
        """What the stage finds."""
        facts = [self.name, self.facts]
        if self.make is not None:
            return stage.measure(self.name, facts, self.make, kept=self.kept, progress=progress)
        assert self.open is not None
        opened = self.open
        return stage.ask(facts, lambda: replace(opened(), name=self.name), progress=progress)


@dataclass(frozen=True)
class Hearing:
    """What aligned methods hear: a source for each of the two students, and how much of it."""

    sources: Sequence[Source]
    clips: int | None
    seconds: float
    seed: int
    device: str

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of `align` and `merge`."""
        return {"clips": self.clips, "seconds": self.seconds, "seed": self.seed, "device": self.device}


def check_methods(methods: Sequence[str], operands: Operands, points: Sequence[Weights], hearing: Hearing) -> None:
    """InputError for a method that is unknown, or that lacks what it needs."""
    if not methods:
        raise InputError(f"methods: expected one or more of {', '.join([*VECTOR_METHODS, *MERGES])}")
    for name in methods:
        if name in MERGES:
            _check_merge(name, operands, points, hearing)
        elif name not in VECTOR_METHODS and ".py:" not in name:
            raise InputError(f"method: {name!r} is unknown; {nearest(name, [*VECTOR_METHODS, *MERGES])}")
        elif operands.base is None:
            raise InputError(f"method {name} adds vectors to a base, and there is none; give it, or merge: linear")


def _check_merge(name: str, operands: Operands, points: Sequence[Weights], hearing: Hearing) -> None:
    if len(operands.names) != 2:
        raise InputError(f"method {name} merges two encoders, received {len(operands.names)}")
    if unlike := [one for one in points if abs(sum(one) - 1) > 1e-6 or min(one) < 0]:
        raise InputError(f"method {name}: weights {told(unlike[0])}, expected shares that add up to 1")
    if "points" in MERGES[name] and len(hearing.sources) != 2:
        raise InputError(
            f"method {name} hears audio: expected one source for each of {' and '.join(operands.names)} (--audio DIR "
            f"DIR), received {len(hearing.sources)}"
        )


def _itself(upstream: Upstream) -> Upstream:
    return upstream


@dataclass(frozen=True)
class Mixer:
    """Makes the encoders of a sweep; mixtures stay in `kept`, where it is given."""

    operands: Operands
    parameters: Mapping[str, Mapping[str, Any]]
    hearing: Hearing
    work: Path
    kept: Path | None = None
    lock: Any = field(default_factory=Lock, repr=False)
    heard: list[InputStatistics] = field(default_factory=list, repr=False)

    def jobs(self, methods: Sequence[str], points: Sequence[Weights]) -> Iterator[Job]:
        """Every method at every point; students and base, which they share, once."""
        if unknown := sorted({*self.parameters} - {*methods}):
            raise InputError(
                f"parameters of '{unknown[0]}', which is not among the methods; {nearest(unknown[0], methods)}"
            )
        names = self.operands.names
        for place in dict.fromkeys(place for place in map(corner, points) if place is not None):
            weights = tuple(float(other == place) for other in range(len(names)))
            yield self._alone(names[place], self.operands.encoders[names[place]], weights)
        if self.operands.base is not None and not all(map(any, points)):
            yield self._alone("base", self.operands.base, (0.0,) * len(names))
        for method in methods:
            for weights in points:
                if corner(weights) is None and any(weights):
                    yield self._mixture(method, weights)

    def others(self, also: Sequence[str | Path], *, with_pair: bool) -> Iterator[Job]:
        """Models that are measured as they are, and the students side by side."""
        device = self.hearing.device
        for model in also:
            upstream = open_upstream(str(model), device)
            method = PAIR if upstream.parts else ALONE
            yield Job(model_name(upstream), method, None, upstream.key, open=partial(_itself, upstream))
        if with_pair:
            if len(self.operands.names) != 2:
                raise InputError(f"a pair is of two students, received {len(self.operands.names)}")
            facts = [one.sha256 for one in self.operands.encoders.values()]
            yield Job(BESIDE.join(self.operands.names), PAIR, None, facts, open=self._pair)

    def _pair(self) -> Upstream:
        opened = {
            name: open_upstream(str(one.folder), self.hearing.device) for name, one in self.operands.encoders.items()
        }
        return beside(BESIDE.join(opened), [replace(one, name=name) for name, one in opened.items()])

    def _alone(self, name: str, encoder: Encoder, weights: Weights) -> Job:
        folder, device = str(encoder.folder), self.hearing.device
        return Job(name, ALONE, weights, encoder.sha256, open=lambda: open_upstream(folder, device))

    def _mixture(self, method: str, weights: Weights) -> Job:
        settings = dict(self.parameters.get(method, {}))
        if method in MERGES:
            heard = [[str(one) for one in self.hearing.sources], self.hearing.options]
            make, more = self._merge(method, weights, settings), [settings, heard]
        else:
            make, more = self._sum(method, weights, settings)
        facts = [method, weights, [one.sha256 for one in self.operands.encoders.values()], *more]
        name = f"{method.rpartition(':')[2]} {told(weights)}"
        kept = self.kept / name.replace(":", "-").replace(" ", "-") if self.kept else None
        return Job(name, method, weights, facts, make=make, kept=kept)

    def _sum(self, method: str, weights: Weights, settings: Mapping[str, Any]) -> tuple[Make, list[Any]]:
        """How to make a sum of vectors, and what decides it; refused now where it cannot be made."""
        base, seed = self.operands.base, self.hearing.seed
        given = list(zip(self.operands.vectors, weights, strict=True))
        planned = plan_sum(given, base, method, settings, seed=seed)

        def make(folder: Path) -> None:
            combine(given, folder, base=base, method=method, parameters=settings, seed=seed)

        return make, [dict(planned.settings), planned.base.sha256, seed]

    def _merge(self, method: str, weights: Weights, settings: Mapping[str, Any]) -> Make:
        way = MERGES[method]
        one, other = self.operands.encoders.values()
        options: dict[str, Any] = {"method": way.get("method", "linear"), "parameters": settings}
        if options["method"] == "regression":
            options |= {"reference_audio": self.hearing.sources[0], "other_audio": self.hearing.sources[1]}

        def make(folder: Path) -> None:
            found: dict[str, Any] = {"align": "none"}
            if "points" in way:
                found = {"alignment": self._alignment(way["points"])}
            if options["method"] == "regression":
                found["statistics"] = self._statistics(way["points"], settings)
            merge(one, other, folder, weight=weights[0], **options, **found, **self.hearing.options)

        return make

    def _statistics(self, points: Sequence[str], settings: Mapping[str, Any]) -> InputStatistics | None:
        """What a regression hears, heard once for all weights; none where it goes up the layers at each."""
        way = LAYERWISE["regression"].check_settings(settings)
        if way["sequential"]:
            return None
        alignment = self._alignment(points)
        one, other = self.operands.encoders.values()
        with self.lock:
            if not self.heard:
                heard = input_statistics(
                    one,
                    other,
                    *self.hearing.sources,
                    alignment=alignment,
                    convolutions=way["convolutions"],
                    **self.hearing.options,
                )
                self.heard.append(heard)
        return self.heard[0]

    def geometry(self, methods: Sequence[str]) -> dict[str, Any] | None:
        """Barriers and CKA before and after the alignment of the first of `methods` that aligns."""
        aligned = [MERGES[name]["points"] for name in methods if "points" in MERGES.get(name, {})]
        if not aligned:
            return None
        one, other = self.operands.encoders.values()
        found = load_alignment(self._alignment(aligned[0]), one, other)
        hearing = self.hearing
        options: Any = {"clips": hearing.clips, "seconds": hearing.seconds, "seed": hearing.seed}
        return geometry(one, other, list(hearing.sources), found.permutations, **options)

    def _alignment(self, points: Sequence[str]) -> Path:
        """The second student in the first one's basis, found once."""
        one, other = self.operands.encoders.values()
        sources = list(self.hearing.sources)
        facts = [one.sha256, other.sha256, points, [str(source) for source in sources], self.hearing.options]
        folder = self.work / f"aligned-{digest(facts)[:16]}"
        with self.lock:
            if not folder.exists():
                align(one, other, sources, output=folder, points=points, **self.hearing.options)
        return folder
