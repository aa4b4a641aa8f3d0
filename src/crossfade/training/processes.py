"""Several processes of one training, as `accelerate launch` starts them; or one, which needs no talk."""

from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import distributed, nn

T = TypeVar("T")


def gathered(one: T) -> list[T]:
    """What every process has, in their order; all of them must ask."""
    if not distributed.is_initialized():
        return [one]
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, one)
    return found


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """What DistributedDataParallel does in a plain backward pass: every gradient becomes the mean of all processes'.

    Parameters without a gradient in any process stay without one.
    """
    if not distributed.is_initialized():
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    used = torch.tensor([float(parameter.grad is not None) for parameter in trained], device=trained[0].device)
    distributed.all_reduce(used)
    for parameter, count in zip(trained, used.tolist(), strict=True):
        if count:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            distributed.all_reduce(parameter.grad)
            parameter.grad /= distributed.get_world_size()
