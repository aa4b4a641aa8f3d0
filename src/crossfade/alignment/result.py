"""An alignment: the permutations that bring OTHER into REFERENCE's basis, and how well they match."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossfade.alignment.permutations import Permutations, check
from crossfade.encoders.encoder import Encoder
from crossfade.encoders.families import POINTS
from crossfade.encoders.layout import Layout
from crossfade.encoders.sidecars import read_json
from crossfade.errors import InputError, nearest

FILE = "alignment.json"
SCHEMA = 1

FRAMES_PER_CHANNEL = 10
"""Frames heard, for every channel of the widest layer, below which an alignment says that it heard little."""


@dataclass(frozen=True)
class Match:
    """How one permutation matches: mean score of paired channels before and after, and the share of channels moved.

    Scores are correlations in [-1, 1] for correlation matching, cosines of the channels' weights for weight matching.
    """

    permutation: str
    point: str
    before: float
    after: float
    moved: float


@dataclass(frozen=True)
class Alignment:
    """Permutations of `other` (hash `other_sha256`) into the basis of `reference`.

    `points` were free to move; `matches` has one row per permutation that was scored; `settings` says how it was found;
    `skipped` names the audio that could not be used, with reasons.
    """

    reference: str
    other: str
    reference_sha256: str
    other_sha256: str
    method: str
    points: tuple[str, ...]
    permutations: Permutations
    matches: tuple[Match, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    skipped: tuple[tuple[str, str], ...] = ()

    def mean(self, column: str = "after", point: str | None = None) -> float:
        """Mean of a column of `matches`, over all of them or those of one point."""
        values = [getattr(match, column) for match in self.matches if point in (None, match.point)]
        return sum(values) / len(values) if values else float("nan")

    def by_point(self) -> list[dict[str, Any]]:
        """One row for each point that moved: how many permutations, and the means of their matches."""
        return [
            {
                "point": point,
                "permutations": sum(match.point == point for match in self.matches),
                **{column: self.mean(column, point) for column in ("before", "after", "moved")},
            }
            for point in self.points
        ]

    @property
    def notes(self) -> tuple[str, ...]:
        """What makes the matches less firm than they could be."""
        widest = max(len(index) for index in self.permutations.values())
        frames = self.settings.get("frames")
        if frames is None or frames >= FRAMES_PER_CHANNEL * widest:
            return ()
        return (
            f"{frames:,} frames entered the statistics of layers up to {widest:,} wide; "
            f"matches are firm from about {FRAMES_PER_CHANNEL * widest:,}: give more audio",
        )

    def __repr__(self) -> str:
        return (
            f"Alignment({self.other!r} -> {self.reference!r}, {self.method}, {len(self.matches)} permutations, "
            f"matched {self.mean('before'):.3f} -> {self.mean('after'):.3f}, moved {self.mean('moved'):.0%})"
        )

    def to_dict(self) -> dict[str, Any]:
        """What a reader wants to know: everything but the permutations themselves."""
        rows = [asdict(match) for match in self.matches]
        means = {column: self.mean(column) for column in ("before", "after", "moved")}
        content = {key: getattr(self, key) for key in ("reference", "other", "method", "points", "settings", "skipped")}
        return {**content, **means, "notes": self.notes, "matches": rows}

    def save(self, folder: Path) -> None:
        """Write alignment.json into `folder`."""
        content = asdict(self) | {
            "schema": SCHEMA,
            "matches": [asdict(match) for match in self.matches],
            "permutations": {name: index.tolist() for name, index in self.permutations.items()},
        }
        (folder / FILE).write_text(json.dumps(content) + "\n")


def load_alignment(folder: Path, reference: Encoder, other: Encoder) -> Alignment:
    """The alignment kept in `folder`; InputError unless it was made for exactly these two models."""
    path = folder / FILE
    if not path.exists():
        raise InputError(f"{folder}: no {FILE} in this folder; make one with: crossfade align REFERENCE OTHER -o DIR")
    content = read_json(path)
    if content.get("schema") != SCHEMA:
        raise InputError(f"{path}: schema {content.get('schema')!r}, expected {SCHEMA}; align these models again")
    check_models(content, reference, other, str(path))
    try:
        permutations = {name: torch.tensor(index, dtype=torch.int64) for name, index in content["permutations"].items()}
        matches = tuple(Match(**match) for match in content["matches"])
        fields = {name: content[name] for name in ("reference", "other", "reference_sha256", "other_sha256", "method")}
        points, settings = tuple(content["points"]), content["settings"]
        skipped = tuple((name, reason) for name, reason in content["skipped"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not a complete alignment ({error}); align these models again") from None
    check(permutations, other.layout, str(path))
    return Alignment(
        **fields, points=points, permutations=permutations, matches=matches, settings=settings, skipped=skipped
    )


def check_models(made: Mapping[str, Any], reference: Encoder, other: Encoder, source: str) -> None:
    """InputError unless the alignment whose fields are `made` was made for exactly these two models."""
    for role, encoder in (("reference", reference), ("other", other)):
        if made.get(f"{role}_sha256") != encoder.sha256:
            raise InputError(
                f"{source}: made for {role} {made.get(role)!r} (sha256 {str(made.get(f'{role}_sha256'))[:12]}), "
                f"received {encoder.name} with other weights (sha256 {encoder.sha256[:12]}); align these models again"
            )


def check_points(points: Collection[str]) -> tuple[str, ...]:
    """The points in their usual order; InputError for an unknown one."""
    for point in points:
        if point not in POINTS:
            raise InputError(f"points: {point!r} is no point to align; {nearest(point, POINTS)}")
    if not points:
        raise InputError(f"points: none received, expected some of {', '.join(POINTS)}")
    return tuple(point for point in POINTS if point in points)


def measure(scores: Mapping[str, Tensor], permutations: Permutations, layout: Layout) -> tuple[Match, ...]:
    """One row per scored permutation; scores are (size, size) matrices of correlations or cosines."""
    rows = []
    for name, permutation in layout.permutations.items():
        if name not in scores:
            continue
        score, index = scores[name], permutations[name]
        channels = torch.arange(permutation.size)
        moved = (index != channels).float().mean()
        before, after = score.diagonal().mean(), score[channels, index].mean()
        rows.append(Match(name, permutation.point, float(before), float(after), float(moved)))
    return tuple(rows)


def match_table(alignment: Alignment) -> str:
    """A Markdown table: matched score before and after, and share of channels moved, for each permutation."""
    rows = ["| permutation | point | before | after | moved |", "|---|---|---|---|---|"]
    for match in alignment.matches:
        rows.append(
            f"| {match.permutation} | {match.point} | {match.before:.3f} | {match.after:.3f} | {match.moved:.1%} |"
        )
    return "\n".join(rows)
