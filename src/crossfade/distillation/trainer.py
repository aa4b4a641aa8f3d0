"""transformers' Trainer, taught to distil: its own batches, exact resumption, whole checkpoints, and no NaN."""

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, TrainerState

from crossfade.distillation import surgery
from crossfade.distillation.checkpoints import Work, step_of
from crossfade.distillation.distiller import Distiller, Target, span_mask
from crossfade.distillation.lessons import answers, standardised
from crossfade.distillation.processes import average_gradients, gathered
from crossfade.distillation.reading import Batch
from crossfade.distillation.recipe import DistilRecipe
from crossfade.distillation.signals import Teacher
from crossfade.errors import InputError
from crossfade.progress import SILENT, Progress

SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}

POINTS = 200
"""Of the loss curve."""

STATE_COPIES = 3
"""What a checkpoint holds of every weight: itself and Adam's two moments."""

SHOWN = 5
"""Clips that an error names."""

TALLY = "tally.json"

Read = Callable[[int, int, int], Iterator[Batch]]
"""Batches from a number on, every so many, so many of them."""


@dataclass
class Tally:
    """What all processes heard in all runs of a training, the seconds that these took, and what was left out."""

    seconds: float = 0.0
    clips: int = 0
    sound_seconds: float = 0.0
    skipped: dict[str, str] = field(default_factory=dict)


