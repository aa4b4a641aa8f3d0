"""What is done with tuned folders: a bank made of several, a look into one, an attack on one."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossfade.encoders.writer import output_folder
from crossfade.errors import InputError
from crossfade.probing.results import require_free, write_file
from crossfade.probing.sounds import Sounds
from crossfade.progress import SILENT, Progress
from crossfade.prompts.analysis import inspection
from crossfade.prompts.attack import attack as ascend
from crossfade.prompts.bank import PromptBank
from crossfade.prompts.corpus import Batch, Reader, list_utterances, plans, readable
from crossfade.prompts.drift import Defence
from crossfade.prompts.recipe import Data, PromptRecipe
from crossfade.prompts.recognizer import losses
from crossfade.prompts.run import load_data
from crossfade.prompts.soft import SoftPrompts
from crossfade.prompts.store import write_prompts
from crossfade.prompts.transcripts import read_transcripts
from crossfade.prompts.tuned import Tuned, open_tuned, read_tuning

BATCHES = 4
"""Batches of training clips that an attack listens to in turn."""


@dataclass(frozen=True)
class Banked:
    """A bank on disk: the names of its noises, in order."""

    path: Path
    noises: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"path": str(self.path), "noises": list(self.noises)}


@dataclass(frozen=True)
class Inspected:
    """What prompts do, see `analysis.inspection`."""

    path: Path
    found: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {"path": str(self.path), **self.found}


@dataclass(frozen=True)
class Attacked:
    """A folder with malicious prompts, `epsilon` times their norm away; the mean `loss` before and after."""

    path: Path
    epsilon: float
    steps: int
    clips: int
    loss_before: float
    loss_after: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"path": str(self.path)}


def make_bank(folders: Sequence[str | Path], output: str | Path, *, overwrite: bool = False) -> Banked:
    """A bank of prompts that were tuned under noise, from one start and under its head.

    Raises InputError for those that do not fit together.
    """
    starts = [_start(Path(folder)) for folder in folders]
    for folder, start in zip(folders, starts, strict=True):
        if start != starts[0]:
            raise InputError(
                f"bank: {folder} started from {start}, {folders[0]} from {starts[0]}; prompts can be combined where "
                "they began as the same: give their recipes one `start`"
            )
    bank = PromptBank(tuple(SoftPrompts.from_pretrained(folder) for folder in folders), tuple(map(str, folders)))
    bank.save_pretrained(output, overwrite=overwrite)
    return Banked(Path(output), tuple(noise.name for noise in bank.noises))


def _start(folder: Path) -> str | None:
    """What a folder's prompts started from. InputError where it has none."""
    recipe, _ = read_tuning(folder)
    if recipe.method not in ("prompts", "deep"):
        raise _promptless(folder, recipe)
    return recipe.start


def _promptless(folder: str | Path, recipe: PromptRecipe) -> InputError:
    return InputError(f"{folder}: method {recipe.method} has no prompts; expected method prompts or deep")


def inspect(
    tuned: str | Path,
    output: str | Path,
    *,
    data: str | Path | None = None,
    clips: int = 32,
    trusted: str | Path | None = None,
    model: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
) -> Inspected:
    """What prompts do to the first test clips of their data, or of the task `data`, as JSON in `output`.

    Prompts that are not what was recorded are inspected as they are; `trusted` is the same folder from where nobody
    could change it.
    """
    require_free(output, overwrite=overwrite)
    own = _prompted(tuned, device, model, "off")
    heard = _sounds(own, data, "test", clips)
    known = SoftPrompts.from_pretrained(trusted) if trusted is not None else None
    assert own.recognizer.prompts is not None
    found = inspection(own.recognizer.prompts, own.recognizer.listen, heard, known)
    write_file(output, json.dumps(found, indent=1) + "\n", overwrite=overwrite)
    return Inspected(Path(output), found)


def attack(
    tuned: str | Path,
    output: str | Path,
    *,
    data: str | Path | None = None,
    epsilon: float = 0.5,
    steps: int = 50,
    hidden: bool = False,
    seed: int = 0,
    model: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Attacked:
    """Prompts that are worst for training clips, no further than `epsilon` times their norm away, in a folder.

    The folder keeps the record of the prompts as they were, as someone would leave it who can write the weights alone:
    to load it is refused, unless a defence is chosen. `hidden`: no vector is longer than the longest recorded one.
    """
    own = _prompted(tuned, device, model, "refuse")
    prompts, recognizer = own.recognizer.prompts, own.recognizer
    assert prompts is not None
    for value in recognizer.parameters():
        value.requires_grad_(False)
    batches = _batches(own, data)
    turn = cycle(batches)

    def of(batch: Batch, vectors: Tensor) -> Tensor:
        return losses(recognizer(batch.samples, lambda: vectors), batch.ids).mean()

    def mean(vectors: Tensor) -> float:
        with torch.no_grad():
            return float(torch.stack([of(batch, vectors) for batch in batches]).mean())

    with output_folder(Path(output), overwrite=overwrite) as draft:
        within = prompts.config.record if hidden else None
        made = ascend(
            prompts.vectors,
            lambda vectors: of(next(turn), vectors),
            epsilon=epsilon,
            steps=steps,
            seed=seed,
            within=within,
            progress=progress,
        )
        shutil.copytree(tuned, draft, dirs_exist_ok=True)
        write_prompts(draft, prompts.config, made.vectors, keep_record=True)
    return Attacked(
        path=Path(output),
        epsilon=epsilon,
        steps=steps,
        clips=sum(len(batch.names) for batch in batches),
        loss_before=mean(prompts.vectors.detach()),
        loss_after=mean(made.vectors),
    )


def _prompted(folder: str | Path, device: str, model: str | None, defence: Defence) -> Tuned:
    tuned = open_tuned(folder, device, model, defence)
    if tuned.recognizer.prompts is None:
        raise _promptless(folder, tuned.recipe)
    return tuned


def _reader(tuned: Tuned, data: str | Path | None, side: str) -> Reader:
    recipe, upstream, sounds = tuned.recipe, tuned.upstream, Sounds()
    dataset = load_data(Data(task=str(data)) if data is not None else recipe.data, recipe.seed)
    transcripts = read_transcripts(dataset, recipe.text, tuned.recognizer.table)
    utterances, _ = list_utterances(dataset, transcripts, side, upstream, sounds)
    return Reader(utterances, upstream, sounds, None, round(recipe.training.batch_seconds * upstream.rate), recipe.seed)


def _sounds(tuned: Tuned, data: str | Path | None, side: str, clips: int) -> list[Tensor]:
    """The first of them that can be heard."""
    reader = _reader(tuned, data, side)
    kept, _ = readable(reader.utterances[:clips], reader)
    return [samples.to(tuned.upstream.device) for _, samples in kept]


def _batches(tuned: Tuned, data: str | Path | None) -> list[Batch]:
    reader = _reader(tuned, data, "train")
    passed = plans([one.samples for one in reader.utterances], reader.most, reader.seed)
    found = [reader.read(plan) for plan, _ in zip(passed, range(BATCHES), strict=False)]
    if not any(batch.names for batch in found):
        raise InputError(f"{tuned.path}: none of the first training clips can be heard")
    return [batch for batch in found if batch.names]
