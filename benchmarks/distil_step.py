"""A step of distillation beside the bare computation that it is made of.

`python distil_step.py TEACHER STEPS SECONDS [online|stored]` prints JSON; a batch has SECONDS of sound, 48 in the
recipe of the packaged speech encoder. After every step of `crossfade.distill` its batch is gone through again, bare:
transformers' teacher forward (for stored signals none), the student forward and backward; then also with what any
training needs besides, translators, loss, clipping and AdamW, in ten plain lines. So both see the same load of the
machine; what waiting for batches costs is taken from a run that nothing interrupts.
"""

import json
import resource
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from extraction import write_clips
from torch import Tensor
from transformers import AutoModel

from crossfade import distill
from crossfade.distillation import run
from crossfade.distillation.objectives import l1_cosine
from crossfade.distillation.reading import Batch
from crossfade.distillation.recipe import DistilRecipe, load_recipe
from crossfade.distillation.students import make_student
from crossfade.distillation.translators import build_translators
from crossfade.encoders.sidecars import normalise

RECIPE = Path(__file__).parent.parent / "recipes" / "distil" / "small-music.yaml"
CLIPS_PER_SECOND, SKIPPED_STEPS = 1.25, 2
"""Clips there are for each second of a batch, and steps that no median counts."""

LAYERS = (4, 8, 12)


def recipe(teacher: Path, sound: Path, signals: str, steps: int, seconds: float) -> DistilRecipe:
    """The student and the batches of the packaged speech encoder, taught by a teacher of base size."""
    told = load_recipe(RECIPE).model_dump(by_alias=True)
    told |= {"teachers": [{"model": str(teacher), "layers": LAYERS}], "data": [{"source": str(sound)}]}
    told |= {"signals": signals, "noise": None, "watch": {}}
    told["training"] |= {"steps": steps, "workers": 1, "save_steps": 10**6, "batch_seconds": seconds}
    return DistilRecipe.model_validate(told)


class Bare:
    """A teacher and a student without Crossfade around them."""

    def __init__(self, said: DistilRecipe) -> None:
        self.student: Any
        self.student, self.heard, _ = make_student(said.student)
        self.teacher = None if said.signals == "stored" else AutoModel.from_pretrained(said.teachers[0].model).eval()
        self.wide = 768
        self.translators = build_translators(said.teachers, [self.wide], self.student.config.hidden_size)
        self.weights = [*self.student.parameters(), *self.translators.parameters()]
        self.optimizer = torch.optim.AdamW(self.weights, lr=said.training.rate)

    def forwards(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """What the teacher wants and what the student says."""
        heard = normalise(samples, self.heard)
        hidden = self.student(heard).last_hidden_state
        if self.teacher is None:
            return torch.zeros(len(samples), len(LAYERS), hidden.shape[1], self.wide), hidden
        with torch.no_grad():
            states = self.teacher(heard, output_hidden_states=True).hidden_states
        return torch.stack([states[layer][:, : hidden.shape[1]] for layer in LAYERS], dim=1), hidden

    def step(self, samples: Tensor) -> None:
        """Forward and backward, and nothing else."""
        _, hidden = self.forwards(samples)
        hidden.abs().mean().backward()

    def training_step(self, samples: Tensor) -> None:
        """With translators, loss, clipping and AdamW."""
        wanted, hidden = self.forwards(samples)
        l1_cosine(self.translators(0, hidden), wanted).backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 5.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


class Watch:
    """Times every step of a training; between two, others may use the batch."""

    def __init__(self, between: Callable[[Tensor], None] = lambda samples: None) -> None:
        self.between = between
        self.waits: list[float] = []
        self.steps: list[float] = []
        self.clips: list[int] = []

    def track(self, iterable: Iterable[Batch], *, description: str = "", **_: Any) -> Iterator[Batch]:
        if description != "distilling":
            yield from iterable
            return
        batches, asked = iter(iterable), perf_counter()
        for batch in batches:
            self.waits.append(perf_counter() - asked)
            started = perf_counter()
            yield batch
            self.steps.append(perf_counter() - started)
            self.clips.append(len(batch.names))
            self.between(batch.samples)
            asked = perf_counter()


def timed(work: Callable[[Tensor], None], seconds: list[float]) -> Callable[[Tensor], None]:
    def watched(samples: Tensor) -> None:
        started = perf_counter()
        work(samples)
        seconds.append(perf_counter() - started)

    return watched


def measure(teacher: Path, steps: int, seconds: float, signals: str) -> dict[str, Any]:
    run.MEASURED_BATCHES = 1  # what is measured once before a training is no part of a step
    with tempfile.TemporaryDirectory() as home:
        Path(home, "sound").mkdir()
        write_clips(Path(home, "sound"), round(seconds * CLIPS_PER_SECOND))
        said, cache = recipe(teacher, Path(home, "sound"), signals, steps, seconds), Path(home, "cache")
        alone = Watch()
        made = distill(said, Path(home, "alone"), device="cpu", cache=cache, progress=alone)
        gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        bare, plain, full = Bare(said), list[float](), list[float]()
        forth_and_back, training_step = timed(bare.step, plain), timed(bare.training_step, full)

        def between(samples: Tensor) -> None:
            forth_and_back(samples)
            training_step(samples)

        beside = Watch(between)
        distill(said, Path(home, "beside"), device="cpu", cache=cache, progress=beside)
    wait = median(alone.waits[SKIPPED_STEPS:])
    ours, forth, whole = (median(times[SKIPPED_STEPS:]) for times in (beside.steps, plain, full))
    return {
        "step_seconds": round(ours, 4),
        "waiting_seconds": round(wait, 4),
        "bare_seconds": round(forth, 4),
        "bare_training_seconds": round(whole, 4),
        "over_bare": round((ours + wait) / forth, 3),
        "over_bare_training": round((ours + wait) / whole, 3),
        "clips_per_second": round(made.clips_per_second, 2),
        "sound_seconds_per_second": round(made.clips_per_second * made.sound_seconds / made.clips, 1),
        "peak_gigabytes": round(gigabytes, 3),
        "clips_per_step": median(alone.clips),
    }


if __name__ == "__main__":
    folder, count, length, *kinds = sys.argv[1:]
    found = {kind: measure(Path(folder), int(count), float(length), kind) for kind in kinds or ["online", "stored"]}
    print(json.dumps(found))
