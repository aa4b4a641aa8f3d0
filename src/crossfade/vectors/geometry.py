"""How two encoders lie to each other, layer by layer: barriers of interpolation, and similarity of what they say.

The barrier of a stage: REFERENCE with that stage alone half OTHER's, by how much its output is further from REFERENCE's
than half of what it is with OTHER's stage whole. An aligned stage that is the same up to its channels' order has none.

Linear CKA (1905.00414) does not see the order of channels: two encoders have the same before and after alignment. What
alignment changes is the half-and-half mixture, whose layers are compared with those of both parents.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from crossfade.alignment.permutations import Permutations, permute
from crossfade.audio.batches import Audio
from crossfade.audio.sources import Source
from crossfade.encoders.encoder import Encoder
from crossfade.encoders.model import build_model, load_tensors
from crossfade.encoders.sidecars import normalise
from crossfade.merging.shares import LAYER, PARTS

CLIPS, SECONDS = 32, 2.0
"""Heard at most: some 3,000 frames."""

BELOW = ("conv", "projection", "positions")
"""Stages below the transformer."""

Tensors = Mapping[str, Tensor]


def stage_of(tensor: str) -> str:
    """The stage of the network that a tensor is of: a part below the transformer, or a layer."""
    if found := LAYER.match(tensor):
        return f"layer {found[1]}"
    part = next((name for name, pattern in PARTS.items() if pattern.match(tensor)), "positions")
    return "positions" if part == "norm" else part


def geometry(
    reference: Encoder,
    other: Encoder,
    sources: Sequence[Source],
    permutations: Permutations,
    *,
    clips: int | None = None,
    seconds: float = 5.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Barriers by stage and CKA by layer, unaligned and aligned by `permutations`, over clips of `sources`.

    Of `clips` and `seconds` no more than CLIPS and SECONDS are heard.

    `barrier`: share of the variance of REFERENCE's output, by stage. `cka`: of the parents with each other, and of the
    mixture with its parents (mean of both), for what enters the transformer and for every layer.
    """
    layout, rate = reference.layout, reference.preprocessing.sampling_rate
    heard = Audio(sources, rate=rate, clips=min(clips or CLIPS, CLIPS), seconds=min(seconds, SECONDS), seed=seed,
                  minimum_samples=layout.receptive_field)  # fmt: skip
    sounds = [normalise(batch.samples, reference.preprocessing) for batch in heard.batches()]
    own = {name: reference.read(name) for name in layout.tensors}
    theirs = {name: other.read(name) for name in layout.tensors if name in other.stored}
    ways = {
        "unaligned": own | theirs,
        "aligned": own | {name: permute(value, layout.tensors[name], permutations) for name, value in theirs.items()},
    }
    model = build_model(reference, own)
    stem = _stem(model, sounds)
    first = _heard(model, sounds, stem)
    second = _heard(build_model(other, {**own, **theirs}), sounds)
    layers = [f"layer {layer}" for layer in range(layout.settings["num_hidden_layers"])]
    stages = [*BELOW, *layers]
    found: dict[str, Any] = {"stages": stages, "barrier": {}, "cka": {"parents": _similar(first, second)}}
    for way, tensors in ways.items():
        found["barrier"][way] = [
            _barrier(model, sounds, None if one == BELOW[0] else stem, first[-1], own, tensors, one) for one in stages
        ]
        mixture = _heard(_loaded(model, mixed(own, tensors, 0.5)), sounds)
        pairs = zip(_similar(mixture, first), _similar(mixture, second), strict=True)
        found["cka"][way] = [(one + two) / 2 for one, two in pairs]
    return found


def mixed(own: Tensors, theirs: Tensors, share: float, stage: str | None = None) -> dict[str, Tensor]:
    """share * own + (1 - share) * theirs, of one stage's tensors or of all; counters and the rest are `own`."""
    return {
        name: torch.lerp(theirs[name].float(), value.float(), share)
        if value.is_floating_point() and stage in (None, stage_of(name))
        else value
        for name, value in own.items()
    }


def cka(one: Tensor, other: Tensor) -> float:
    """Linear CKA of activations (frames, channels) and (frames, channels) at the same instants, from 0 to 1."""
    one, other = (side.double() - side.double().mean(0) for side in (one, other))
    cross, own, theirs = (torch.linalg.matrix_norm(a.T @ b) for a, b in ((one, other), (one, one), (other, other)))
    return float(cross**2 / (own * theirs).clamp_min(1e-30))


def _barrier(
    model: nn.Module,
    sounds: Sequence[Tensor],
    stem: Sequence[Tensor] | None,
    wanted: Tensor,
    own: Tensors,
    theirs: Tensors,
    stage: str,
) -> float:
    """Error at half, beyond half of the error with the whole stage swapped."""
    half, whole = (
        _error(_heard(_loaded(model, mixed(own, theirs, share, stage)), sounds, stem)[-1], wanted)
        for share in (0.5, 0.0)
    )
    return half - whole / 2


def _error(found: Tensor, wanted: Tensor) -> float:
    """Mean squared error over the variance of what is wanted."""
    return float((found - wanted).square().mean() / (wanted - wanted.mean(0)).square().mean())


def _similar(one: Sequence[Tensor], other: Sequence[Tensor]) -> list[float]:
    return [cka(a, b) for a, b in zip(one, other, strict=True)]


def _loaded(model: nn.Module, tensors: Tensors) -> nn.Module:
    load_tensors(model, tensors)
    return model


class _Said(nn.Module):
    """In the CNN's place: says what it said before, batch after batch."""

    def __init__(self, said: Sequence[Tensor]) -> None:
        super().__init__()
        self.said = iter(said)

    def forward(self, _: Tensor) -> Tensor:
        return next(self.said)


@torch.inference_mode()
def _stem(model: Any, sounds: Sequence[Tensor]) -> list[Tensor]:
    """What the CNN says of each batch, (clips, channels, frames)."""
    return [model.feature_extractor(samples) for samples in sounds]


@torch.inference_mode()
def _heard(model: Any, sounds: Sequence[Tensor], stem: Sequence[Tensor] | None = None) -> list[Tensor]:
    """Frames (frames, width) of what enters the transformer and of every layer, over all clips.

    `stem` is what the CNN says, which takes most of the time, where that is known.
    """
    cnn, layers = model.feature_extractor, []
    model.feature_extractor = _Said(_stem(model, sounds) if stem is None else stem)
    for samples in sounds:
        found = model(samples, output_hidden_states=True).hidden_states
        layers.append([layer.flatten(0, 1) for layer in found])
    model.feature_extractor = cnn
    return [torch.cat(frames) for frames in zip(*layers, strict=True)]
