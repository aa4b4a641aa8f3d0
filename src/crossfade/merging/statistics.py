"""Fitting all linear layers at once, from what flows into those of the two parents.

A layer of a parent, fed by the parent's own lower layers, returns W x + b: all that least squares asks of the audio is
sum x xᵀ, which the weight of a merge does not change. So it is heard once, and serves merges at any weight.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from crossfade.encoders.layout import Layout
from crossfade.errors import InputError
from crossfade.merging.layerwise import STAGES, Clips, frames_of, front
from crossfade.merging.regression import LayerMoments, Solver, blend, with_one
from crossfade.merging.shares import Shares
from crossfade.progress import Progress

Grams = Mapping[str, Tensor]


@dataclass(frozen=True)
class InputStatistics:
    """sum x xᵀ, (in + 1, in + 1), float64, of what each linear layer x -> W x + b hears, x with a 1 appended.

    `reference` is of REFERENCE on its audio, `other` of the aligned OTHER on its own; layers by name. `facts` say what
    was heard by whom, `skipped` what could not be.
    """

    reference: Grams
    other: Grams
    facts: Mapping[str, Any]
    skipped: tuple[tuple[str, str], ...]

    def require(self, facts: Mapping[str, Any]) -> None:
        """InputError unless it is these models, aligned so, on this audio that were heard."""
        for key, value in facts.items():
            if self.facts[key] != value:
                raise InputError(
                    f"statistics: {key}: expected {value!r}, received {self.facts[key]!r}; listen again for this merge"
                )


@torch.inference_mode()
def hear(
    parents: tuple[nn.Module, nn.Module], layout: Layout, clips: list[Clips], convolutions: bool, progress: Progress
) -> tuple[Grams, Grams]:
    """What flows into the linear layers of each parent on its own clips: one pass."""
    found: tuple[dict[str, Tensor], dict[str, Tensor]] = {}, {}
    handles = [
        parent.get_submodule(names[0]).register_forward_pre_hook(_keeper(grams, names))
        for parent, grams in zip(parents, found, strict=True)
        for names in _sharing(layout, convolutions)
    ]
    try:
        for clip in progress.track(clips, total=len(clips), description="listening"):
            parents[clip.domain](clip.parent)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _sharing(layout: Layout, convolutions: bool) -> list[tuple[str, ...]]:
    """Names of the linear layers, those of one input together."""
    layers = range(layout.settings["num_hidden_layers"])
    inside = [tuple(f"encoder.layers.{layer}.{name}" for name in stage) for layer in layers for stage in STAGES]
    return [*((name,) for name in front(layout, convolutions)), *inside]


def _keeper(grams: dict[str, Tensor], names: tuple[str, ...]) -> Any:
    """A hook that adds what its module receives to the one gram of `names`."""

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        frames, stands_for = frames_of(module, inputs[0])
        frames = with_one(frames)
        gram = (frames.T @ frames).cpu().double().mul_(stands_for)
        if names[0] in grams:
            grams[names[0]].add_(gram)
        else:
            grams.update(dict.fromkeys(names, gram))

    return keep


def fit_at_once(
    merged: dict[str, Tensor],
    parents: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    statistics: InputStatistics,
    shares: Shares,
    solver: Solver,
    progress: Progress,
) -> None:
    """Replace the linear layers among the tensors of `merged`: each as if all below it were its parents' own."""
    names = list(statistics.reference)
    for name in progress.track(names, total=len(names), description="fitting layers"):
        own = _rows(merged, name)
        heard = zip((statistics.reference[name], statistics.other[name]), parents, strict=True)
        ours, theirs = (LayerMoments.of_change(gram, _rows(parent, name) - own) for gram, parent in heard)
        tensor, bias = merged[f"{name}.weight"], merged.get(f"{name}.bias")
        weight, bias = solver(blend(ours, theirs, shares.of(f"{name}.weight")), tensor.flatten(1), bias)
        merged[f"{name}.weight"] = weight.view_as(tensor)
        if bias is not None:
            merged[f"{name}.bias"] = bias


def _rows(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """Weight and bias of a layer, (out, in + 1), float64."""
    weight = tensors[f"{name}.weight"].flatten(1).double()
    bias = tensors.get(f"{name}.bias")
    return torch.cat([weight, weight.new_zeros(len(weight), 1) if bias is None else bias.double()[:, None]], dim=1)
