"""Gradients of teachers that disagree, projected off each other: PCGrad (2001.06782)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def project(gradients: Tensor, generator: torch.Generator) -> Tensor:
    """The projected gradients (k, n) of k teachers' gradients (k, n); the step to take is their sum.

    Gradient i goes through the others in random order; from each, j, that it disagrees with by then (a negative inner
    product) it loses its part along it: g_i <- g_i - (g_i · g_j / |g_j|²) g_j, with g_j as it was. Inner products
    of what is given are all that this takes, so the gradients themselves are gone through twice, however many.
    """
    made = torch.eye(len(gradients), dtype=torch.float64)
    products = (gradients @ gradients.T).double().cpu()
    for row in range(len(gradients)):
        for other in torch.randperm(len(gradients), generator=generator).tolist():
            along, square = made[row] @ products[:, other], products[other, other]
            if other != row and along < 0 < square:
                made[row, other] -= along / square
    return made.to(gradients) @ gradients


def backward(
    losses: Sequence[Tensor],
    student: Sequence[nn.Parameter],
    translators: Sequence[nn.Parameter],
    generator: torch.Generator,
) -> None:
    """In place of `sum(losses).backward()`: what teachers disagree about in the student is projected away.

    One loss a teacher, its weight in it; k backward passes. Added to `.grad` is the sum of the projected gradients for
    the student's parameters, taken as one vector, and the plain sum for the translators'. Parameters that no loss
    reaches, or that need no gradient, keep what they have. Scaled losses give scaled gradients. Processes that train
    together project each its own, before these are averaged.
    """
    shared, own = ([one for one in some if one.requires_grad] for some in (student, translators))
    found = [
        torch.autograd.grad(loss, [*shared, *own], retain_graph=number < len(losses) - 1, allow_unused=True)
        for number, loss in enumerate(losses)
    ]
    rows = torch.stack([_row(gradients, shared) for gradients in found])
    steps = torch.split(project(rows, generator).sum(0), [parameter.numel() for parameter in shared])
    columns = list(zip(*found, strict=True))
    for parameter, step, column in zip(shared, steps, columns, strict=False):
        if any(gradient is not None for gradient in column):
            _add(parameter, step.view_as(parameter))
    for parameter, column in zip(own, columns[len(shared) :], strict=True):
        for gradient in column:
            if gradient is not None:
                _add(parameter, gradient)


def _row(gradients: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
    """The gradients of `parameters`, with which `gradients` begin, as one vector; None is zero."""
    pairs = zip(gradients, parameters, strict=False)
    return torch.cat([(torch.zeros_like(to) if one is None else one).flatten() for one, to in pairs])


def _add(parameter: nn.Parameter, gradient: Tensor) -> None:
    # A copy: what autograd returns may be the gradient of two parameters, and is changed in place by clipping.
    parameter.grad = gradient.clone() if parameter.grad is None else parameter.grad + gradient
