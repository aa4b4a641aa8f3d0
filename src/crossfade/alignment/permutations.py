"""The algebra of permutations on an encoder's tensors: apply, compose, invert, check, draw at random.

`Permutations` maps a permutation's name to its index vector (size,) int64: channel `i` of the permuted model is channel
`p[i]` of the original. A name that is absent stands for the identity.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from crossfade.encoders.layout import Axis, Layout, Order, Permutation, TensorSpec
from crossfade.errors import InputError

Permutations = Mapping[str, Tensor]


def identity(layout: Layout) -> dict[str, Tensor]:
    """Every permutation of `layout`, nothing moved."""
    return {name: torch.arange(permutation.size) for name, permutation in layout.permutations.items()}


def invert(permutations: Permutations) -> dict[str, Tensor]:
    """The permutations that undo `permutations`."""
    return {name: torch.argsort(index) for name, index in permutations.items()}


def compose(first: Permutations, then: Permutations) -> dict[str, Tensor]:
    """The permutations that do `first`, then `then`; names missing on one side are identities there."""
    both = {name: index[then[name]] for name, index in first.items() if name in then}
    return {**first, **then, **both}


def permute(tensor: Tensor, spec: TensorSpec, permutations: Permutations) -> Tensor:
    """`tensor` of shape `spec.shape` with every axis moved as `permutations` say."""
    for dim, axis in enumerate(spec.axes):
        if axis is None or axis.permutation not in permutations:
            continue
        index = permutations[axis.permutation].to(tensor.device)
        if axis.view == "groups":
            tensor = _permute_inside_groups(tensor, dim, index, axis.unit)
        else:
            tensor = tensor.index_select(dim, view(index, axis))
    return tensor


def view(index: Tensor, axis: Axis) -> Tensor:
    """The index vector of `axis`, which may show only the heads, or the channels inside a head, of `index`."""
    if axis.view == "heads":
        return index[:: axis.unit] // axis.unit
    if axis.view == "head_channels":
        return index[: axis.unit] % axis.unit
    return index


def _permute_inside_groups(tensor: Tensor, dim: int, index: Tensor, unit: int) -> Tensor:
    """Columns of a grouped convolution: the rows of group g read the channels of group g, in the order of `index`.

    The rows have been moved before, so row group g already holds what belongs to the new group g.
    """
    groups = len(index) // unit
    inside = (index % unit).view(groups, unit)
    rows = tensor.shape[0] // groups
    shape = [1] * tensor.dim()
    shape[0], shape[dim] = tensor.shape[0], unit
    gather = inside.repeat_interleave(rows, dim=0).view(shape).expand_as(tensor)
    return tensor.gather(dim, gather)


def is_free(permutation: Permutation, points: Collection[str]) -> bool:
    """Whether the channels inside the cells may move."""
    return permutation.point in points


def moves(order: Order, points: Collection[str]) -> bool:
    """Whether the blocks may move."""
    return order.point in points


def check(permutations: Permutations, layout: Layout, source: str) -> None:
    """InputError unless applying `permutations` to a model of this layout leaves its function as it is."""
    for name, index in permutations.items():
        if name not in layout.permutations:
            raise InputError(
                f"{source}: permutation {name!r} is not one of this architecture; align these models again"
            )
        permutation = layout.permutations[name]
        if len(index) != permutation.size or not torch.equal(index.sort().values, torch.arange(len(index))):
            raise InputError(
                f"{source}: permutation {name!r} is no rearrangement of {permutation.size} channels "
                f"(received {len(index)} entries); align these models again"
            )
    for order in {p.order for p in layout.permutations.values()}:
        names = [p.name for p in layout.permutations.values() if p.order == order]
        present = {name: permutations.get(name, torch.arange(layout.permutations[name].size)) for name in names}
        if not _keeps_structure([layout.permutations[n] for n in names], list(present.values())):
            raise InputError(
                f"{source}: permutations {', '.join(names[:4])} do not keep their groups or heads together, so the "
                "model would compute something else; align these models again"
            )


def _keeps_structure(permutations: list[Permutation], indices: list[Tensor]) -> bool:
    """Blocks and cells stay whole, cells keep (or mirror) their place in the block, all share one order, ties hold."""
    orders = set()
    for permutation, index in zip(permutations, indices, strict=True):
        unit = permutation.tied or permutation.cell
        if not all(_whole(index, size) for size in (permutation.block, permutation.cell, unit)):
            return False
        place = (index[:: permutation.cell] // permutation.cell) % (permutation.block // permutation.cell)
        kept = torch.arange(permutation.block // permutation.cell).repeat(permutation.order.blocks)
        if not (torch.equal(place, kept) or torch.equal(place, kept.flip(0))):
            return False
        inside = (index % unit).view(-1, unit)
        if permutation.tied and not torch.equal(inside, inside[:1].expand_as(inside)):
            return False
        orders.add(tuple((index[::unit] // unit).tolist()))
    return len(orders) <= 1


def _whole(index: Tensor, size: int) -> bool:
    """Whether every run of `size` channels comes from one run of `size` channels."""
    runs = (index // size).view(-1, size)
    return torch.equal(runs, runs[:, :1].expand_as(runs))


def random_permutations(layout: Layout, points: Collection[str], generator: torch.Generator) -> dict[str, Tensor]:
    """A uniform draw of everything that `points` leave free: a scramble that computes the same function."""
    orders = {p.order: torch.arange(p.order.blocks) for p in layout.permutations.values()}
    for order in orders:
        if moves(order, points):
            orders[order] = torch.randperm(order.blocks, generator=generator)
    drawn = {}
    for name, permutation in layout.permutations.items():
        inside = torch.arange(permutation.size)
        if is_free(permutation, points):
            inside = _random_inside(permutation, generator)
        blocks = orders[permutation.order]
        index = (blocks[:, None] * permutation.block + torch.arange(permutation.block)).flatten()
        drawn[name] = index[inside]
    return drawn


def _random_inside(permutation: Permutation, generator: torch.Generator) -> Tensor:
    period = permutation.tied or permutation.size
    cells = period // permutation.cell
    inside = [torch.randperm(permutation.cell, generator=generator) + c * permutation.cell for c in range(cells)]
    return torch.cat([torch.cat(inside) + start for start in range(0, permutation.size, period)])
