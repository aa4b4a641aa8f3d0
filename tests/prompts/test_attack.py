"""Prompts made to do harm, within a budget."""

import prompted
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossfade.errors import InputError
from crossfade.prompts.attach import Handle
from crossfade.prompts.attack import attack, randomly_changed
from crossfade.prompts.drift import changes, record_of


def drawn(seed: int) -> Tensor:
    return torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=10)
@given(seed=st.integers(0, 999), epsilon=st.floats(0.01, 2))
def test_the_worst_of_a_plane_is_found_exactly(seed: int, epsilon: float) -> None:
    tuned, slope = drawn(seed), drawn(seed + 1)
    found = attack(tuned, lambda vectors: (vectors * slope).sum(), epsilon=epsilon, steps=30, seed=seed)
    radius = epsilon * tuned.norm()
    assert float((found.vectors - tuned).norm()) <= float(radius) * (1 + 1e-5)
    best = float((tuned * slope).sum() + radius * slope.norm())
    assert float((found.vectors * slope).sum()) == pytest.approx(best, abs=0.05 * float(radius * slope.norm()))
    assert len(found.losses) == 30
    assert found.losses[0] == pytest.approx(float((randomly_changed(tuned, epsilon, seed) * slope).sum()), abs=1e-3)


def test_the_same_seed_finds_the_same() -> None:
    tuned, slope = drawn(0), drawn(1)

    def loss(vectors: Tensor) -> Tensor:
        return (vectors * slope).sum().sin()

    one, same, other = (attack(tuned, loss, epsilon=0.5, steps=5, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.vectors, same.vectors)
    assert one.losses == same.losses
    assert not torch.equal(one.vectors, other.vectors)
    assert torch.equal(tuned, drawn(0))


def test_one_change_for_all_clips() -> None:
    """The loss may listen to another clip at every step."""
    tuned, clips = torch.zeros(1, 1, 2) + 0.5, [torch.tensor([4.0, 1.0]), torch.tensor([-1.0, 1.0])] * 20
    order = iter(clips)
    found = attack(tuned, lambda vectors: (vectors[0, 0] * next(order)).sum(), epsilon=1.0, steps=40)
    mean = (clips[0] + clips[1]) / 2
    change = (found.vectors - tuned)[0, 0]
    assert float(torch.cosine_similarity(change, mean, dim=0)) > 0.9


def test_an_attacker_who_hides_from_a_check_of_norms() -> None:
    tuned = drawn(0)
    record = record_of(tuned)

    def loss(vectors: Tensor) -> Tensor:
        return (vectors * tuned.roll(1, -1)).sum() + vectors.square().sum()

    open_, hidden = (attack(tuned, loss, epsilon=1.0, within=within).vectors for within in (None, record))
    assert "are longer than any was" in changes(open_, record)
    assert "none is longer" in changes(hidden, record)
    assert float((hidden - tuned).norm()) <= float(tuned.norm()) * (1 + 1e-5)
    assert float(loss(tuned)) < float(loss(hidden)) < float(loss(open_))


def test_attacked_prompts_move_an_encoder_further_than_random_ones(listeners) -> None:
    listen = listeners("hubert")
    prompts = prompted.prompts(listen.model)
    sound = [torch.randn(1200, generator=torch.Generator().manual_seed(0))]
    with torch.no_grad(), prompts.attached(listen.model):
        plain = listen(sound)[0][-1]

    def moved(vectors: Tensor) -> Tensor:
        handle = Handle(listen.model, prompts.config, lambda: vectors)
        try:
            return (listen(sound)[0][-1] - plain).square().mean()
        finally:
            handle.detach()

    found = attack(prompts.vectors, moved, epsilon=0.3, steps=8)
    assert float(moved(found.vectors)) > 2 * found.losses[0] > 0
    assert found.losses[-1] == max(found.losses)


def test_budgets_and_losses_that_make_no_attack() -> None:
    for epsilon, steps in ((0.0, 5), (1.0, 0), (-1.0, 5)):
        with pytest.raises(InputError, match="attack: expected epsilon and steps above 0"):
            attack(drawn(0), Tensor.sum, epsilon=epsilon, steps=steps)
    with pytest.raises(InputError, match="attack: the loss is nan at step 0"):
        attack(drawn(0), lambda vectors: vectors.sum() * torch.nan, epsilon=1.0)
