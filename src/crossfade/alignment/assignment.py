"""From scores to permutations: the exact linear assignment under each permutation's structure.

A score matrix S (size, size) holds in S[i, j] what is gained by putting channel j of OTHER where REFERENCE has channel
i. Inside every pair of blocks the channels are assigned first (inner assignment), the sums then decide the order of the
blocks (outer assignment), shared by all permutations of an `Order`. Head-aware matching (Verma & Elbayad, 2403.00986)
with q·k and v·o channels apart, and the group-preserving residual, are both this one problem.
"""

from collections.abc import Collection, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossfade.alignment.permutations import identity, is_free, moves
from crossfade.encoders.layout import Layout, Order, Permutation

Scores = NDArray[np.float64]
Index = NDArray[np.int64]

TIED_STARTS = 8
"""Starts of the alternating search where channels are tied (see `_assign_tied`)."""


def assign(scores: Mapping[str, Tensor], layout: Layout, points: Collection[str]) -> dict[str, Tensor]:
    """The permutations with the highest total score among those that `points` leave free.

    `scores` maps permutation names to (size, size) matrices; a free permutation without a score keeps its channels.
    The optimum is exact for every family but WavLM's residual stream, where heads and tied channels are found by turns.
    """
    result = identity(layout)
    for order, members in orders(layout).items():
        matrices = {m.name: scores[m.name].double().numpy() for m in members if m.name in scores}
        if matrices:
            found = _assign_order(order, members, matrices, points)
            result |= {name: torch.from_numpy(index) for name, index in found.items()}
    return result


def orders(layout: Layout) -> dict[Order, list[Permutation]]:
    """The permutations that must be found together because they share an order of blocks."""
    shared: dict[Order, list[Permutation]] = {}
    for permutation in layout.permutations.values():
        shared.setdefault(permutation.order, []).append(permutation)
    return shared


def _assign_order(
    order: Order, members: list[Permutation], scores: Mapping[str, Scores], points: Collection[str]
) -> dict[str, Index]:
    """Solve for all permutations that share an order of blocks."""
    if any(m.tied for m in members) and moves(order, points):
        return _assign_tied(members, scores, points)
    inner = {
        m.name: _inner(scores.get(m.name), m, m.name in scores and is_free(m, points), moves(order, points))
        for m in members
    }
    gains: Scores = np.sum([gain for gain, _ in inner.values()], axis=0)
    blocks = _best(gains) if moves(order, points) else np.arange(order.blocks)
    return {
        m.name: np.concatenate([blocks[b] * m.block + inner[m.name][1][b, blocks[b]] for b in range(order.blocks)])
        for m in members
    }


def _inner(score: Scores | None, permutation: Permutation, free: bool, all_pairs: bool) -> tuple[Scores, Index]:
    """Gain (blocks, blocks) and channel order (blocks, blocks, block) of the best match inside every pair of blocks."""
    blocks, block = permutation.order.blocks, permutation.block
    gains = np.zeros((blocks, blocks))
    index = np.broadcast_to(np.arange(block), (blocks, blocks, block)).copy()
    if score is None:
        return gains, index
    for a in range(blocks):
        for b in range(blocks) if all_pairs else (a,):
            pair = score[a * block : (a + 1) * block, b * block : (b + 1) * block]
            if free:
                index[a, b] = _assign_cells(pair, permutation.cell)
            gains[a, b] = pair[np.arange(block), index[a, b]].sum()
    return gains, index


def _assign_cells(score: Scores, cell: int) -> Index:
    """The best order of channels that stay inside their cells."""
    starts = range(0, len(score), cell)
    cells = [_best(score[s : s + cell, s : s + cell]) + s for s in starts]
    return np.concatenate(cells)


def _assign_tied(members: list[Permutation], scores: Mapping[str, Scores], points: Collection[str]) -> dict[str, Index]:
    """WavLM: one order of heads for the stream and all layers, one order of channels for all heads of the stream.

    Mirroring all channels keeps heads and groups together too, so both orientations are tried.
    """
    straight = _solve_tied(members, scores, points)
    mirror = {m.name: _mirror(m, is_free(m, points)) for m in members}
    mirrored = _solve_tied(members, {name: score[:, mirror[name]] for name, score in scores.items()}, points)
    back = {m.name: mirror[m.name][mirrored[m.name]] for m in members}
    return max(straight, back, key=lambda found: _total(found, scores))


def _mirror(permutation: Permutation, free: bool) -> Index:
    """All channels in reverse, or, where the channels inside the cells may not move, all cells in reverse."""
    channels = np.arange(permutation.size)
    return channels[::-1] if free else channels.reshape(-1, permutation.cell)[::-1].flatten()


def _total(found: Mapping[str, Index], scores: Mapping[str, Scores]) -> float:
    return float(sum(score[np.arange(len(score)), found[name]].sum() for name, score in scores.items()))


def _solve_tied(members: list[Permutation], scores: Mapping[str, Scores], points: Collection[str]) -> dict[str, Index]:
    """Alternate between the order of blocks given the tied channels and the tied channels given the order of blocks.

    Each half is an exact assignment, so the total never falls; the first start ranks blocks by their best untied match,
    the others begin from the tied channels that suit one pair of blocks best.
    """
    stream = next(m for m in members if m.tied)
    free = {m.name: m.name in scores and is_free(m, points) for m in members}
    others = {m.name: _inner(scores.get(m.name), m, free[m.name], True) for m in members if m is not stream}
    elsewhere: Scores = np.sum([gain for gain, _ in others.values()], axis=0)
    score = scores.get(stream.name, np.zeros((stream.size, stream.size)))
    best, best_gain = np.arange(stream.size), -np.inf
    blocks = _best(_inner(score, stream, True, True)[0] + elsewhere)
    for start in range(TIED_STARTS):
        if start:
            blocks = np.roll(np.arange(stream.order.blocks), start)
        index, gain = _alternate(score, stream, blocks, elsewhere, free[stream.name])
        if gain > best_gain:
            best, best_gain = index, gain
    order = best[:: stream.block] // stream.block
    found = {
        name: np.concatenate([order[b] * (len(index[0, 0])) + index[b, order[b]] for b in range(len(order))])
        for name, (_, index) in others.items()
    }
    return found | {stream.name: best}


def _best(gains: Scores) -> Index:
    """The column of every row in the assignment with the largest total gain."""
    from scipy.optimize import linear_sum_assignment  # here: it takes longer to import than a merge without it should

    return np.asarray(linear_sum_assignment(gains, maximize=True)[1], dtype=np.int64)


def _alternate(score: Scores, stream: Permutation, blocks: Index, elsewhere: Scores, free: bool) -> tuple[Index, float]:
    """Climb from one order of blocks; return the stream's permutation and its gain."""
    tied, block, count = stream.tied or stream.block, stream.block, stream.order.blocks
    runs = block // tied
    tiles = score.reshape(count, runs, tied, count, runs, tied)
    # by_run[a, b] (tied, tied): gain of tied channels when block b of OTHER stands where REFERENCE has block a.
    by_run = np.einsum("arisrj->asij", tiles)
    gain = -np.inf
    while True:
        inside = _assign_cells(by_run[np.arange(count), blocks].sum(0), stream.cell) if free else np.arange(tied)
        gains = by_run[:, :, np.arange(tied), inside].sum(-1) + elsewhere
        blocks = _best(gains)
        reached = float(gains[np.arange(count), blocks].sum())
        if reached <= gain + 1e-12:
            break
        gain = reached
    channels = (np.arange(runs)[:, None] * tied + inside).flatten()
    return np.concatenate([b * block + channels for b in blocks]), gain
