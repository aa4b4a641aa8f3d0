"""The student, the translators that lead from it to its teachers, and what they should make small."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from crossfade.distillation.objectives import (
    assign_clusters,
    correlation_loss,
    l1_cosine,
    masked_cross_entropy,
    snr_coefficient,
)
from crossfade.distillation.recipe import Objective, Teacher
from crossfade.distillation.translators import Translators, build_translators
from crossfade.encoders.sidecars import Preprocessing, normalise
from crossfade.errors import InputError
from crossfade.probing.upstreams import short_name

MASK_CHANCE, MASK_FRAMES = 0.08, 10
"""HuBERT's masks (2106.07447): every frame starts one with this chance; they last so many frames and may overlap."""


@dataclass(frozen=True)
class Target:
    """What a teacher wants of a batch's clips at `places` (n,): `wanted` (n, layers, frames, width), float32."""

    places: Tensor
    wanted: Tensor


class Standard(nn.Module):
    """A teacher's channels brought to mean 0 and deviation 1, and the centres of its clusters.

    Both are measured before training and kept in checkpoints: a run that goes on has the same.
    """

    mean: Tensor
    deviation: Tensor
    centres: Tensor

    def __init__(self, layers: int, width: int, clusters: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(layers, 1, width))
        self.register_buffer("deviation", torch.ones(layers, 1, width))
        self.register_buffer("centres", torch.zeros(clusters, width))

    def forward(self, heard: Tensor) -> Tensor:
        """(..., layers, frames, width)."""
        standardised: Tensor = (heard - self.mean) / self.deviation
        return standardised


class Distiller(nn.Module):
    """A student, and for every teacher a translator, a `Standard` and, for masked prediction, a classifier.

    teachers: the recipe's; sizes: how many layers of which width each of them wants; average: decay of the student's
    running mean, 0 for none. New weights are drawn from torch's own generator. Raises InputError for translators that
    cannot be built, and for a student that cannot be masked.
    """

    student: Any
    standards: Any

    def __init__(
        self,
        student: nn.Module,
        preprocessing: Preprocessing,
        teachers: Sequence[Teacher],
        sizes: Sequence[tuple[int, int]],
        objective: Objective,
        average: float = 0.0,
    ) -> None:
        super().__init__()
        self.student = student
        self.average = running_mean(student, average) if average else None
        self.preprocessing, self.objective = preprocessing, objective
        self.weights = [teacher.weight for teacher in teachers]
        self.names = [f"{number}-{short_name(teacher.model)}" for number, teacher in enumerate(teachers)]
        width = self.student.config.hidden_size
        self.translators: Translators = build_translators(teachers, [out for _, out in sizes], width)
        clusters = objective.clusters if objective.masked else 0
        self.standards = nn.ModuleList(Standard(layers, out, clusters) for layers, out in sizes)
        self.classifiers = nn.ModuleList(nn.Linear(width, clusters) for _ in sizes if clusters)
        if clusters:
            if not hasattr(self.student, "masked_spec_embed"):
                raise InputError("objective.masked: the student's source has no masked_spec_embed, so it has no mask")
            self.student.config.apply_spec_augment = True

    def forward(
        self, samples: Tensor, targets: Sequence[Target | None], snrs: Tensor, mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The weighted loss of every teacher that has a target, by its name; their sum is what is made small.

        samples: (clips, samples), as read; snrs: (2, clips), decibels for student and teachers; mask: (clips, frames),
        True where the student is not to hear. A teacher's loss is a mean over its clips, times their share of the
        batch: so a clip counts the same in whichever batch it is. Without any clip all gradients are zero.
        """
        if not len(samples):
            return {"nothing": torch.stack([parameter.sum() * 0 for parameter in self.parameters()]).sum()}
        hidden = self.hidden(samples, mask)
        losses = {}
        for number, target in enumerate(targets):
            if target is not None:
                share = len(target.places) / len(samples)
                loss = self._loss(number, hidden[target.places], target, snrs[:, target.places], mask)
                losses[self.names[number]] = self.weights[number] * share * loss
        return losses

    @property
    def made(self) -> Any:
        """The student to keep: the running mean where there is one."""
        return self.student if self.average is None else self.average.module

    def stepped(self) -> None:
        """Tell the running mean that the student has made a step."""
        if self.average is not None:
            self.average.update_parameters(self.student)

    def hidden(self, samples: Tensor, mask: Tensor | None = None) -> Tensor:
        """The student's last layer (clips, frames, width)."""
        heard = normalise(samples, self.preprocessing)
        last: Tensor = self.student(heard, mask_time_indices=mask).last_hidden_state
        return last

    def _loss(self, number: int, hidden: Tensor, target: Target, snrs: Tensor, mask: Tensor | None) -> Tensor:
        """One teacher's loss of its own clips."""
        objective, predicted = self.objective, self.translators(number, hidden)
        loss = l1_cosine(predicted, target.wanted, objective.l1, objective.cosine)
        # The clips of a domain are sometimes one in a batch, which has no correlations.
        if objective.correlation and len(hidden) > 1:
            student, teacher = snr_coefficient(snrs)
            loss = loss + objective.correlation * correlation_loss(
                predicted,
                target.wanted,
                cross=objective.cross,
                self_=objective.self_,
                diagonal_scale=objective.diagonal_scale,
                cross_scale=objective.cross_scale,
                self_scale=objective.self_scale,
                frames=objective.frames,
                weights=(student, teacher) if objective.snr_weights else None,
            )
        if objective.masked and mask is not None:
            clusters = assign_clusters(target.wanted[:, -1], self.standards[number].centres)
            logits = self.classifiers[number](hidden)
            loss = loss + objective.masked * masked_cross_entropy(logits, clusters, mask[target.places])
        return loss if loss.requires_grad else predicted.sum() * 0


def running_mean(student: nn.Module, decay: float) -> AveragedModel:
    """The mean of the student's weights over its steps, the last ones counting most.

    After n steps mean <- d mean + (1 - d) weights with d = min(decay, (1 + n) / (10 + n)), so that the start is soon
    forgotten.
    """

    @torch.no_grad()
    def update(means: Any, weights: Any, steps: Any) -> None:
        kept = min(decay, (1 + float(steps)) / (10 + float(steps)))
        torch._foreach_lerp_(means, weights, 1 - kept)

    return AveragedModel(student, multi_avg_fn=update).requires_grad_(False)


def span_mask(clips: int, frames: int, generator: torch.Generator) -> Tensor:
    """Where the student is not to hear, (clips, frames): spans of `MASK_FRAMES`, at least one in every clip."""
    starts = torch.rand(clips, frames, generator=generator) < MASK_CHANCE
    sure = torch.randint(frames, (clips,), generator=generator)
    starts[torch.arange(clips), sure] |= ~starts.any(1)
    reach = torch.nn.functional.pad(starts.float(), (MASK_FRAMES - 1, 0))
    return torch.nn.functional.max_pool1d(reach[:, None], MASK_FRAMES, stride=1)[:, 0] > 0