def training_arguments(recipe: DistilRecipe, work: Work, device: torch.device) -> TrainingArguments:
    """The recipe in transformers' words. Where several processes were launched, they find each other here."""
    training = recipe.training
    arguments = TrainingArguments(
        output_dir=str(work.folder),
        max_steps=max(1, training.steps),  # 0: never asked to train
        gradient_accumulation_steps=training.accumulate,
        learning_rate=training.rate,
        lr_scheduler_type=SCHEDULES[training.schedule],
        warmup_steps=round(training.warmup * training.steps),
        max_grad_norm=training.clip,
        bf16=training.precision == "bfloat16",
        fp16=training.precision == "float16",
        save_steps=training.save_steps,
        logging_steps=max(1, training.steps // POINTS),
        logging_nan_inf_filter=False,
        report_to=[training.log] if training.log != "none" else [],
        project="crossfade",
        run_name=work.name,
        disable_tqdm=True,
        log_level="passive",
        log_level_replica="passive",
        use_cpu=device.type == "cpu",
        seed=recipe.seed,
        ignore_data_skip=True,
        remove_unused_columns=False,
        ddp_find_unused_parameters=True,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one process, one GPU: others are for `accelerate launch`
    return arguments


class DistilTrainer(Trainer):
    """Teaches `distiller` what `teachers` say of the batches that `read` gives; `look` may stop it at a step.

    Whatever is drawn for a batch (dropout, masks, the order of projections) is drawn from the seed and the batch's
    number, so a batch is the same in every run, on every process, and after every interruption. With n processes,
    each step takes n times `accumulate` batches, one after the other: what one process with `accumulate` times n takes.
    """

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
        self.read, self.work, self.progress = read, work, progress
        self.before, self.tally = Tally(), Tally()
        self.opened = self.started = monotonic()
        self._batches = _Lazily(self._rest)
        self._parts: dict[str, Tensor] = {}
        self._logged = 0
        self._names: list[str] = []
        super().__init__(model=distiller, args=arguments)
        self.remove_callback(PrinterCallback)
        self.add_callback(_Averages(distiller))
        if look is not None:
            self.add_callback(_Looks(recipe.watch.steps, look))
        cnn = distiller.student.feature_extractor
        if recipe.training.cnn_rate == 0:
            cnn._freeze_parameters()
        elif recipe.training.cnn_gradient != 1:
            for parameter in cnn.parameters():
                parameter.register_hook(lambda gradient: gradient * recipe.training.cnn_gradient)

    def fit(self, checkpoint: Path | None, *, over: bool = False) -> None:
        """Train to the end, from the start or from a checkpoint; where training is `over`, that is only taken up."""
        if checkpoint is not None:
            self.before = Tally(**json.loads((checkpoint / TALLY).read_text()))
            if over or step_of(checkpoint) >= self.args.max_steps:
                self._load_from_checkpoint(str(checkpoint))
                self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
                return
        elif over:
            return
        try:
            self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        finally:
            self._batches.close()

    @property
    def clips_per_second(self) -> float:
        """What this run hears since its first step, all processes together."""
        rate: float = self.args.world_size * self.tally.clips / (monotonic() - self.started)
        return rate

    def heard(self) -> Tally:
        """The tally of all processes and runs; all processes must ask."""
        told = [self.before, *gathered(self.tally)]
        return Tally(
            seconds=self.before.seconds + monotonic() - self.opened,
            clips=sum(one.clips for one in told),
            sound_seconds=sum(one.sound_seconds for one in told),
            skipped={name: reason for one in told for name, reason in one.skipped.items()},
        )

    # What transformers asks for ---------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> Any:
        """The rest of the training's batches for this process."""
        return self._batches

    def _rest(self) -> Generator[dict[str, Batch]]:
        """From the step that was reached on, while somebody may watch."""
        done, processes = self.state.global_step, self.args.world_size
        micro, left = self.args.gradient_accumulation_steps, self.args.max_steps - done
        self._logged, self.started = done, monotonic()
        batches = self.read(done * micro * processes + self.args.process_index, processes, left * micro)
        watched = self.progress.track(batches, total=left, description="distilling", count=lambda _: 1 / micro)
        for batch in watched:
            self._count(batch)
            yield {"batch": batch}

    def _count(self, batch: Batch) -> None:
        self.tally.clips += len(batch.names)
        self.tally.sound_seconds += batch.samples.numel() / self.teachers[0].grid.rate
        self.tally.skipped |= {skip.name: skip.reason for skip in batch.skipped}

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
            torch.Generator().manual_seed(self._seed(batch, "surgery")),
        )
        if self.accelerator.sync_gradients:
            average_gradients(self.distiller.parameters())
        return torch.stack(losses).detach().sum()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Besides what Trainer logs: each teacher's loss, and clips a second in this run."""
        if "loss" in logs:
            batches = (self.state.global_step - self._logged) * self.args.gradient_accumulation_steps
            logs |= {f"loss/{name}": float(part) / batches for name, part in self._parts.items()}
            logs["clips_per_second"] = self.clips_per_second
            self._logged, self._parts = self.state.global_step, {}
        super().log(logs, start_time)

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        """float16 has its own way with gradients that are too large: such a step is left out."""
        norm = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        if self.accelerator.scaler is None and not torch.as_tensor(norm).isfinite():
            raise InputError(self._not_finite("the gradient", self._names))
        self._names = []
        return norm

    # One batch --------------------------------------------------------------------------------------------------------

    def _losses(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """Every teacher's loss, finite."""
        device = self.args.device
        with torch.no_grad():
            targets = standardised(answers(self.teachers, batch, device), self.distiller.standards)
        mask = None
        if self.recipe.objective.masked:
            generator = torch.Generator().manual_seed(self._seed(batch, "mask"))
            mask = span_mask(len(batch.samples), batch.frames, generator).to(device)
        samples = batch.samples.to(device)
        torch.manual_seed(self._seed(batch, "dropout"))
        losses: dict[str, Tensor] = model(samples, targets, batch.snrs.to(device), mask)
        if not torch.stack([loss.detach() for loss in losses.values()]).isfinite().all():
            raise InputError(self._not_finite("the loss", self._suspects(batch, targets, samples)))
        for name, loss in losses.items():
            self._parts[name] = self._parts.get(name, torch.zeros((), device=device)) + loss.detach()
        self._names += batch.names
        return losses

    def _seed(self, batch: Batch, what: str) -> int:
        digest = sha256(f"{self.recipe.seed}/{batch.number}/{what}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    @torch.no_grad()
    def _suspects(self, batch: Batch, targets: Sequence[Target | None], samples: Tensor) -> list[str]:
        """The clips of which a teacher or the student says something that is not finite; all, where there are none."""
        bad = ~self.distiller.hidden(samples).flatten(1).isfinite().all(1)
        for target in targets:
            if target is not None:
                bad[target.places] |= ~target.wanted.flatten(1).isfinite().all(1)
        return [name for name, is_bad in zip(batch.names, bad.tolist(), strict=True) if is_bad] or list(batch.names)

    def _not_finite(self, what: str, names: Sequence[str]) -> str:
        good = self.work.last()
        kept = f"{good} is kept" if good else "there is no checkpoint yet"
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        return (
            f"step {self.state.global_step + 1}: {what} is NaN or infinite; clips: {', '.join(names[:SHOWN])}{more}; "
            f"{kept}; leave these clips out, lower training.rate or train in float32"
        )

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        tally = self.heard()
        if self.args.should_save:
            needed = STATE_COPIES * sum(parameter.nbytes for parameter in self.distiller.parameters())
            with self.work.checkpoint(self.state.global_step, needed) as folder:
                (folder / TALLY).write_text(json.dumps(asdict(tally)))
                super()._save_checkpoint(model, trial)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.work.draft)

    def _save_rng_state(self, output_dir: str) -> None:
        """There is none to save: every batch brings its own."""

    def store_flos(self) -> None:
        """Clips are counted here, not operations, for which all processes would have to meet."""


class _Lazily:
    """What Trainer takes for a data loader: batches that are made when they are asked for, until it is closed."""

    def __init__(self, make: Callable[[], Generator[dict[str, Batch]]]) -> None:
        self._make = make
        self._running: Generator[dict[str, Batch]] | None = None

    def __iter__(self) -> Iterator[dict[str, Batch]]:
        self._running = self._make()
        return self._running

    def close(self) -> None:
        """End what reads ahead."""
        if self._running is not None:
            self._running.close()


class _Averages(TrainerCallback):
    """Keeps the running mean of the student's weights."""

    def __init__(self, distiller: Distiller) -> None:
        self.distiller = distiller

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.distiller.stepped()


class _Looks(TrainerCallback):
    """Looks at the student every so many steps, saves what was looked at, and stops where the look says so."""

    def __init__(self, steps: int, look: Callable[[int], bool]) -> None:
        self.steps, self.look = steps, look

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self.steps == 0 or state.global_step == state.max_steps:
            told = gathered(self.look(state.global_step) if args.process_index == 0 else False)
            control.should_training_stop |= told[0]
            control.should_save = True
