"""Assignment against brute force over every arrangement that the structure allows, and what must never move."""

from collections.abc import Iterator, Sequence
from itertools import permutations, product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossfade.alignment.assignment import assign, orders
from crossfade.alignment.permutations import check, random_permutations
from crossfade.encoders.families import POINTS
from crossfade.encoders.layout import Layout, Permutation, read_layout

SMALL = {
    "conv_dim": [4],
    "conv_kernel": [4],
    "conv_stride": [2],
    "hidden_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 5,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
STACK = {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 3}
# Two blocks of the stream each: there the search by turns starts from every order of blocks, so it is exact.
HEADS_IN_GROUPS = {"hidden_size": 8, "num_attention_heads": 4, "num_conv_pos_embedding_groups": 2}
GROUPS_IN_HEADS = {"hidden_size": 8, "num_attention_heads": 2, "num_conv_pos_embedding_groups": 4}
ACROSS = {"hidden_size": 12, "num_attention_heads": 4, "num_conv_pos_embedding_groups": 6}


def small(model_type: str, **changes: Any) -> Layout:
    return read_layout({"model_type": model_type, **SMALL, **changes}, model_type)


LAYOUTS = {
    "heads and groups of two": small("hubert"),
    "three groups, one head": small(
        "hubert", hidden_size=6, num_attention_heads=1, num_conv_pos_embedding_groups=3, intermediate_size=3
    ),
    "three heads, one group": small(
        "wav2vec2", hidden_size=6, num_attention_heads=3, num_conv_pos_embedding_groups=1, intermediate_size=3
    ),
    "stacked positional convolutions": small("data2vec-audio", **STACK),
    "gated, heads are groups": small("wavlm"),
    "gated, heads in groups": small("wavlm", **HEADS_IN_GROUPS),
    "gated, groups in heads": small("wavlm", **GROUPS_IN_HEADS),
    "gated, heads across groups": small("wavlm", **ACROSS),
}


def insides(permutation: Permutation) -> Iterator[list[int]]:
    """Every order of the channels of a permutation whose blocks stay."""
    period = permutation.tied or permutation.size
    for cells in product(permutations(range(permutation.cell)), repeat=period // permutation.cell):
        run = [place * permutation.cell + channel for place, cell in enumerate(cells) for channel in cell]
        yield [start + channel for start in range(0, permutation.size, period) for channel in run]


def total(score: Tensor, index: Sequence[int]) -> float:
    return float(score[torch.arange(len(score)), torch.tensor(index)].sum())


def best(members: list[Permutation], scores: dict[str, Tensor]) -> float:
    """The highest total of permutations that share an order of blocks, everything free, by trying all."""
    reached = -float("inf")
    for blocks in permutations(range(members[0].order.blocks)):
        for mirror in (False, True) if any(m.tied for m in members) else (False,):
            gain = 0.0
            for m in members:
                ways = []
                for inside in insides(m):
                    index = [blocks[c // m.block] * m.block + c % m.block for c in inside]
                    ways.append(total(scores[m.name], [m.size - 1 - c for c in index] if mirror else index))
                gain += max(ways)
            reached = max(reached, gain)
    return reached


def random_scores(layout: Layout, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(p.size, p.size, generator=generator) for name, p in layout.permutations.items()}


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=5)
@given(seed=st.integers(0, 9999))
def test_the_optimum_is_that_of_brute_force(name: str, seed: int) -> None:
    layout = LAYOUTS[name]
    scores = random_scores(layout, seed)
    found = assign(scores, layout, POINTS)
    check(found, layout, "assigned")
    for members in orders(layout).values():
        reached = sum(total(scores[m.name], found[m.name].tolist()) for m in members)
        assert reached == pytest.approx(best(members, scores), abs=1e-4)


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=20)
@given(seed=st.integers(0, 9999), points=st.sets(st.sampled_from(POINTS)))
def test_what_is_not_free_stays(name: str, seed: int, points: set[str]) -> None:
    layout = LAYOUTS[name]
    found = assign(random_scores(layout, seed), layout, points)
    check(found, layout, "assigned")
    for key, index in found.items():
        permutation = layout.permutations[key]
        if permutation.order.point not in points:
            blocks = index // permutation.block
            assert torch.equal(blocks, torch.arange(permutation.size) // permutation.block)
        if permutation.point not in points:
            assert torch.equal(index % permutation.cell, torch.arange(permutation.size) % permutation.cell)


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=20)
@given(seed=st.integers(0, 9999), points=st.sets(st.sampled_from(POINTS), min_size=1))
def test_a_planted_arrangement_is_found_in_noise(name: str, seed: int, points: set[str]) -> None:
    layout = LAYOUTS[name]
    planted = random_permutations(layout, points, torch.Generator().manual_seed(seed))
    scores = {key: 0.4 * score.tanh() for key, score in random_scores(layout, seed).items()}
    for key, index in planted.items():
        scores[key][torch.arange(len(index)), index] = 1.0
    found = assign(scores, layout, points)
    assert all(torch.equal(found[key], planted[key]) for key in planted)


def test_without_scores_nothing_moves() -> None:
    layout = LAYOUTS["gated, heads in groups"]
    assert all(torch.equal(index, torch.arange(len(index))) for index in assign({}, layout, POINTS).values())


def test_heads_and_their_channels_are_told_apart() -> None:
    layout = LAYOUTS["heads and groups of two"]
    qk, vo = torch.zeros(4, 4), torch.zeros(4, 4)
    qk[0, 1] = qk[1, 0] = 1.0  # alone, q·k would turn the channels of head 0 and leave head 1
    vo[0, 2] = vo[1, 3] = 3.0  # v·o wants the heads exchanged, and decides for both
    found = assign({"qk.0": qk, "vo.0": vo}, layout, ("attention",))
    assert found["vo.0"].tolist() == [2, 3, 0, 1]
    assert (found["qk.0"] // 2).tolist() == [1, 1, 0, 0]
    assert assign({"qk.0": qk}, layout, ("attention",))["qk.0"].tolist() == [1, 0, 2, 3]
