"""Weight matching: scrambles found again, products never lower than before, cosines as defined."""

from collections.abc import Callable

import pytest
import tiny
import torch
from torch import Tensor

from crossfade.alignment.assignment import assign, orders
from crossfade.alignment.permutations import check, compose, identity, invert, permute, random_permutations
from crossfade.alignment.weights import cosine_scores, match_weights, weight_scores
from crossfade.encoders.encoder import Encoder
from crossfade.encoders.families import POINTS

Moved = Callable[[str], Tensor]


def moved(encoder: Encoder, permutations: dict[str, Tensor]) -> Moved:
    tensors = encoder.layout.tensors
    return lambda name: permute(encoder.read(name), tensors[name], permutations)


def product(ours: Moved, theirs: Moved, encoder: Encoder) -> float:
    """What weight matching raises: the inner product of all weights whose axes move."""
    names = [name for name, spec in encoder.layout.tensors.items() if any(spec.axes)]
    return sum(float((ours(name).double() * theirs(name).double()).sum()) for name in names)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_a_scramble_is_undone_exactly(name: str, seed: int, encoders) -> None:
    encoder = encoders(name, 1)
    scramble = random_permutations(encoder.layout, POINTS, torch.Generator().manual_seed(seed))
    found = match_weights(encoder.read, moved(encoder, scramble), encoder.layout, POINTS, seed=seed)
    undo = invert(scramble)
    assert all(torch.equal(found[key], undo[key]) for key in undo)


@pytest.mark.parametrize("point", POINTS)
def test_one_point_is_undone_alone(point: str, encoders) -> None:
    encoder = encoders("hubert", 1)
    scramble = random_permutations(encoder.layout, (point,), torch.Generator().manual_seed(2))
    found = match_weights(encoder.read, moved(encoder, scramble), encoder.layout, (point,))
    undo = invert(scramble)
    assert all(torch.equal(found[key], undo[key]) for key in undo)


@pytest.mark.parametrize("name", ["hubert", "wavlm-stable", "data2vec-audio"])
def test_strangers_come_closer_and_no_single_turn_brings_more(name: str, encoders) -> None:
    ours, theirs = encoders(name, 1), encoders(name, 2)
    points = POINTS[:3]
    found = match_weights(ours.read, theirs.read, ours.layout, points)
    check(found, ours.layout, "matched")
    reached = product(ours.read, moved(theirs, found), ours)
    assert reached > product(ours.read, theirs.read, ours) + 10
    tensors = [{key: read(key) for key in ours.layout.tensors} for read in (ours.read, moved(theirs, found))]
    for members in orders(ours.layout).values():
        names = [member.name for member in members if not member.name.startswith("pos")]
        step = assign({key: weight_scores(key, *tensors, ours.layout) for key in names}, ours.layout, points)
        turned = compose(found, {key: step[key] for key in names})
        assert product(ours.read, moved(theirs, turned), ours) <= reached + 1e-6


@pytest.mark.parametrize("point", POINTS)
def test_only_the_chosen_points_move(point: str, encoders) -> None:
    ours, theirs = encoders("data2vec-audio", 1), encoders("data2vec-audio", 2)
    found = match_weights(ours.read, theirs.read, ours.layout, (point,))
    for key, index in found.items():
        permutation = ours.layout.permutations[key]
        still = torch.equal(index, torch.arange(permutation.size))
        assert still == (point not in (permutation.point, permutation.order.point))


def test_the_seed_decides(encoders) -> None:
    ours, theirs = encoders("hubert", 1), encoders("hubert", 2)
    runs = [match_weights(ours.read, theirs.read, ours.layout, POINTS, seed=5) for _ in range(2)]
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])


def test_the_score_of_a_channel_is_all_that_touches_it(encoders) -> None:
    encoder = encoders("hubert", 1)
    ours, theirs = ({key: encoders("hubert", seed).read(key) for key in encoder.layout.tensors} for seed in (1, 2))
    layer = "encoder.layers.1.feed_forward"
    score = weight_scores("ff.1", ours, theirs, encoder.layout)
    expected = (
        ours[f"{layer}.intermediate_dense.weight"] @ theirs[f"{layer}.intermediate_dense.weight"].T
        + torch.outer(ours[f"{layer}.intermediate_dense.bias"], theirs[f"{layer}.intermediate_dense.bias"])
        + ours[f"{layer}.output_dense.weight"].T @ theirs[f"{layer}.output_dense.weight"]
    )
    torch.testing.assert_close(score, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_cosines_of_a_scramble_are_one_where_it_was_undone(name: str, encoders) -> None:
    encoder = encoders(name, 1)
    scramble = random_permutations(encoder.layout, POINTS, torch.Generator().manual_seed(8))
    undo = invert(scramble)
    scores = cosine_scores(encoder.read, moved(encoder, scramble), encoder.layout, POINTS, undo)
    assert scores.keys() == encoder.layout.permutations.keys()
    for key, score in scores.items():
        assert score.abs().max() <= 1 + 1e-5
        matched = score[torch.arange(len(score)), undo[key]]
        torch.testing.assert_close(matched, torch.ones(len(score)), atol=1e-5, rtol=0)
        assert float(score.mean()) < 0.9


def test_cosines_are_given_for_the_chosen_points_only(encoders) -> None:
    encoder = encoders("hubert", 1)
    scores = cosine_scores(encoder.read, encoder.read, encoder.layout, ("feed_forward",), identity(encoder.layout))
    assert scores.keys() == {"ff.0", "ff.1", "ff.2"}
