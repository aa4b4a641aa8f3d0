"""The trainer of a recogniser: two rates, checkpoints of what is trained alone, and looks at validation clips."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim import AdamW, Optimizer
from transformers import TrainingArguments

from crossfade.errors import InputError
from crossfade.probing.metrics import METRICS
from crossfade.progress import SILENT, Progress
from crossfade.prompts.corpus import Batch, Reader, Utterance, readable
from crossfade.prompts.recipe import Training
from crossfade.prompts.recognizer import Recognizer, losses, transcribe
from crossfade.training.checkpoints import Work
from crossfade.training.looks import Looks
from crossfade.training.numbered import EverySoOften, NumberedTrainer

WEIGHTS = "trained.safetensors"


class Tuner(NumberedTrainer):
    """Trains what of `recognizer` wants a gradient on the batches of `reader`; `look` may stop it at a step.

    For the first `head_first` steps the head alone. What is drawn for a batch is dropout.
    """

    doing = "tuning"

    def __init__(
        self,
        recognizer: Recognizer,
        arguments: TrainingArguments,
        training: Training,
        *,
        reader: Reader,
        work: Work,
        seed: int,
        head_first: int,
        look: Callable[[int], bool],
        progress: Progress = SILENT,
    ) -> None:
        self.recognizer, self.training, self.head_first = recognizer, training, head_first
        self.looked, self._look, self._first = 0.0, look, 0
        super().__init__(recognizer, arguments, read=reader, work=work, seed=seed, progress=progress)
        self.add_callback(EverySoOften(training.valid_steps, self._timed))

    @property
    def seconds_per_step(self) -> float | None:
        """Of this run, without its looks; None where it trained no step."""
        steps = self.state.global_step - self._first
        return (monotonic() - self.started - self.looked) / steps if self.tally.clips else None

    def sound_seconds(self, batch: Batch) -> float:
        """Sound in a batch, without padding."""
        return sum(map(len, batch.samples)) / self.recognizer.upstream.rate

    def create_optimizer(self, model: Any = None) -> Optimizer:
        """AdamW, with a rate of its own for the head."""
        if self.optimizer is None:
            told, trained = self.training, self.recognizer.trained()
            head = [value for name, value in trained.items() if name.startswith("head.")]
            rest = [value for name, value in trained.items() if not name.startswith("head.")]
            groups = ((rest, self.args.learning_rate), (head, told.head_rate))
            self.optimizer = AdamW(
                [{"params": values, "lr": rate} for values, rate in groups if values],
                betas=told.betas,
                eps=told.epsilon,
                weight_decay=told.weight_decay,
            )
        return self.optimizer

    def compute_loss(self, model: Any, inputs: Any, return_outputs: Any = False, num_items_in_batch: Any = None) -> Any:
        """The mean loss of a batch's clips. Raises InputError where one is NaN or infinite."""
        batch: Batch = inputs["batch"]
        if not batch.names:
            return torch.stack([value.sum() for value in self.recognizer.trained().values()]).sum() * 0
        torch.manual_seed(self.drawn_from(batch, "dropout"))
        alone = self.state.global_step < self.head_first
        found = losses(model(batch.samples, self.recognizer.prompts, head_alone=alone), batch.ids)
        if not found.detach().isfinite().all():
            bad = [name for name, fine in zip(batch.names, found.isfinite().tolist(), strict=True) if not fine]
            raise InputError(self.not_finite("the loss", bad))
        return found.mean()

    def _rest(self) -> Any:
        self._first = self.state.global_step
        return super()._rest()

    def _timed(self, step: int) -> bool:
        started = monotonic()
        try:
            return self._look(step)
        finally:
            self.recognizer.train()
            self.looked += monotonic() - started

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def kept(self) -> Iterator[nn.Parameter]:
        """What is trained: the rest lies where it was."""
        return iter(self.recognizer.trained().values())

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        assert output_dir is not None
        save_trained(self.recognizer, Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.recognizer.take(load_file(Path(resume_from_checkpoint) / WEIGHTS))


class Validation(Looks):
    """Error rates on validation clips, below zero as less is better; the best weights are kept.

    A training under noise is judged under it: each clip has the same noise at every look.
    """

    def __init__(
        self,
        work: Work,
        recognizer: Recognizer,
        reader: Reader,
        utterances: Sequence[Utterance],
        metric: str,
        patience: int | None,
    ) -> None:
        super().__init__(work, lambda folder: save_trained(recognizer, folder), patience)
        self.recognizer, self.reader, self.utterances, self.metric = recognizer, reader, utterances, metric

    def _scores(self, folder: Path, cache: Path) -> Iterator[tuple[str, float]]:
        kept, _ = readable(self.utterances, self.reader, noisy=True)
        self.recognizer.eval()
        prompts = self.recognizer.prompts
        texts = transcribe(self.recognizer, [samples for _, samples in kept], lambda _: prompts, self.reader.most)
        yield self.metric, -METRICS[self.metric].value([one.text for one, _ in kept], texts)


def save_trained(recognizer: Recognizer, folder: Path) -> None:
    """Write what is trained of it."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.detach().contiguous() for name, value in recognizer.trained().items()}, folder / WEIGHTS)
