"""transformers' Trainer over numbered batches: exact resumption, whole checkpoints, several processes, and no NaN."""

import json
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, TrainerState

from crossfade.audio.batches import Skipped
from crossfade.errors import InputError
from crossfade.progress import SILENT, Progress
from crossfade.training.checkpoints import Work, step_of
from crossfade.training.processes import gathered
from crossfade.training.settings import Schedule

SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}

POINTS = 200
"""Of the loss curve."""

STATE_COPIES = 3
"""What a checkpoint holds of every weight: itself and Adam's two moments."""

SHOWN = 5
"""Clips that an error names."""

TALLY = "tally.json"


class Numbered(Protocol):
    """A batch that has a place in the training; its clips, and those that had to be left out."""

    @property
    def number(self) -> int: ...
    @property
    def names(self) -> Sequence[str]: ...
    @property
    def skipped(self) -> Sequence[Skipped]: ...


Read = Callable[[int, int, int], Iterator[Any]]
"""Batches from a number on, every so many, so many of them."""


@dataclass
class Tally:
    """What all processes heard in all runs of a training, the seconds that these took, and what was left out."""

    seconds: float = 0.0
    clips: int = 0
    sound_seconds: float = 0.0
    skipped: dict[str, str] = field(default_factory=dict)


def training_arguments(training: Schedule, seed: int, work: Work, device: torch.device) -> TrainingArguments:
    """A schedule in transformers' words. Where several processes were launched, they find each other here."""
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
        seed=seed,
        ignore_data_skip=True,
        remove_unused_columns=False,
        ddp_find_unused_parameters=True,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one process, one GPU: others are for `accelerate launch`
    return arguments


class NumberedTrainer(Trainer):
    """Trains on the batches that `read` gives.

    Whatever is drawn for a batch is drawn from `seed` and the batch's number, so a batch is the same in every run, on
    every process, and after every interruption. With n processes, each step takes n times `accumulate` batches, one
    after the other: what one process with `accumulate` times n takes.
    """

    doing = "training"
    """What whoever watches is told."""

    def __init__(
        self,
        model: nn.Module,
        arguments: TrainingArguments,
        *,
        read: Read,
        work: Work,
        seed: int,
        progress: Progress = SILENT,
    ) -> None:
        self.read, self.work, self.seed, self.progress = read, work, seed, progress
        self.before, self.tally = Tally(), Tally()
        self.opened = self.started = monotonic()
        self._batches = _Lazily(self._rest)
        self._names: list[str] = []
        super().__init__(model=model, args=arguments)
        self.remove_callback(PrinterCallback)

    @abstractmethod
    def sound_seconds(self, batch: Any) -> float:
        """How much sound a batch has."""

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

    @property
    def curve(self) -> list[dict[str, float]]:
        """Points of the loss curve: step, loss, its parts, gradient norm and rate."""
        points = [{**point} for point in self.state.log_history if "loss" in point]
        return [{"step": point.pop("step"), **{k: v for k, v in point.items() if k != "epoch"}} for point in points]

    def heard(self) -> Tally:
        """The tally of all processes and runs; all processes must ask."""
        told = [self.before, *gathered(self.tally)]
        return Tally(
            seconds=self.before.seconds + monotonic() - self.opened,
            clips=sum(one.clips for one in told),
            sound_seconds=sum(one.sound_seconds for one in told),
            skipped={name: reason for one in told for name, reason in one.skipped.items()},
        )

    def drawn_from(self, batch: Numbered, what: str) -> int:
        """The seed of what is drawn for a batch."""
        digest = sha256(f"{self.seed}/{batch.number}/{what}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def not_finite(self, what: str, names: Sequence[str]) -> str:
        """One line: at which step, of which clips, what is left, and how to mend it."""
        good = self.work.last()
        kept = f"{good} is kept" if good else "there is no checkpoint yet"
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        return (
            f"step {self.state.global_step + 1}: {what} is NaN or infinite; clips: {', '.join(names[:SHOWN])}{more}; "
            f"{kept}; leave these clips out, lower training.rate or train in float32"
        )

    # What transformers asks for ---------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> Any:
        """The rest of the training's batches for this process."""
        return self._batches

    def _rest(self) -> Generator[dict[str, Any]]:
        """From the step that was reached on, while somebody may watch."""
        done, processes = self.state.global_step, self.args.world_size
        micro, left = self.args.gradient_accumulation_steps, self.args.max_steps - done
        self.started = monotonic()
        batches = self.read(done * micro * processes + self.args.process_index, processes, left * micro)
        for batch in self.progress.track(batches, total=left, description=self.doing, count=lambda _: 1 / micro):
            self.tally.clips += len(batch.names)
            self.tally.sound_seconds += self.sound_seconds(batch)
            self.tally.skipped |= {skip.name: skip.reason for skip in batch.skipped}
            self._names += batch.names
            yield {"batch": batch}

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        """float16 has its own way with gradients that are too large: such a step is left out."""
        norm = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        if self.accelerator.scaler is None and not torch.as_tensor(norm).isfinite():
            raise InputError(self.not_finite("the gradient", self._names))
        self._names = []
        return norm

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        tally = self.heard()
        if self.args.should_save:
            needed = STATE_COPIES * sum(parameter.nbytes for parameter in self.kept())
            with self.work.checkpoint(self.state.global_step, needed) as folder:
                (folder / TALLY).write_text(json.dumps(asdict(tally)))
                super()._save_checkpoint(model, trial)

    def kept(self) -> Iterator[nn.Parameter]:
        """What a checkpoint holds of the model."""
        assert isinstance(self.model, nn.Module)
        return self.model.parameters()

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.work.draft)

    def _save_rng_state(self, output_dir: str) -> None:
        """There is none to save: every batch brings its own."""

    def store_flos(self) -> None:
        """Clips are counted here, not operations, for which all processes would have to meet."""


class _Lazily:
    """What Trainer takes for a data loader: batches that are made when they are asked for, until it is closed."""

    def __init__(self, make: Callable[[], Generator[dict[str, Any]]]) -> None:
        self._make = make
        self._running: Generator[dict[str, Any]] | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._running = self._make()
        return self._running

    def close(self) -> None:
        """End what reads ahead."""
        if self._running is not None:
            self._running.close()


class EverySoOften(TrainerCallback):
    """Looks at the model every so many steps, saves what was looked at, and stops where the look says so."""

    def __init__(self, steps: int, look: Callable[[int], bool]) -> None:
        self.steps, self.look = steps, look

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self.steps == 0 or state.global_step == state.max_steps:
            told = gathered(self.look(state.global_step) if args.process_index == 0 else False)
            control.should_training_stop |= told[0]
            control.should_save = True
