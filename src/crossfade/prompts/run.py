"""`crossfade prompt-tune train`: a recogniser as a recipe says, whatever its method."""

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from crossfade.audio.batches import Skipped
from crossfade.documents import first_difference
from crossfade.encoders.model import resolve_device
from crossfade.encoders.writer import output_folder
from crossfade.errors import InputError
from crossfade.memory import peak_memory
from crossfade.probing.exam import digest, with_sound
from crossfade.probing.schema import Dataset
from crossfade.probing.sounds import Sounds
from crossfade.probing.tasks import load_dataset, load_tasks
from crossfade.progress import SILENT, Progress
from crossfade.prompts.bank import noise_of, noise_profile
from crossfade.prompts.config import Noise
from crossfade.prompts.corpus import Reader, Utterance, list_utterances, plans, readable
from crossfade.prompts.listening import open_listener
from crossfade.prompts.methods import METHODS, require
from crossfade.prompts.recipe import Data, Method, PromptRecipe, load_recipe
from crossfade.prompts.recognizer import Recognizer
from crossfade.prompts.transcripts import Transcripts, read_transcripts
from crossfade.prompts.tuned import make_head, open_tuned, write_tuned
from crossfade.training.checkpoints import Work, step_of
from crossfade.training.noise import NoiseDraws

if TYPE_CHECKING:
    from crossfade.prompts.tuner import Tuner, Validation

HARMLESS = ("save_steps", "log")
"""Settings of a training that may change while it is interrupted."""

METRICS_OF = {"characters": ("wer", "cer"), "words": ("per",)}
"""What text of each unit is judged by; the last one is what validation clips choose by."""

FRAME_CLIPS = 8
"""Training clips from whose frames prompts start, with `init: frames`."""

PROFILED = 50
"""Noisy training clips of which the profile of a noise is the mean."""


@dataclass(frozen=True)
class Made:
    """Something tuned, on disk at `path`. `steps` were trained; the weights of step `chosen` are written.

    `parameters` were trained, `bytes` are their files'. `valid` is the error rate on validation clips in percent.
    `seconds`, `clips` and `sound_seconds` are of all runs of this training, `seconds_per_step` and `memory_bytes`
    of this one. `unknown` counts the tokens of validation and test transcripts that training clips lack.
    """

    path: Path
    method: Method
    parameters: int
    bytes: int
    steps: int
    chosen: int
    metric: str
    valid: float
    seconds: float
    seconds_per_step: float | None
    memory_bytes: int
    clips: int
    sound_seconds: float
    loss: float | None
    unknown: Mapping[str, int]
    skipped: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self) | {"path": str(self.path)}

    def __repr__(self) -> str:
        return f"Made({str(self.path)!r}, {self.method}, {self.metric} {self.valid:.1f} % after {self.chosen} steps)"


@dataclass(frozen=True)
class Lesson:
    """Everything that a training needs but time."""

    recipe: PromptRecipe
    dataset: Dataset
    transcripts: Transcripts
    recognizer: Recognizer
    reader: Reader
    valid: Sequence[Utterance]
    skipped: Sequence[Skipped]

    @property
    def rate(self) -> float:
        """Learning rate of what is trained beside the head."""
        return self.recipe.training.rate or METHODS[self.recipe.method].rate

    def identity(self) -> dict[str, Any]:
        """What must agree for a training to go on where it stopped (JSON)."""
        told = self.recipe.model_dump(mode="json", by_alias=True)
        training = {key: value for key, value in told["training"].items() if key not in HARMLESS}
        return {
            "recipe": told | {"training": training},
            "model": self.recognizer.upstream.key,
            "data": self.dataset.sha256,
            "clips": digest([[one.item.id, one.samples] for one in self.reader.utterances]),
        }


