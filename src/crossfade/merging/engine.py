"""Merging tensor by tensor: read, permute, merge, hand on; nothing is kept."""

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from crossfade.alignment.permutations import Permutations, permute
from crossfade.encoders.encoder import Encoder
from crossfade.encoders.model import build_model, load_model, model_tensors
from crossfade.errors import InputError
from crossfade.merging.layerwise import Listening, draw_clips, fit_layers
from crossfade.merging.methods import LAYERWISE, METHODS, Method
from crossfade.merging.regression import Solver, rescale
from crossfade.merging.shares import Shares
from crossfade.merging.statistics import InputStatistics, fit_at_once, hear
from crossfade.parallel import side_by_side
from crossfade.progress import Progress

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""What weights can be written as."""

ENGINE_SETTINGS = ("sequential", "convolutions")
"""Settings of a layerwise method that decide the way up the network, not the solution of one layer."""


@dataclass(frozen=True)
class Inputs:
    """The models that go into a merge."""

    reference: Encoder
    other: Encoder
    base: Encoder | None = None

    def roles(self) -> dict[str, Encoder]:
        """The models by their role."""
        roles = {"reference": self.reference, "other": self.other}
        return roles | {"base": self.base} if self.base else roles

    def dropped_notes(self) -> list[str]:
        """A note for every model whose heads are left out."""
        return [
            f"{encoder.name}: heads left out: {', '.join(encoder.dropped)}"
            for encoder in self.roles().values()
            if encoder.dropped
        ]


def merged_tensors(
    inputs: Inputs, permutations: Permutations, shares: Shares, method: Method, settings: Mapping[str, Any], seed: int
) -> Iterator[tuple[str, Tensor]]:
    """(name, merged tensor) for every tensor of the layout, in order; merged in float32.

    OTHER, and nothing else, is permuted first. What not all models have, and counters, are REFERENCE's.
    """

    def merge(name: str) -> Tensor:
        reference = inputs.reference.read(name)
        if not reference.is_floating_point() or any(name not in model.stored for model in inputs.roles().values()):
            return reference
        other = permute(inputs.other.read(name), inputs.reference.layout.tensors[name], permutations).float()
        base = {"base": inputs.base.read(name).float()} if inputs.base else {}
        generator = torch.Generator().manual_seed(seed ^ zlib.crc32(name.encode()))
        given = {"reference": reference.float(), "other": other, "weight": shares.of(name), "generator": generator}
        merged = method(settings, **given, **base)
        shape = tuple(getattr(merged, "shape", ()))
        if shape != tuple(reference.shape):
            raise InputError(f"method {method.name}: expected {tuple(reference.shape)} for {name}, received {shape}")
        return merged

    return zip(inputs.reference.layout.tensors, side_by_side(merge, inputs.reference.layout.tensors), strict=True)


def aligned_tensors(inputs: Inputs, permutations: Permutations) -> dict[str, Tensor]:
    """All tensors of OTHER in REFERENCE's order."""
    layout = inputs.other.layout.tensors
    return {name: permute(inputs.other.read(name), spec, permutations) for name, spec in layout.items()}


def listen(
    inputs: Inputs, permutations: Permutations, listening: Listening, convolutions: bool, progress: Progress
) -> InputStatistics:
    """What flows into the linear layers of both parents on their own audio; the models are in memory here."""
    reference, device = inputs.reference, listening.device
    aligned = build_model(inputs.other, aligned_tensors(inputs, permutations), device)
    clips = draw_clips(reference, inputs.other, listening)
    heard = hear((load_model(reference, device), aligned), reference.layout, clips, convolutions, progress)
    facts = listening_facts(inputs, permutations, listening, convolutions)
    return InputStatistics(*heard, facts, tuple(listening.skipped))


def listening_facts(
    inputs: Inputs, permutations: Permutations, listening: Listening, convolutions: bool
) -> dict[str, Any]:
    """All that decides what `listen` finds."""
    moved = {point: hashlib.sha256(order.cpu().numpy().tobytes()).hexdigest() for point, order in permutations.items()}
    return {
        "reference": inputs.reference.sha256,
        "other": inputs.other.sha256,
        "permutations": moved,
        "reference_audio": [str(one) for one in listening.reference],
        "other_audio": [str(one) for one in listening.other],
        "clips": listening.clips,
        "seconds": listening.seconds,
        "seed": listening.seed,
        "convolutions": convolutions,
    }


def fitted_tensors(
    inputs: Inputs,
    permutations: Permutations,
    shares: Shares,
    method: Method,
    settings: Mapping[str, Any],
    listening: Listening,
    statistics: InputStatistics | None,
    repair: bool,
    progress: Progress,
) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of a merge that listens: a layerwise method, or a tensor method with its statistics repaired.

    A layerwise method starts from the linear merge.
    """
    layerwise = method.name in LAYERWISE
    if statistics is not None:
        statistics.require(listening_facts(inputs, permutations, listening, settings["convolutions"]))
        listening.skipped.extend(statistics.skipped)
    start, start_settings = (METHODS["linear"], {}) if layerwise else (method, settings)
    tensors = dict(merged_tensors(inputs, permutations, shares, start, start_settings, listening.seed))
    if layerwise:
        solver = partial(method.function, **{key: settings[key] for key in settings if key not in ENGINE_SETTINGS})
        if settings["sequential"]:
            way = {"convolutions": settings["convolutions"]}
            tensors = _climbed(inputs, permutations, tensors, shares, solver, listening, progress, **way)
        else:
            found = statistics or listen(inputs, permutations, listening, settings["convolutions"], progress)
            own = {name: inputs.reference.read(name) for name in tensors}
            parents = own, aligned_tensors(inputs, permutations)
            fit_at_once(tensors, parents, found, shares, solver, progress)
    if repair:
        tensors = _climbed(inputs, permutations, tensors, shares, rescale, listening, progress)
    return ((name, tensors[name]) for name in inputs.reference.layout.tensors)


def _climbed(
    inputs: Inputs,
    permutations: Permutations,
    tensors: Mapping[str, Tensor],
    shares: Shares,
    solver: Solver,
    listening: Listening,
    progress: Progress,
    **way: bool,
) -> dict[str, Tensor]:
    """`tensors` after a way up the network, with three models in memory."""
    reference, device = inputs.reference, listening.device
    merged = build_model(reference, tensors, device)
    parents = (
        load_model(reference, device),
        build_model(inputs.other, aligned_tensors(inputs, permutations), device),
    )
    clips = draw_clips(reference, inputs.other, listening)
    fit_layers(parents, merged, reference.layout, clips, shares, solver, progress, **way)
    return {name: tensor.cpu() for name, tensor in model_tensors(merged, reference).items()}
