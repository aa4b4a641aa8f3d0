"""`crossfade.distill`: one student from many teachers, as a recipe says."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from crossfade.distillation.course import Course, prepare
from crossfade.distillation.export import licence_of, write_record, write_student
from crossfade.distillation.lessons import measure_standards
from crossfade.distillation.recipe import DistilRecipe, load_recipe
from crossfade.distillation.watch import Watcher
from crossfade.encoders.model import resolve_device
from crossfade.encoders.writer import output_folder
from crossfade.errors import InputError
from crossfade.memory import peak_memory
from crossfade.probing.cache import open_cache
from crossfade.probing.tasks import load_dataset, load_tasks
from crossfade.probing.upstreams import split_name
from crossfade.progress import SILENT, Progress
from crossfade.training.checkpoints import Work, step_of
from crossfade.training.processes import gathered

if TYPE_CHECKING:
    from crossfade.distillation.trainer import DistilTrainer
    from crossfade.training.numbered import Tally

INSTALLED_BY = {"accelerate": "'crossfade[distil]'", "tensorboard": "tensorboard", "trackio": "trackio"}
"""What is needed only for some recipes, and what pip is to install."""

MEASURED_BATCHES = 64
"""Among which clips for the teachers' scales are looked for."""

NOTED = 20
"""Sounds that could not be heard and are named on the card."""


@dataclass(frozen=True)
class Distilled:
    """A student on disk: `path` is the folder. `steps` were trained; the student of step `chosen` is written.

    `seconds`, `clips`, `sound_seconds` and `skipped` (name: reason) are of all runs of this training,
    `clips_per_second` and peak `gigabytes` of memory of this one. `loss` is the last point of the curve; `looks` are
    what was seen of the student on the way.
    """

    path: Path
    parameters: int
    steps: int
    chosen: int
    seconds: float
    clips: int
    sound_seconds: float
    clips_per_second: float
    gigabytes: float
    loss: float | None
    looks: Sequence[Mapping[str, Any]]
    skipped: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self) | {"path": str(self.path)}

    def __repr__(self) -> str:
        return f"Distilled({str(self.path)!r}, {self.parameters / 1e6:.2f} M, {self.steps} steps, loss {self.loss})"


