"""Which claims hold, from what `crossfade probe` has saved: nothing is measured again.

    python benchmarks/claims.py [benchmarks/claims.yaml]

The YAML file names results files, who is who in them, and the claims; `results/claims-NAME.json` beside it gets every
value, its interval and a verdict. A claim holds where the whole 95 % interval lies above its bound, does not where all
of it lies below, and is undecided else, or where something was not measured. One about several holds where all do.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from processes import HERE, circumstances

from crossfade.documents import Listed, Strict, read_yaml, validated
from crossfade.errors import InputError
from crossfade.probing.averages import average, validated_average
from crossfade.probing.compare import compare
from crossfade.probing.metrics import METRICS
from crossfade.probing.pairing import Entry, gather
from crossfade.probing.results import Result, Scored, write_file
from crossfade.probing.significance import SEED, estimate

Verdict = Literal["holds", "does not hold", "undecided"]
Names = Annotated[tuple[str, ...], Listed]
OTHER_IS: Mapping[str, Verdict] = {"worse": "holds", "better": "does not hold", "no difference shown": "undecided"}


class Claim(Strict):
    """What is claimed of `model`, a role or a model's name, on each set of results in `where`.

    difference: its average over tasks is more than `bound` points above that of every one in `against`. share: it has
    more than `bound` of their margin over `floor`. every task: it is better than each of them on each task, corrected
    for the number of tests. pitch classes: more than `bound` percent of notes are right but for the octave.
    """

    name: str
    says: str
    source: str = "ours"
    kind: Literal["difference", "share", "every task", "pitch classes"] = "difference"
    model: str
    against: Names = ()
    floor: str = "fbank"
    where: Names
    heard: Literal["clean", "noisy", "few shots"] = "clean"
    domain: str | None = None
    tasks: Names = ()
    bound: float = 0.0


class Claims(Strict):
    """Results files by set; roles: a model, one for each domain or task, or the best of several on validation clips."""

    name: str
    seed: int = SEED
    results: Mapping[str, Names]
    roles: Mapping[str, str | tuple[str, ...] | Mapping[str, str]] = {}
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Row:
    """One comparison: `value` and `interval` are of what the claim is about, `values` of the models themselves."""

    on: str
    compared: str
    verdict: Verdict
    value: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    values: Mapping[str, Any] | None = None
    why: str | None = None


@dataclass(frozen=True)
class Stage:
    """A claim's question put to one set: who answers it, under the name of its role's model."""

    claim: Claim
    said: Claims
    on: str
    entries: Sequence[Entry]

    def answers(self, role: str) -> tuple[str, list[Result]]:
        """A name and the results of whoever plays a role. Raises InputError where there are none."""
        who = self.said.roles.get(role, role)
        if isinstance(who, tuple):
            who = max(who, key=lambda name: validated_average(self._of(name)))
        if isinstance(who, str):
            return who, self._of(who)
        parts = [one for name in dict.fromkeys(who.values()) for one in self._of(name)]
        return role, [one for one in parts if one.model.name == who.get(one.task.name, who.get(one.task.domain))]

    def _of(self, name: str) -> list[Result]:
        found = [entry.result for entry in self.entries if entry.model == name and self._asked(entry.result)]
        if not found:
            raise InputError(f"{self.on}: no results of '{name}' for this claim")
        return [one.model_copy(update={"model": one.model.model_copy(update={"name": name})}) for one in found]

    def _asked(self, one: Result) -> bool:
        claim, few = self.claim, one.protocol.shots is not None
        heard = "few shots" if few else "clean" if one.protocol.condition == "clean" else "noisy"
        fits = claim.domain in (None, one.task.domain) and (not claim.tasks or one.task.name in claim.tasks)
        return heard == claim.heard and fits


def verdict(interval: tuple[float, float], bound: float) -> Verdict:
    return "holds" if interval[0] > bound else "does not hold" if interval[1] < bound else "undecided"


def averages(stage: Stage) -> list[Row]:
    """Differences or shares of averages over all tasks."""
    claim, share, rows = stage.claim, stage.claim.kind == "share", []
    roles = [claim.model, *claim.against, *([claim.floor] if share else [])]
    names, results = zip(*map(stage.answers, roles), strict=True)
    found = average(results, seed=stage.said.seed)
    values = {"average": dict(zip(names, found.values.tolist(), strict=True)), "tasks": found.tasks}
    for place, other in enumerate(names[1 : len(claim.against) + 1], start=1):
        gap = found.share(0, place, len(names) - 1) if share else found.difference(0, place)
        compared = f"{names[0]} of {other} over {names[-1]}" if share else f"{names[0]} - {other}"
        rows.append(Row(stage.on, compared, verdict(gap.interval, claim.bound), gap.value, gap.interval, gap.p, values))
    return rows


def every_task(stage: Stage) -> list[Row]:
    """Paired tests on every task, one family."""
    name, own = stage.answers(stage.claim.model)
    compared = compare(own, *(stage.answers(role)[1] for role in stage.claim.against), reference=name)
    if lost := compared.not_comparable:
        raise InputError(f"{stage.on}: {lost[0].setting}: {lost[0].reason}")
    rows = []
    for one in compared.differences:
        (low, high), title = one.interval, f"{name} - {one.model} on {one.setting}"
        values = {name: one.reference_value, one.model: one.value, "q": one.q, "test": one.test}
        rows.append(Row(stage.on, title, OTHER_IS[one.verdict], -one.difference, (-high, -low), one.p, values))
    return rows


def pitch_classes(stage: Stage) -> list[Row]:
    """Accuracy over the twelve classes that remain of notes such as C#4."""
    name, results = stage.answers(stage.claim.model)
    rows = []
    for one in results:
        found = estimate(METRICS["accuracy"], [folded(item) for item in one.items])
        told = verdict(found.interval, stage.claim.bound)
        rows.append(Row(stage.on, f"{name} on {one.task.name}", told, found.value, found.interval))
    return rows


