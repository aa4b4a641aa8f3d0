"""The student's trainer: losses of every teacher, surgery on gradients, a rate of its own for the CNN."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from transformers import TrainerCallback, TrainingArguments

from crossfade.distillation import surgery
from crossfade.distillation.distiller import Distiller, Target, span_mask
from crossfade.distillation.lessons import answers, standardised
from crossfade.distillation.reading import Batch
from crossfade.distillation.recipe import DistilRecipe
from crossfade.distillation.signals import Teacher
from crossfade.errors import InputError
from crossfade.progress import SILENT, Progress
from crossfade.training.checkpoints import Work
from crossfade.training.numbered import EverySoOften, NumberedTrainer, Read
from crossfade.training.processes import average_gradients


class DistilTrainer(NumberedTrainer):
    """Teaches `distiller` what `teachers` say of the batches that `read` gives; `look` may stop it at a step.

    What is drawn for a batch are dropout, masks and the order of projections.
    """

    doing = "distilling"

    def __init__(
        self,
        distiller: Distiller,
        arguments: TrainingArguments,
        recipe: DistilRecipe,
        *,
        teachers: Sequence[Teacher],
        read: Read,
        work: Work,
        look: Callable[[int], bool] | None = None,
        progress: Progress = SILENT,
    ) -> None:
        self.distiller, self.recipe, self.teachers = distiller, recipe, teachers
        self._parts: dict[str, Tensor] = {}
        self._batches_heard = 0
        super().__init__(distiller, arguments, read=read, work=work, seed=recipe.seed, progress=progress)
        self.add_callback(_Averages(distiller))
        if look is not None:
            self.add_callback(EverySoOften(recipe.watch.steps, look))
        cnn = distiller.student.feature_extractor
        if recipe.training.cnn_rate == 0:
            cnn._freeze_parameters()
        elif recipe.training.cnn_gradient != 1:
            for parameter in cnn.parameters():
                parameter.register_hook(lambda gradient: gradient * recipe.training.cnn_gradient)

    def sound_seconds(self, batch: Batch) -> float:
        """What the student hears of it."""
        return batch.samples.numel() / self.teachers[0].grid.rate

    def create_optimizer(self, model: Any = None) -> Optimizer:
        """AdamW, with a rate of its own for the CNN."""
        if self.optimizer is None:
            training = self.recipe.training
            cnn = set(self.distiller.student.feature_extractor.parameters())
            trained = [parameter for parameter in self.distiller.parameters() if parameter.requires_grad]
            rest, front = [p for p in trained if p not in cnn], [p for p in trained if p in cnn]
            groups = ((rest, 1.0), (front, training.cnn_rate))
            self.optimizer = AdamW(
                [{"params": params, "lr": training.rate * share} for params, share in groups if params],
                betas=training.betas,
                eps=training.epsilon,
                weight_decay=training.weight_decay,
            )
        return self.optimizer

    def compute_loss(self, model: Any, inputs: Any, return_outputs: Any = False, num_items_in_batch: Any = None) -> Any:
        """The sum of the teachers' losses of a batch. Raises InputError where one is NaN or infinite."""
        return torch.stack(list(self._losses(model, inputs["batch"]).values())).sum()

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """As Trainer's; with gradient surgery, a backward pass for each teacher."""
        if not self.recipe.objective.surgery:
            return super().training_step(model, inputs, num_items_in_batch)
        model.train()
        batch = inputs["batch"]
        losses = [part / self.current_gradient_accumulation_steps for part in self._losses(self.model, batch).values()]
        scaler = self.accelerator.scaler
        surgery.backward(
            [part if scaler is None else scaler.scale(part) for part in losses],
            list(self.distiller.student.parameters()),
            [p for name, p in self.distiller.named_parameters() if not name.startswith("student.")],
            torch.Generator().manual_seed(self.drawn_from(batch, "surgery")),
        )
        if self.accelerator.sync_gradients:
            average_gradients(self.distiller.parameters())
        return torch.stack(losses).detach().sum()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Besides what Trainer logs: each teacher's loss, and clips a second in this run."""
        if "loss" in logs:
            logs |= {f"loss/{name}": float(part) / self._batches_heard for name, part in self._parts.items()}
            logs["clips_per_second"] = self.clips_per_second
            self._batches_heard, self._parts = 0, {}
        super().log(logs, start_time)

    # One batch --------------------------------------------------------------------------------------------------------

    def _losses(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """Every teacher's loss, finite."""
        device = self.args.device
        with torch.no_grad():
            targets = standardised(answers(self.teachers, batch, device), self.distiller.standards)
        mask = None
        if self.recipe.objective.masked:
            generator = torch.Generator().manual_seed(self.drawn_from(batch, "mask"))
            mask = span_mask(len(batch.samples), batch.frames, generator).to(device)
        samples = batch.samples.to(device)
        torch.manual_seed(self.drawn_from(batch, "dropout"))
        losses: dict[str, Tensor] = model(samples, targets, batch.snrs.to(device), mask)
        if not torch.stack([loss.detach() for loss in losses.values()]).isfinite().all():
            raise InputError(self.not_finite("the loss", self._suspects(batch, targets, samples)))
        self._batches_heard += 1
        for name, loss in losses.items():
            self._parts[name] = self._parts.get(name, torch.zeros((), device=device)) + loss.detach()
        return losses

    @torch.no_grad()
    def _suspects(self, batch: Batch, targets: Sequence[Target | None], samples: Tensor) -> list[str]:
        """The clips of which a teacher or the student says something that is not finite; all, where there are none."""
        bad = ~self.distiller.hidden(samples).flatten(1).isfinite().all(1)
        for target in targets:
            if target is not None:
                bad[target.places] |= ~target.wanted.flatten(1).isfinite().all(1)
        return [name for name, is_bad in zip(batch.names, bad.tolist(), strict=True) if is_bad] or list(batch.names)


class _Averages(TrainerCallback):
    """Keeps the running mean of the student's weights."""

    def __init__(self, distiller: Distiller) -> None:
        self.distiller = distiller

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.distiller.stepped()