def distill(
    recipe: str | Path | DistilRecipe,
    output: str | Path,
    *,
    seed: int | None = None,
    device: str = "auto",
    cache: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Distilled:
    """Train the student that a recipe describes and write it to `output`, an ordinary Hugging Face folder.

    The training's checkpoints lie beside it, in `.NAME.work`, and so do the translators: the same call goes on from
    the last one, and on a processor in float32 ends with the same weights as if it had never stopped. Processes that
    `accelerate launch` started train together.

    Args:
        recipe: a YAML file, see `crossfade.distillation.recipe`, or what it holds.
        seed: in place of the recipe's.
        cache: where stored signals are kept; where probing keeps features by default.
        overwrite: replace an existing output, and the checkpoints of another recipe.

    Raises InputError for a recipe that cannot be followed; then no output is written and an existing one stays.
    """
    recipe = recipe if isinstance(recipe, DistilRecipe) else load_recipe(recipe)
    recipe = recipe if seed is None else recipe.model_copy(update={"seed": seed})
    where, work = resolve_device(device), Work(Path(output))
    _check(recipe, Path(output), where)
    from crossfade.training.numbered import training_arguments

    arguments = training_arguments(recipe.training, recipe.seed, work, where)
    first, processes = arguments.process_index == 0, (arguments.process_index, arguments.world_size)
    watched = progress if first else SILENT
    with output_folder(Path(output), overwrite=overwrite) if first else nullcontext(work.folder) as draft:
        kept = open_cache(cache)
        course = prepare(recipe, kept, str(where), processes, watched)
        with work.begin(course.identity(processes[1]), overwrite=overwrite) if first else nullcontext():
            watcher = Watcher(
                recipe.watch,
                work,
                lambda folder: write_student(folder, course.distiller.made, course.preprocessing),
                device=str(where),
                seed=recipe.seed,
            )
            trainer, told = _train(course, arguments, work, watcher, watched)
            made = _told(Path(output), course, trainer, told, watcher)
            if first:
                _write(draft, course, watcher)
                said = course.recipe.model_dump(mode="json", by_alias=True, exclude_unset=True)
                write_record(draft, _record(course, trainer, made), said)
    return made


def _check(recipe: DistilRecipe, output: Path, device: torch.device) -> None:
    """What can be refused from the recipe alone. Raises InputError."""
    taught = [name for teacher in recipe.teachers for name in split_name(teacher.model)]
    inputs = [*taught, *recipe.student.source]
    if output.resolve() in [Path(name).expanduser().resolve() for name in inputs]:
        raise InputError(f"{output}: is one of the inputs; choose another output folder")
    if recipe.training.precision == "float16" and device.type == "cpu":
        raise InputError("training.precision float16: needs a GPU; on a processor take float32 or bfloat16")
    for task in recipe.watch.tasks:
        for one in load_tasks(task):
            load_dataset(one, seed=recipe.seed)
    for module in ("accelerate", recipe.training.log):
        if module != "none" and find_spec(module) is None:
            raise InputError(f"distilling this recipe needs {module}: pip install {INSTALLED_BY[module]}")


def _train(
    course: Course, arguments: Any, work: Work, watcher: Watcher, progress: Progress
) -> tuple["DistilTrainer", "Tally"]:
    """Train to the end, from the last checkpoint where there is one; what all processes heard."""
    from crossfade.distillation.trainer import DistilTrainer

    trainer = DistilTrainer(
        course.distiller,
        arguments,
        course.recipe,
        teachers=course.teachers,
        read=course.read,
        work=work,
        look=watcher.look if watcher.tasks else None,
        progress=progress,
    )
    checkpoint = gathered(work.last())[0]
    over = not course.recipe.training.steps
    if checkpoint is None and not over and arguments.process_index == 0:
        with closing(course.read(0, 1, MEASURED_BATCHES)) as batches:
            measure_standards(
                course.teachers,
                course.distiller.standards,
                batches,
                course.recipe.objective,
                arguments.device,
                course.recipe.seed,
            )
    trainer.fit(checkpoint, over=over or (checkpoint is not None and watcher.is_over(step_of(checkpoint))))
    return trainer, trainer.heard()


def _write(draft: Path, course: Course, watcher: Watcher) -> None:
    """The best student that was looked at; where nobody looked, the last."""
    if watcher.best is None:
        write_student(draft, course.distiller.made, course.preprocessing)
        return
    for path in watcher.best.iterdir():
        shutil.copyfile(path, draft / path.name)


def _told(output: Path, course: Course, trainer: "DistilTrainer", tally: "Tally", watcher: Watcher) -> Distilled:
    steps, curve = trainer.state.global_step, trainer.curve
    return Distilled(
        path=output,
        parameters=sum(parameter.numel() for parameter in course.student.parameters()),
        steps=steps,
        chosen=steps if watcher.best is None else step_of(watcher.best),
        seconds=tally.seconds,
        clips=tally.clips,
        sound_seconds=tally.sound_seconds,
        clips_per_second=trainer.clips_per_second,
        gigabytes=_peak_gigabytes(trainer.args.device),
        loss=curve[-1]["loss"] if curve else None,
        looks=watcher.looks,
        skipped={skip.name: skip.reason for skip in course.skipped} | tally.skipped,
    )


def _record(course: Course, trainer: "DistilTrainer", made: Distilled) -> dict[str, Any]:
    """What crossfade.json and the model card tell."""
    recipe, device = course.recipe, trainer.args.device
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    taught = made.to_dict() | {"curve": trainer.curve, "device": gpu or "cpu", "processes": trainer.args.world_size}
    noted = [f"not heard: {name} ({reason})" for name, reason in list(made.skipped.items())[:NOTED]]
    if len(made.skipped) > NOTED:
        noted.append(f"not heard: {len(made.skipped) - NOTED} more")
    return {
        "recipe": recipe.model_dump(mode="json", by_alias=True),
        "student": {**course.start, "parameters": made.parameters},
        "teachers": [
            {
                "model": one.upstream.name,
                "revision": one.upstream.revision,
                "sha256": one.upstream.sha256,
                "key": one.upstream.key,
                "licence": licence_of(one.upstream),
                "layers": list(one.layers),
                "weight": one.wanted.weight,
                "domain": one.wanted.domain,
            }
            for one in course.teachers
        ],
        "data": [
            {
                "source": corpus.source,
                "domain": corpus.domain,
                "share": share,
                "clips": len(clips),
                "hours": sum(clip.samples for clip in clips) / course.planner.grid.rate / 3600,
                "licences": licences,
            }
            for corpus, share, clips, licences in zip(
                recipe.data, course.shares, course.clips, course.licences, strict=True
            )
        ],
        "training": {key: value for key, value in taught.items() if key not in ("path", "looks", "skipped")},
        "looks": list(made.looks),
        "notes": noted,
    }


def _peak_gigabytes(device: torch.device) -> float:
    """Of memory that this process took: the GPU's where it trains on one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return peak_memory() / 1e9
