"""PCGrad against its algorithm written out, its geometry, and what reaches the parameters."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from crossfade.distillation.surgery import backward, project

SEEDS = st.integers(0, 2**32)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gradients(seed: int, teachers: int, size: int) -> Tensor:
    return torch.randn(teachers, size, generator=generator(seed), dtype=torch.float64)


def written_out(rows: Tensor, orders: Sequence[Sequence[int]]) -> Tensor:
    """Algorithm 1 of 2001.06782."""
    projected = rows.clone()
    for one, order in enumerate(orders):
        for other in order:
            if other != one and projected[one] @ rows[other] < 0:
                projected[one] -= projected[one] @ rows[other] / rows[other].square().sum() * rows[other]
    return projected


@given(seed=SEEDS, teachers=st.integers(1, 5), size=st.integers(1, 6))
def test_projections_are_pcgrad_s(seed: int, teachers: int, size: int) -> None:
    rows, drawing = gradients(seed, teachers, size), generator(seed)
    orders = [torch.randperm(teachers, generator=drawing).tolist() for _ in range(teachers)]
    torch.testing.assert_close(project(rows, generator(seed)), written_out(rows, orders), atol=1e-9, rtol=1e-9)


@given(seed=SEEDS, size=st.integers(1, 6))
def test_of_two_neither_is_worked_against(seed: int, size: int) -> None:
    rows = gradients(seed, 2, size)
    first, second = project(rows, generator())
    assert first @ rows[1] >= -1e-12
    assert second @ rows[0] >= -1e-12
    assert ((first + second) @ rows.T >= -1e-12).all()


@given(seed=SEEDS, teachers=st.integers(1, 5), size=st.integers(1, 6))
def test_teachers_that_agree_are_left_alone(seed: int, teachers: int, size: int) -> None:
    agreeing = gradients(seed, teachers, size).abs()
    assert torch.equal(project(agreeing, generator()), agreeing)
    orthogonal = torch.eye(teachers, dtype=torch.float64) * agreeing[:, :1]
    assert torch.equal(project(orthogonal, generator()), orthogonal)


@given(seed=SEEDS, power=st.integers(-20, 20))
def test_a_scale_of_all_is_a_scale_of_the_result(seed: int, power: int) -> None:
    rows = gradients(seed, 4, 5)
    assert torch.equal(project(2.0**power * rows, generator()), 2.0**power * project(rows, generator()))


def test_known_projections() -> None:
    rows = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, 0.0]])
    assert project(rows, generator()).tolist() == [[0.5, 0.5], [0.0, 1.0], [0.0, 0.0]]
    opposite = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])
    assert project(opposite, generator()).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_the_order_is_drawn_by_the_seed() -> None:
    rows = gradients(3, 5, 3)
    found = [project(rows, generator(seed)) for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


# On parameters -------------------------------------------------------------------------------------------------------


class Pupil(nn.Module):
    """A student of two layers, one of them not used, and a translator for each teacher."""

    def __init__(self, teachers: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.student = nn.ModuleList([nn.Linear(4, 3), nn.Linear(2, 2)])
        self.translators = nn.ModuleList(nn.Linear(3, 2) for _ in range(teachers))

    def losses(self, seed: int = 1) -> list[Tensor]:
        sound = torch.randn(8, 4, generator=generator(seed))
        hidden = self.student[0](sound).tanh()
        wanted = torch.randn(len(self.translators), 8, 2, generator=generator(seed + 1))
        return [(head(hidden) - y).square().mean() for head, y in zip(self.translators, wanted, strict=True)]

    def backward(self, losses: list[Tensor]) -> None:
        backward(losses, [*self.student.parameters()], [*self.translators.parameters()], generator())

    def grads(self) -> dict[str, Tensor | None]:
        return {name: parameter.grad for name, parameter in self.named_parameters()}


def plain(pupil: Pupil, losses: list[Tensor]) -> dict[str, Tensor | None]:
    sum(losses).backward()
    return pupil.grads()


def test_the_student_s_gradients_are_projected_as_one_vector() -> None:
    pupil = Pupil(3)
    shared = [*pupil.student[0].parameters()]
    each = [torch.autograd.grad(pupil.losses()[teacher], shared) for teacher in range(3)]
    rows = torch.stack([torch.cat([gradient.flatten() for gradient in gradients]) for gradients in each])
    assert (rows @ rows.T).min() < 0
    expected = project(rows, generator()).sum(0)
    pupil.backward(pupil.losses())
    found = torch.cat([parameter.grad.flatten() for parameter in shared])
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-5)
    assert not torch.allclose(found, rows.sum(0))


def test_translators_get_their_own_teacher_s_gradient() -> None:
    pupil, other = Pupil(3), Pupil(3)
    pupil.backward(pupil.losses())
    for name, expected in plain(other, other.losses()).items():
        if name.startswith("translators"):
            torch.testing.assert_close(pupil.grads()[name], expected)


def test_a_translator_that_is_shared_gets_the_sum() -> None:
    pupil, other = Pupil(2), Pupil(2)
    for one in (pupil, other):
        one.translators[1] = one.translators[0]
    pupil.backward(pupil.losses())
    expected = plain(other, other.losses())["translators.0.weight"]
    torch.testing.assert_close(pupil.grads()["translators.0.weight"], expected)


@pytest.mark.parametrize("teachers", [1, 3])
def test_without_dispute_it_is_backward(teachers: int) -> None:
    pupil, other = Pupil(teachers), Pupil(teachers)
    for one in (pupil, other):
        for head in one.translators:
            head.load_state_dict(one.translators[0].state_dict())
    losses = [pupil.losses()[0]] * teachers
    pupil.backward(losses)
    found, expected = pupil.grads(), plain(other, [other.losses()[0]] * teachers)
    assert [name for name, gradient in found.items() if gradient is None] == [
        name for name, gradient in expected.items() if gradient is None
    ]
    for name, gradient in expected.items():
        if gradient is not None:
            torch.testing.assert_close(found[name], gradient)


def test_gradients_add_up_over_backward_passes() -> None:
    apart, together = [Pupil(3), Pupil(3)], Pupil(3)
    for seed, pupil in enumerate(apart):
        pupil.backward(pupil.losses(10 * seed))
        together.backward(together.losses(10 * seed))
    for name, gradient in together.grads().items():
        if gradient is not None:
            torch.testing.assert_close(gradient, apart[0].grads()[name] + apart[1].grads()[name])


def test_frozen_parameters_stay_without_gradient() -> None:
    pupil = Pupil(2)
    pupil.student[0].bias.requires_grad_(False)
    pupil.backward(pupil.losses())
    untouched = {name for name, gradient in pupil.grads().items() if gradient is None}
    assert untouched == {"student.0.bias", "student.1.weight", "student.1.bias"}