def folded(item: Scored) -> Scored:
    """A note's item without octaves."""
    label, *answers = (re.sub(r"-?\d+$", "", str(note)) for note in (item.label, *item.predictions))
    return item.model_copy(update={"label": label, "predictions": tuple(answers)})


KINDS = {"difference": averages, "share": averages, "every task": every_task, "pitch classes": pitch_classes}


def judge(said: Claims, home: Path) -> list[dict[str, Any]]:
    """Every claim with its rows and its verdict; `home` is where results files are looked for."""
    entries = cache(lambda on: gather([home / path for path in said.results.get(on, ())])[0])
    judged = []
    for claim in said.claims:
        rows: list[Row] = []
        for on in claim.where:
            try:
                rows += KINDS[claim.kind](Stage(claim, said, on, entries(on)))
            except InputError as error:
                rows.append(Row(on, claim.model, "undecided", why=str(error)))
        whole = min((row.verdict for row in rows), key=("does not hold", "undecided", "holds").index)
        judged.append(claim.model_dump() | {"verdict": whole, "rows": [asdict(row) for row in rows]})
    return judged


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "claims.yaml"
    said = validated(Claims, read_yaml(path), path)
    judged = judge(said, path.parent)
    for claim in judged:
        print(f"{claim['verdict']:<14} {claim['name']}: {claim['says']}")
        for row in claim["rows"]:
            told = row["why"] or "{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]".format(**row)
            print(f"    {row['verdict']:<14} {row['on']}: {row['compared']}: {told}")
    content = {"about": circumstances(1).to_dict(), "seed": said.seed, "claims": judged}
    output = path.parent / "results" / f"claims-{said.name}.json"
    write_file(output, json.dumps(content, indent=2) + "\n", overwrite=True)
    print(f"written to {output}")


if __name__ == "__main__":
    main()
