"""Weight matching without data: Git Re-Basin's coordinate descent (2209.04836, algorithm 1).

Permutations are visited in random order, those that share an order of blocks together. Each visit takes the products of
both models' weights over every axis that carries the permutation, with OTHER moved by all current permutations, solves
the assignment and keeps it when the weights have come closer.
"""

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from crossfade.alignment.assignment import assign, orders
from crossfade.alignment.permutations import Permutations, compose, identity, permute
from crossfade.encoders.layout import Layout

SWEEPS = 100
"""Sweeps after which the descent stops even if it still gains."""

Weights = Callable[[str], Tensor]


def match_weights(
    reference: Weights, other: Weights, layout: Layout, points: Collection[str], *, seed: int = 0
) -> dict[str, Tensor]:
    """Permutations of OTHER that raise <reference, permuted other> until no visit gains.

    `reference` and `other` give the tensor of a name. The first sweep goes up the network and listens only to tensors
    whose other axes are settled; the following ones visit in random order. The columns of a grouped convolution follow
    their rows: they decide nothing themselves.
    """
    generator = torch.Generator().manual_seed(seed)
    names = [name for name, spec in layout.tensors.items() if any(spec.axes)]
    ours = {name: reference(name).float() for name in names}
    moved = {name: other(name).float() for name in names}
    visits = _bottom_up([[member.name for member in members] for members in orders(layout).values()])
    current, settled = identity(layout), set[str]()
    for sweep in range(SWEEPS):
        gained = sweep == 0
        turns = torch.randperm(len(visits), generator=generator).tolist() if sweep else range(len(visits))
        for members in (visits[turn] for turn in turns):
            settled |= set(members)
            heard = {n: ours[n] for n in names if _permutations(n, layout) <= settled}
            step = assign({n: weight_scores(n, heard, moved, layout) for n in members}, layout, points)
            step = {name: step[name] for name in members}
            touched = [n for n in heard if _permutations(n, layout) & set(members)]
            candidate = {
                n: permute(moved[n], layout.tensors[n], step) for n in names if _permutations(n, layout) & set(members)
            }
            gain = sum(float((ours[n] * (candidate[n] - moved[n])).sum(dtype=torch.float64)) for n in touched)
            if gain > 1e-9:
                current, gained = compose(current, step), True
                moved |= candidate
        if not gained:
            break
    return current


def _bottom_up(visits: list[list[str]]) -> list[list[str]]:
    """Visits in the order in which sound passes: the CNN, the residual stream, then layer by layer."""
    stages = {"conv": 0, "residual": 1, "pos": 2}

    def stage(members: list[str]) -> tuple[int, int]:
        kinds = [name.partition(".") for name in members]
        return min((stages.get(kind, 3), int(number or 0)) for kind, _, number in kinds)

    return sorted(visits, key=stage)


def _permutations(tensor: str, layout: Layout) -> set[str]:
    """The permutations that the axes of `tensor` carry."""
    return {axis.permutation for axis in layout.tensors[tensor].axes if axis}


def weight_scores(name: str, ours: dict[str, Tensor], theirs: dict[str, Tensor], layout: Layout) -> Tensor:
    """Score (size, size) of the permutation `name`: products of both models' weights over the axes that carry it."""
    size = layout.permutations[name].size
    score = torch.zeros(size, size)
    for tensor in (carrier for carrier in _carriers(name, layout) if carrier in ours):
        for dim, axis in enumerate(layout.tensors[tensor].axes):
            if axis and axis.permutation == name and axis.view == "channels":
                rows = [t[tensor].movedim(dim, 0).reshape(size, -1) for t in (ours, theirs)]
                score += rows[0] @ rows[1].T
    return score


def cosine_scores(
    reference: Weights, other: Weights, layout: Layout, points: Collection[str], permutations: Permutations
) -> dict[str, Tensor]:
    """Cosine (size, size) of both models' weights for each free permutation, every other axis of OTHER already moved.

    Entry [i, j] compares what REFERENCE's channel i and OTHER's channel j hold on every axis that carries them.
    """
    ours = {name: reference(name).float() for name, spec in layout.tensors.items() if any(spec.axes)}
    scores = {}
    for name, permutation in layout.permutations.items():
        if permutation.point in points:
            # A tensor may carry it twice, as rows and as columns in groups: move both, then put the rows back.
            carriers = _carriers(name, layout)
            theirs = {key: permute(other(key).float(), layout.tensors[key], permutations) for key in carriers}
            norms = [
                weight_scores(name, side, side, layout).diagonal().clamp_min(1e-30).sqrt() for side in (ours, theirs)
            ]
            moved = weight_scores(name, ours, theirs, layout) / norms[0][:, None] / norms[1]
            scores[name] = moved[:, torch.argsort(permutations[name])]
    return scores


def _carriers(name: str, layout: Layout) -> list[str]:
    """The tensors with an axis that carries the permutation `name` as it is."""
    return [
        tensor
        for tensor, spec in layout.tensors.items()
        if any(axis and axis.permutation == name and axis.view == "channels" for axis in spec.axes)
    ]