def train(
    recipe: str | Path | PromptRecipe,
    output: str | Path,
    *,
    seed: int | None = None,
    method: Method | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Made:
    """Tune what a recipe describes and write it to `output`, a folder as `tuned` says.

    Its checkpoints lie beside it, in `.NAME.work`, until it is done (logs stay there): the same call goes on from the
    last one, and on a processor in float32 ends with the same weights as if it had never stopped. What is best on
    validation clips is written.

    Args:
        recipe: a YAML file, see `crossfade.prompts.recipe`, or what it holds.
        seed, method: in place of the recipe's.
        overwrite: replace an existing output, and the checkpoints of another recipe.

    Raises InputError for a recipe that cannot be followed; then no output is written and an existing one stays.
    """
    recipe = recipe if isinstance(recipe, PromptRecipe) else load_recipe(recipe)
    changes = {"seed": seed, "method": method}
    recipe = recipe.model_copy(update={key: value for key, value in changes.items() if value is not None})
    log = recipe.training.log
    require("accelerate", "jiwer", *METHODS[recipe.method].needs, *(() if log == "none" else (log,)))
    output = Path(output)
    inputs = [Path(name).expanduser().resolve() for name in (recipe.model, recipe.start) if name]
    if output.resolve() in inputs:
        raise InputError(f"{output}: is one of the inputs; choose another output folder")
    where, work = resolve_device(device), Work(output)
    with output_folder(output, overwrite=overwrite) as draft:
        lesson = prepare(recipe, str(where))
        with work.begin(lesson.identity(), overwrite=overwrite):
            tuner, looks = _fit(lesson, work, where, progress)
            made = _written(draft, output, lesson, tuner, looks)
    if log == "none":
        shutil.rmtree(work.folder, ignore_errors=True)
    return made


def load_data(data: Data, seed: int) -> Dataset:
    """A task of one kind with its data, under a hash that covers its sound. Raises InputError."""
    (task, *more) = load_tasks(data.task)
    if more:
        raise InputError(f"data.task {data.task}: is {1 + len(more)} tasks, expected one of kind ctc")
    if task.kind != "ctc":
        raise InputError(f"{task.name}: is of kind {task.kind}, expected ctc: clips with a transcript")
    return with_sound(load_dataset(task, data.folder, seed=seed))


def prepare(recipe: PromptRecipe, device: str) -> Lesson:
    """Model, data and what is trained, as a recipe says. Raises InputError for all that keeps them apart."""
    # Whatever can be refused is, before any sound is read.
    noise = NoiseDraws(recipe.noise, recipe.seed) if recipe.noise else None
    begun = open_tuned(recipe.start, device) if recipe.start else None
    upstream = open_listener(recipe.model, device, recipe.training.precision)
    dataset, sounds = load_data(recipe.data, recipe.seed), Sounds()
    transcripts = read_transcripts(dataset, recipe.text, begun.recognizer.table if begun else None)
    train, left_out = list_utterances(dataset, transcripts, "train", upstream, sounds)
    valid, unheard = list_utterances(dataset, transcripts, "valid", upstream, sounds)
    reader = Reader(train, upstream, sounds, noise, round(recipe.training.batch_seconds * upstream.rate), recipe.seed)
    torch.manual_seed(recipe.seed)
    head = make_head(upstream, recipe, transcripts.table)
    encoder, prompts = METHODS[recipe.method].equip(upstream, recipe, _first_frames(recipe, reader))
    recognizer = Recognizer(upstream, encoder, prompts, head, transcripts.table)
    if begun:
        if difference := first_difference(_made_of(begun.recipe), _made_of(recipe)):
            raise InputError(f"start: {recipe.start} is made otherwise: {difference}; expected the same")
        recognizer.load_state_dict(begun.recognizer.state_dict())
    head.requires_grad_(recipe.training.head_rate > 0)
    if not recognizer.trained():
        raise InputError("training.head_rate 0: the head is all that method 'head' trains; expected more than 0")
    return Lesson(recipe, dataset, transcripts, recognizer, reader, valid, [*left_out, *unheard])


def _made_of(recipe: PromptRecipe) -> dict[str, Any]:
    own = METHODS[recipe.method].section(recipe)
    return {"model": recipe.model, "method": recipe.method, recipe.method: dict(own), "head": recipe.head.model_dump()}


def _first_frames(recipe: PromptRecipe, reader: Reader) -> list[torch.Tensor]:
    """Hidden states of the clips that come first in the training, where prompts start from frames.

    Raises InputError where no training clip can be heard.
    """
    lengths = [one.samples for one in reader.utterances]
    first = [place for plan in islice(plans(lengths, reader.most, reader.seed), FRAME_CLIPS) for place in plan.places]
    order = dict.fromkeys([*first, *range(len(lengths))])
    wanted = recipe.method in ("prompts", "deep") and recipe.prompts.init == "frames"
    kept, _ = readable((reader.utterances[place] for place in order), reader, FRAME_CLIPS if wanted else 1)
    return reader.upstream.features([samples for _, samples in kept]) if wanted else []


def _fit(lesson: Lesson, work: Work, device: torch.device, progress: Progress) -> tuple["Tuner", "Validation"]:
    """Train to the end, from the last checkpoint where there is one; then the best weights are in the recogniser."""
    from crossfade.prompts.tuner import WEIGHTS, Tuner, Validation
    from crossfade.training.numbered import training_arguments

    recipe, recognizer = lesson.recipe, lesson.recognizer
    training = recipe.training.model_copy(update={"rate": lesson.rate})
    alone = METHODS[recipe.method].section(recipe).get("head_first", 0) if training.head_rate else 0
    metric = METRICS_OF[lesson.transcripts.table.unit][-1]
    looks = Validation(work, recognizer, lesson.reader, lesson.valid, metric, training.patience)
    tuner = Tuner(
        recognizer,
        training_arguments(training, recipe.seed, work, device),
        training,
        reader=lesson.reader,
        work=work,
        seed=recipe.seed,
        head_first=round(alone * training.steps),
        look=looks.look,
        progress=progress,
    )
    checkpoint = work.last()
    over = not training.steps
    tuner.fit(checkpoint, over=over or (checkpoint is not None and looks.is_over(step_of(checkpoint))))
    if looks.best is None:
        looks.look(0)
    assert looks.best is not None
    recognizer.take(load_file(looks.best / WEIGHTS))
    recognizer.eval()
    return tuner, looks


def _written(draft: Path, output: Path, lesson: Lesson, tuner: "Tuner", looks: "Validation") -> Made:
    tally, curve = tuner.heard(), tuner.curve
    assert looks.best is not None
    chosen = step_of(looks.best)
    score = next(look["mean"] for look in looks.looks if look["step"] == chosen)
    made = Made(
        path=output,
        method=lesson.recipe.method,
        parameters=sum(value.numel() for value in lesson.recognizer.trained().values()),
        bytes=0,
        steps=tuner.state.global_step,
        chosen=chosen,
        metric=looks.metric,
        valid=-score,
        seconds=tally.seconds,
        seconds_per_step=tuner.seconds_per_step,
        memory_bytes=peak_memory(),
        clips=tally.clips,
        sound_seconds=tally.sound_seconds,
        loss=curve[-1]["loss"] if curve else None,
        unknown=lesson.transcripts.unknown,
        skipped={skip.name: skip.reason for skip in lesson.skipped} | tally.skipped,
    )
    told = {key: value for key, value in made.to_dict().items() if key not in ("path", "bytes")}
    record = {
        "data": {"task": lesson.dataset.task.name, "sha256": lesson.dataset.sha256,
                 "train": len(lesson.reader.utterances), "valid": len(lesson.valid)},
        "training": told | {"rate": lesson.rate, "curve": curve},
        "looks": looks.looks,
    }  # fmt: skip
    size = write_tuned(draft, lesson.recognizer, _placed(lesson.recipe), record, _noise(lesson, made.skipped))
    return replace(made, bytes=size)


def _placed(recipe: PromptRecipe) -> PromptRecipe:
    """With its folders as they are found from anywhere."""
    folders = {key: str(Path(told).expanduser().resolve()) for key in ("model", "start")
               if (told := getattr(recipe, key)) and Path(told).expanduser().is_dir()}  # fmt: skip
    data = {key: str(Path(told).expanduser().resolve()) for key, told in recipe.data
            if told and Path(told).expanduser().is_dir()}  # fmt: skip
    return recipe.model_copy(update={**folders, "data": recipe.data.model_copy(update=data)})


def _noise(lesson: Lesson, unheard: Collection[str]) -> Noise | None:
    """What the noise of a training sounds like under its clips, but for those `unheard`; None without noise."""
    from crossfade.audio.corruption import corrupt

    told, draws = lesson.recipe.noise, lesson.reader.noise
    if told is None or draws is None:
        return None
    profiles: list[torch.Tensor] = []
    for one in lesson.reader.utterances:
        corruption = draws.draw(one.item.id, 0)[0]
        if corruption.noise is not None and len(profiles) < PROFILED and one.item.id not in unheard:
            heard = corrupt(lesson.reader.clean(one), lesson.reader.upstream.rate, corruption)
            if isfinite(heard.snr):
                profiles.append(noise_profile(heard.samples, lesson.reader.upstream.rate))
    named = [kind for kind in ("white", "pink") if getattr(told, kind)] + [Path(name).name for name in told.folders]
    return noise_of(" and ".join(named), profiles) if profiles else None
