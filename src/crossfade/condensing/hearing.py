"""A labelled data set as one encoder hears it: one vector a clip, its class, its group, and who must not meet whom."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from crossfade.audio.sources import MANIFEST_SUFFIXES
from crossfade.condensing.material import Material, prepare
from crossfade.distillation.export import licence_of
from crossfade.errors import InputError
from crossfade.probing.cache import open_cache
from crossfade.probing.exam import digest, sound_hashes
from crossfade.probing.features import Clip, extract
from crossfade.probing.layouts import read_manifest
from crossfade.probing.measure import model_name
from crossfade.probing.schema import Dataset, Fold, Task
from crossfade.probing.tasks import load_dataset, load_task
from crossfade.probing.upstreams import Upstream, open_upstream
from crossfade.progress import SILENT, Progress

Layer = Literal["mean"] | int
LICENCE_COLUMNS = ("licence", "license")


@dataclass(frozen=True)
class Heard:
    """Features (clips, width) float32 of a data set's items, zeros for those in `skipped`, which says why.

    `encoder` are the facts by which two encoders are the same or not; `licence` is that of the data, where it is told.
    """

    dataset: Dataset
    features: Tensor
    skipped: Mapping[int, str]
    encoder: Mapping[str, Any]
    layer: Layer
    licence: str | None
    upstream: Upstream

    @property
    def labels(self) -> list[str]:
        """The class of every item."""
        return [str(item.label) for item in self.dataset.items]

    def fold(self, number: int) -> Fold:
        """A fold without clips that could not be heard. Raises InputError where there is none of that number."""
        fold = fold_of(self.dataset, number)
        return Fold(*(self._kept(side) for side in (fold.train, fold.valid, fold.test)))

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """Every clip that could not be heard, and why."""
        return [(self.dataset.items[clip].id, reason) for clip, reason in self.skipped.items()]

    def _kept(self, indices: Tensor) -> Tensor:
        return indices[[clip not in self.skipped for clip in indices.tolist()]] if self.skipped else indices

    def material(self, number: int) -> Material:
        """What a generator learns of a fold. Raises InputError as `prepare` does."""
        fold = self.fold(number)
        return prepare(
            self.features, self.labels, fold.train, fold.valid, where=f"{self.dataset.task.name}, fold {number}"
        )


def hear(
    model: str,
    task: str | Path,
    *,
    data: str | Path | None = None,
    layer: Layer = "mean",
    seed: int = 0,
    device: str = "auto",
    cache: str | Path | None = None,
    licence: str | None = None,
    accept: Callable[[Dataset], None] | None = None,
    progress: Progress = SILENT,
) -> Heard:
    """Features of a task's clips, from the cache of `crossfade probe` where they are there.

    layer: the mean of all layers, or one by its number (0 enters the transformer). accept: gets the data, with its
    final hash, before any of it is heard. Raises InputError for a task that is no classification, a layer that there is
    not, and as `accept`, `open_upstream`, `load_dataset` and `extract` do.
    """
    asked = load_task(task)
    if asked.kind != "classification":
        raise InputError(f"{asked.name}: kind {asked.kind}; expected a task with one class for each clip")
    dataset = load_dataset(asked, data, seed=seed)
    hashes = sound_hashes([item.audio for item in dataset.items])
    dataset = replace(dataset, sha256=digest([dataset.sha256, hashes]))
    if accept:
        accept(dataset)
    upstream = open_upstream(model, device)
    if layer != "mean" and not 0 <= layer < upstream.layers:
        raise InputError(f"layer {layer}: {upstream.name} has 0 to {upstream.layers - 1}; or give 'mean'")
    clips = [Clip(item.audio, item.start, item.seconds) for item in dataset.items]
    found = extract(upstream, clips, pool="mean", cache=open_cache(cache), progress=progress)
    return Heard(
        dataset=dataset,
        features=one_layer(found.means, layer),
        skipped=found.skipped,
        encoder=facts(upstream),
        layer=layer,
        licence=licence or stated_licence(asked),
        upstream=upstream,
    )


def fold_of(dataset: Dataset, number: int) -> Fold:
    """A fold by its number. Raises InputError where there is none."""
    if not 0 <= number < len(dataset.folds):
        raise InputError(f"{dataset.task.name}: fold {number}: expected 0 to {len(dataset.folds) - 1}")
    return dataset.folds[number]


def one_layer(means: Tensor, layer: Layer) -> Tensor:
    """A layer, or the mean of all, of means over time (clips, layers, width): (clips, width)."""
    return means.mean(1) if layer == "mean" else means[:, layer].clone()


def facts(upstream: Upstream) -> dict[str, Any]:
    """What is kept of an encoder: `key` stands for all that its features depend on."""
    return {
        "name": model_name(upstream),
        "path": upstream.name,
        "revision": upstream.revision,
        "sha256": upstream.sha256,
        "key": upstream.key,
        "licence": licence_of(upstream),
        "parameters": upstream.parameters,
        "layers": upstream.layers,
        "width": upstream.width,
    }


def stated_licence(task: Task) -> str | None:
    """The licences that a labelled folder's manifest names in a column `licence`; None where it names none."""
    manifests = [task.folder / f"manifest{suffix}" for suffix in sorted(MANIFEST_SUFFIXES)] if task.folder else []
    rows = next((read_manifest(path).rows for path in manifests if path.is_file()), [])
    named = {str(row[column]) for row in rows for column in LICENCE_COLUMNS if row.get(column)}
    return ", ".join(sorted(named)) or None


def require_same_encoder(heard: Heard, encoder: Mapping[str, Any], layer: Layer, where: object) -> None:
    """InputError where points of `where`, in one encoder's layer, would meet features of another."""
    if heard.encoder["key"] != encoder["key"]:
        raise InputError(
            f"{where}: made for the encoder {encoder['name']} (weights {short(encoder['sha256'])}), but "
            f"{heard.encoder['path']} is another (weights {short(heard.encoder['sha256'])}); give the one it was made "
            "for, or fit again"
        )
    if heard.layer != layer:
        raise InputError(f"{where}: made for layer {layer}, but layer {heard.layer} was asked for; leave --layer out")


def short(sha256: str | None) -> str:
    """The first digits of a hash."""
    return sha256[:8] if sha256 else "none"


def bytes_on_disk(dataset: Dataset, clips: Tensor) -> int | None:
    """What the encoded sound of some clips takes; None where it is not in files."""
    paths = {dataset.items[clip].audio.content for clip in clips.tolist()}
    if not all(isinstance(path, Path) for path in paths):
        return None
    return sum(path.stat().st_size for path in paths if isinstance(path, Path))


def group_numbers(dataset: Dataset, clips: Tensor) -> Tensor | None:
    """A number for the group (clips,) of each clip; None where one has none, or all have the same."""
    groups = [dataset.items[clip].group for clip in clips.tolist()]
    names = {name: number for number, name in enumerate(sorted({name for name in groups if name is not None}))}
    if None in groups or len(names) < 2:
        return None
    return torch.tensor([names[name] for name in groups if name is not None])
