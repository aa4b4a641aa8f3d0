"""What the name of a published task tells: its place in the benchmark's tree, its language, its usual metrics."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from crossfade.documents import Strict, read_yaml, validated

Kind = Literal["classification", "regression", "generation", "unsupported"]
"""What an answer is: one of the options, a number, a text; or sound, which nothing here can score."""


class _Branch(Strict):
    branch: tuple[str, str]
    find: str
    metrics: tuple[str, ...] = ()


class _Tongue(Strict):
    find: str
    languages: tuple[str, ...]


class _Taxonomy(Strict):
    branches: tuple[_Branch, ...]
    metrics: Mapping[Kind, tuple[str, ...]]
    usual: Mapping[Kind, tuple[str, ...]]
    single: str
    languages: tuple[_Tongue, ...]


@cache
def _known() -> _Taxonomy:
    path = Path(__file__).with_name("taxonomy.yaml")
    return validated(_Taxonomy, read_yaml(path), path)


@cache
def _branch(name: str) -> _Branch | None:
    return next((one for one in _known().branches if re.search(one.find, name)), None)


def branch(name: str) -> tuple[str, ...]:
    """Where an instance belongs, from the root: ("speech", "recognition"); () where its name does not tell."""
    found = _branch(name)
    return found.branch if found else ()


@cache
def languages(name: str) -> tuple[str, ...]:
    """The languages that are heard, as ISO 639-1 codes; () where the name does not tell, or there are many."""
    return next((one.languages for one in _known().languages if re.search(one.find, name)), ())


def usual_metrics(name: str, kind: Kind) -> tuple[str, ...]:
    """What instances of a kind are measured by where nothing says: ours, not published."""
    found = _branch(name)
    if kind != "generation":
        return _known().usual.get(kind, ())
    if found and found.metrics:
        return found.metrics
    return _known().usual["classification"] if re.search(_known().single, name) else ()


def metric_kind(metric: str) -> Kind | None:
    """What kind of answer a metric of an instance.json is of, however it is spelt; None where it is unknown."""
    return next((kind for kind, names in _known().metrics.items() if _bare(metric) in map(_bare, names)), None)


def known_metrics() -> list[str]:
    """The names of metrics, each once."""
    return sorted({name for names in _known().metrics.values() for name in names})


def _bare(metric: str) -> str:
    return re.sub(r"[^a-z0-9]", "", metric.lower())
