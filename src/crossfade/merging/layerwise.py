"""Going up a merged encoder, layer by layer, and fitting each linear layer to what its two parents would have returned.

The merged model hears both audios; what a layer receives there is x. On REFERENCE's audio the wanted output y is what
REFERENCE's own layer returns, fed by REFERENCE's own lower layers; on OTHER's audio it is the aligned OTHER's. A layer
is replaced before the next one is looked at, so later layers make up for what earlier ones could not keep.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from crossfade.audio.batches import Audio
from crossfade.audio.sources import Source
from crossfade.encoders.encoder import Encoder
from crossfade.encoders.layout import Layout
from crossfade.encoders.sidecars import normalise
from crossfade.errors import InputError
from crossfade.merging.regression import LayerMoments, Solver, blend
from crossfade.merging.shares import Shares
from crossfade.progress import Progress

CONV_FRAMES = 800
"""Output positions of a convolution that one clip contributes at most: their neighbours say the same."""

MOST_CLIPS = 400
"""Clips of each domain that are heard when the user does not say how many: they stay in memory."""

FRAMES_PER_INPUT, FEWEST_FRAMES = 64, 10_000
"""Below the transformer, where frames cost a pass through the CNN each time, a domain has said enough after so many of
them for each input of the layer, and at least so many."""

STAGES = (
    ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    ("attention.out_proj",),
    ("feed_forward.intermediate_dense",),
    ("feed_forward.output_dense",),
)
"""The linear layers of a transformer layer in the order in which sound passes; a stage shares one input."""


@dataclass(frozen=True)
class Listening:
    """Which audio belongs to which parent, and how it is drawn."""

    reference: Sequence[Source]
    other: Sequence[Source]
    clips: int | None
    seconds: float
    seed: int
    device: torch.device
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def require(self, who: str) -> None:
        """InputError unless both domains have audio."""
        for role, sources in (("reference", self.reference), ("other", self.other)):
            if not sources:
                raise InputError(f"{who} needs --{role}-audio: clips of what {role.upper()} is for; received none")


@dataclass
class Clips:
    """A batch of one domain (0: REFERENCE's, 1: OTHER's) as its parent and as the merged model have it so far.

    Before the transformer these are waveforms (clips, samples), inside it hidden states (clips, frames, width); `bias`
    holds the relative position biases of a gated family, which its first layer makes for all.
    """

    domain: int
    parent: Tensor
    merged: Tensor
    parent_bias: Tensor | None = None
    merged_bias: Tensor | None = None


class _ReachedError(Exception):
    """Ends a forward pass early."""


Flow = tuple[Tensor, Tensor]


def reach(run: Callable[[], Any], modules: Sequence[nn.Module]) -> list[Flow]:
    """Run until every one of `modules` has returned: what each received and what it returned."""
    flows: dict[nn.Module, Flow] = {}

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        flows[module] = inputs[0], output
        if len(flows) == len(modules):
            raise _ReachedError

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        run()
    except _ReachedError:
        return [flows[module] for module in modules]
    finally:
        for handle in handles:
            handle.remove()
    raise RuntimeError("nothing flowed through a module: transformers runs this model another way")


def draw_clips(reference: Encoder, other: Encoder, listening: Listening) -> list[Clips]:
    """The clips of both domains, kept in memory: MOST_CLIPS of each unless the user says how many.

    What could not be used is added to `listening.skipped`. Raises InputError when a domain has no usable clip.
    """
    batches = []
    merged = reference.preprocessing
    for domain, (parent, sources) in enumerate(((reference, listening.reference), (other, listening.other))):
        heard = Audio(
            sources,
            rate=merged.sampling_rate,
            clips=listening.clips or MOST_CLIPS,
            seconds=listening.seconds,
            seed=listening.seed,
            minimum_samples=parent.layout.receptive_field,
        )
        for batch in heard.batches():
            samples = batch.samples.to(listening.device)
            batches.append(Clips(domain, normalise(samples, parent.preprocessing), normalise(samples, merged)))
        listening.skipped.extend((skip.name, skip.reason) for skip in heard.skipped)
    return batches


@torch.inference_mode()
def fit_layers(
    parents: tuple[nn.Module, nn.Module],
    merged: nn.Module,
    layout: Layout,
    clips: list[Clips],
    shares: Shares,
    solver: Solver,
    progress: Progress,
    *,
    convolutions: bool = True,
) -> None:
    """Replace the weights of `merged` in place, from the first convolution to the last transformer layer.

    `convolutions` says whether the CNN is fitted too.
    """
    climb = _Climb(parents, merged, layout, clips, shares, solver)
    stages = list(climb.stages(convolutions))
    for stage in progress.track(stages, total=len(stages), description="fitting layers"):
        stage()


def front(layout: Layout, convolutions: bool) -> list[str]:
    """The linear layers below the transformer, bottom up, with those of the CNN or without."""
    convs = range(len(layout.settings["conv_dim"])) if convolutions else ()
    return [f"feature_extractor.conv_layers.{i}.conv" for i in convs] + ["feature_projection.projection"]


class _Climb:
    """The state of one way up: the clips as far as both parents and the merged model have taken them."""

    def __init__(
        self,
        parents: tuple[nn.Module, nn.Module],
        merged: nn.Module,
        layout: Layout,
        clips: list[Clips],
        shares: Shares,
        solver: Solver,
    ) -> None:
        self.parents, self.merged, self.layout = parents, merged, layout
        self.clips, self.shares, self.solver = clips, shares, solver

    def stages(self, convolutions: bool) -> Iterator[Callable[[], None]]:
        """What is to be done, in order."""
        for name in front(self.layout, convolutions):
            yield partial(self.fit, [name], None)
        yield self.enter
        for layer in range(self.layout.settings["num_hidden_layers"]):
            for names in STAGES:
                yield partial(self.fit, [f"encoder.layers.{layer}.{name}" for name in names], layer)
            yield partial(self.advance, layer)

    def fit(self, names: list[str], layer: int | None) -> None:
        """Fit modules that receive the same input."""
        moments = {name: self._moments(name) for name in names}
        needed = math.inf
        if layer is None:
            needed = max(FEWEST_FRAMES, FRAMES_PER_INPUT * self._linear(names[0]).weight[0].numel())
        heard = [0, 0]
        for clip in self.clips:
            if heard[clip.domain] >= needed:
                continue
            wanted = self._reach(self.parents[clip.domain], clip, layer, names, merged=False)
            received = self._reach(self.merged, clip, layer, names, merged=True)
            for name, (_, y), (x, present) in zip(names, wanted, received, strict=True):
                heard[clip.domain] += self._add(moments[name], name, clip, x, y - present)
        self._solve(moments)

    def enter(self) -> None:
        """Exchange the waveforms for what the first transformer layer receives."""
        first = ["encoder.layers.0"]
        for clip in self.clips:
            ((parent, _),) = self._reach(self.parents[clip.domain], clip, None, first, merged=False)
            ((merged, _),) = self._reach(self.merged, clip, None, first, merged=True)
            clip.parent, clip.merged = parent, merged

    def advance(self, layer: int) -> None:
        """Take the clips through a finished transformer layer."""
        for clip in self.clips:
            clip.parent, clip.parent_bias = self._run(self.parents[clip.domain], clip, layer, merged=False)
            clip.merged, clip.merged_bias = self._run(self.merged, clip, layer, merged=True)

    def _reach(self, model: nn.Module, clip: Clips, layer: int | None, names: list[str], *, merged: bool) -> list[Flow]:
        modules = [model.get_submodule(name) for name in names]
        return reach(partial(self._run, model, clip, layer, merged=merged), modules)

    def _run(self, model: nn.Module, clip: Clips, layer: int | None, *, merged: bool) -> Any:
        """The whole model on waveforms, or one layer on hidden states."""
        hidden, bias = (clip.merged, clip.merged_bias) if merged else (clip.parent, clip.parent_bias)
        if layer is None:
            return model(hidden)
        settings = {"position_bias": bias} if self.layout.family.gated_positions else {}
        output = model.get_submodule(f"encoder.layers.{layer}")(hidden, **settings)
        return output if isinstance(output, tuple) else (output, None)

    def _linear(self, name: str) -> nn.Linear | nn.Conv1d:
        module = self.merged.get_submodule(name)
        assert isinstance(module, nn.Linear | nn.Conv1d)
        return module

    def _moments(self, name: str) -> list[LayerMoments]:
        """No frames yet, for either domain."""
        weight = self._linear(name).weight.flatten(1)
        return [LayerMoments.zeros(weight.shape[0], weight.shape[1], weight.device) for _ in range(2)]

    def _add(self, moments: list[LayerMoments], name: str, clip: Clips, received: Tensor, errors: Tensor) -> int:
        """Add a batch to its domain's moments; how many frames that were."""
        inputs, missed, stands_for = as_linear(self._linear(name), received, errors)
        moments[clip.domain].add(inputs, missed, stands_for)
        return len(inputs)

    def _solve(self, moments: Mapping[str, list[LayerMoments]]) -> None:
        for name, domains in moments.items():
            module, share = self._linear(name), self.shares.of(f"{name}.weight")
            weight, bias = self.solver(blend(domains[0], domains[1], share), module.weight.flatten(1), module.bias)
            module.weight.copy_(weight.view_as(module.weight))
            if bias is not None and module.bias is not None:
                module.bias.copy_(bias)


def as_linear(module: nn.Module, received: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor, float]:
    """Inputs (frames, in) and outputs (frames, out) of a linear layer, or of a convolution seen as one.

    The third value is how many positions each of the frames stands for.
    """
    inputs, stands_for = frames_of(module, received)
    if isinstance(module, nn.Conv1d):
        outputs = outputs[:, :, _kept(outputs.shape[2], outputs.device)].transpose(1, 2)
    return inputs, outputs.flatten(0, -2), stands_for


def frames_of(module: nn.Module, received: Tensor) -> tuple[Tensor, float]:
    """What a linear layer receives, (frames, in), and how many positions each frame stands for.

    A convolution is one over patches, sampled at up to CONV_FRAMES positions of each clip.
    """
    if not isinstance(module, nn.Conv1d):
        return received.flatten(0, -2), 1.0
    patches = received.unfold(2, module.kernel_size[0], module.stride[0])
    kept = _kept(patches.shape[2], patches.device)
    return patches[:, :, kept].transpose(1, 2).flatten(0, 1).flatten(1), patches.shape[2] / len(kept)


def _kept(positions: int, device: torch.device) -> Tensor:
    return torch.linspace(0, positions - 1, min(positions, CONV_FRAMES), device=device).long()
