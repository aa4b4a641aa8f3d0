"""`crossfade.merge`: two encoders in, one out."""

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossfade.alignment.api import DEFAULT_POINTS, open_compatible
from crossfade.alignment.api import align as find_alignment
from crossfade.alignment.result import Alignment, check_models, check_points, load_alignment
from crossfade.audio.sources import Source
from crossfade.encoders.encoder import Encoder, EncoderWriter, output_infos
from crossfade.encoders.model import resolve_device
from crossfade.encoders.plan import remarks
from crossfade.encoders.sidecars import reconcile_vocabulary
from crossfade.encoders.writer import output_folder, require_space
from crossfade.errors import InputError, nearest
from crossfade.merging.engine import DTYPES, Inputs, fitted_tensors, listen, merged_tensors
from crossfade.merging.layerwise import Listening
from crossfade.merging.methods import LAYERWISE, METHODS, Method, find_method
from crossfade.merging.record import write_record
from crossfade.merging.shares import read_shares
from crossfade.merging.statistics import InputStatistics
from crossfade.progress import SILENT, Progress

ALIGN = ("none", "weights", "correlation")
Sources = Source | Sequence[Source]


@dataclass(frozen=True)
class Merged:
    """A merged encoder on disk: `path` is the folder, `recipe` all that is needed to make it again."""

    path: Path
    recipe: Mapping[str, Any]
    inputs: Mapping[str, Mapping[str, Any]]
    alignment: Alignment | None
    notes: tuple[str, ...]
    parameters: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Everything but the permutations, ready for JSON."""
        aligned = self.alignment.to_dict() if self.alignment else None
        kept = {key: getattr(self, key) for key in ("recipe", "inputs", "notes", "parameters", "seconds")}
        return {"path": str(self.path), **kept, "alignment": aligned}

    def __repr__(self) -> str:
        aligned = f", {self.alignment!r}" if self.alignment else ", not aligned"
        return f"Merged({str(self.path)!r}, {self.recipe['method']}, weight={self.recipe['weight']}{aligned})"


def merge(
    reference: str | Path | Encoder,
    other: str | Path | Encoder,
    output: str | Path,
    *,
    weight: float | Mapping[str, Any] = 0.9,
    method: str = "linear",
    parameters: Mapping[str, Any] | None = None,
    align: str | None = None,
    points: Sequence[str] | None = None,
    audio: Sources | None = None,
    reference_audio: Sources | None = None,
    other_audio: Sources | None = None,
    alignment: str | Path | Alignment | None = None,
    statistics: InputStatistics | None = None,
    base: str | Path | Encoder | None = None,
    dtype: str | None = None,
    repair: bool = False,
    clips: int | None = None,
    seconds: float = 5.0,
    seed: int = 0,
    device: str = "auto",
    max_shard_size: int = 5_000_000_000,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Merged:
    """Merge `other` into `reference` and write an ordinary Hugging Face folder to `output`.

    Args:
        reference, other: folders or hub ids `name[@revision]` of two encoders of one architecture.
        weight: REFERENCE's share, 0 to 1, or shares by part and layer (see `crossfade.merging.shares`).
        method: linear, slerp, task-arithmetic, ties, dare, regression, or FILE.py:NAME; `parameters` are its settings.
        align: "correlation" (needs audio; the default), "weights", or "none" (the default where `base` is given).
        points: what may move, out of conv, feed_forward, attention, residual.
        audio: what both models hear for the alignment. `reference_audio` and `other_audio` are heard too, and tell
            regression and `repair` which model is the authority on what.
        alignment: one made before, as an object or its folder, instead of a fresh one.
        statistics: what `input_statistics` heard of these models, audio and draw, so that a regression at another
            weight need not listen again.
        base: the common ancestor of both models, for task-arithmetic, ties and dare.
        dtype: "float32", "float16" or "bfloat16"; REFERENCE's by default.
        repair: bring the merged channels back to their parents' mean and deviation afterwards.
        clips, seconds, seed: draw of the clips, as in `crossfade.align`.
        max_shard_size: bytes; a larger output is written in several files.

    Raises InputError for inputs that cannot be merged; then nothing is written and an existing output stays.
    """
    started = time.monotonic()
    inputs = Inputs(*open_compatible(reference, other, *([base] if base is not None else [])))
    shares = read_shares(weight, inputs.reference.layout.settings["num_hidden_layers"])
    chosen, settings = choose_method(method, parameters or {}, inputs)
    listening = Listening(listed(reference_audio), listed(other_audio), clips, seconds, seed, resolve_device(device))
    if method in LAYERWISE or repair:
        listening.require(f"method {method}" if method in LAYERWISE else "repair")
    if statistics is not None and (method not in LAYERWISE or settings["sequential"]):
        raise InputError(f"statistics serve regression in one pass, received {method} with {settings}; leave them out")
    heard = [*listed(audio), *listening.reference, *listening.other]
    way = way_to_align(align, alignment, inputs, listed(audio), heard)
    points = chosen_points(points, alignment)
    target = target_dtype(dtype, inputs.reference)
    forbid_inputs(Path(output), inputs)

    with output_folder(Path(output), overwrite=overwrite) as draft:
        require_space(draft, sum(info.bytes for info in output_infos(inputs.reference, target).values()))
        found = _find(alignment, way, inputs, heard, points, listening, progress)
        permutations = found.permutations if found else {}
        if method in LAYERWISE or repair:
            tensors = fitted_tensors(
                inputs, permutations, shares, chosen, settings, listening, statistics, repair, progress
            )
        else:
            tensors = merged_tensors(inputs, permutations, shares, chosen, settings, seed)
        _write(EncoderWriter(draft, inputs.reference, target, max_shard_size), tensors, inputs, progress)
        notes = [*remarks(inputs.reference, inputs.other), *inputs.dropped_notes(), *_copy_vocabulary(draft, inputs)]
        notes += skipped_notes([*(found.skipped if found else ()), *listening.skipped])
        kept = str(alignment) if isinstance(alignment, str | Path) else None
        recipe = {
            "reference": inputs.reference.name,
            "other": inputs.other.name,
            "weight": weight,
            "method": method,
            "parameters": settings,
            "align": None if kept else found.method if found else "none",
            "alignment": kept,
            "points": list(found.points) if found else [],
            "base": inputs.base.name if inputs.base else None,
            "audio": names_of(audio),
            "reference_audio": names_of(reference_audio),
            "other_audio": names_of(other_audio),
            "dtype": str(target).removeprefix("torch."),
            "repair": repair,
            "clips": clips,
            "seconds": seconds,
            "seed": seed,
        }
        described = write_record(draft, inputs, recipe, found, notes)
    size, taken = inputs.reference.layout.parameters, time.monotonic() - started
    return Merged(Path(output), recipe, described, found, tuple(notes), size, taken)


def input_statistics(
    reference: str | Path | Encoder,
    other: str | Path | Encoder,
    reference_audio: Sources,
    other_audio: Sources,
    *,
    alignment: str | Path | Alignment | None = None,
    convolutions: bool = False,
    clips: int | None = None,
    seconds: float = 5.0,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = SILENT,
) -> InputStatistics:
    """Listen once for regressions at many weights: what `merge` takes as `statistics`.

    Arguments are those of `merge`; `convolutions` is the setting of that name. Raises InputError as it does.
    """
    inputs = Inputs(*open_compatible(reference, other))
    listening = Listening(listed(reference_audio), listed(other_audio), clips, seconds, seed, resolve_device(device))
    listening.require("input statistics")
    found = _find(alignment, "none", inputs, [], (), listening, progress)
    return listen(inputs, found.permutations if found else {}, listening, convolutions, progress)


def _find(
    alignment: str | Path | Alignment | None,
    way: str,
    inputs: Inputs,
    heard: list[Source],
    points: tuple[str, ...],
    listening: Listening,
    progress: Progress,
) -> Alignment | None:
    """The alignment that is given, checked, or a fresh one, or none."""
    if isinstance(alignment, Alignment):
        check_models(vars(alignment), inputs.reference, inputs.other, "alignment")
        return alignment
    if alignment is not None:
        return load_alignment(Path(alignment), inputs.reference, inputs.other)
    if way == "none":
        return None
    return find_alignment(
        inputs.reference,
        inputs.other,
        heard if way == "correlation" else None,
        method=way,
        points=points,
        clips=listening.clips,
        seconds=listening.seconds,
        seed=listening.seed,
        device=str(listening.device),
        progress=progress,
    )


def _write(writer: EncoderWriter, tensors: Iterable[tuple[str, Tensor]], inputs: Inputs, progress: Progress) -> None:
    """Write all tensors; the hashes of the inputs, which the record needs, are taken beside it and cost no time."""
    total = len(inputs.reference.layout.tensors)
    with ThreadPoolExecutor() as pool:
        for encoder in inputs.roles().values():
            pool.submit(getattr, encoder, "sha256")
        writer.write_all(progress.track(tensors, total=total, description="merging"))


def _copy_vocabulary(folder: Path, inputs: Inputs) -> list[str]:
    """Copy the tokenizer files that the merged encoder takes; a note where it can take none."""
    files, note = reconcile_vocabulary(inputs.reference.folder, inputs.other.folder)
    for file in files:
        shutil.copyfile(file, folder / file.name)
    return [note] if note else []


def listed(sources: Sources | None) -> list[Source]:
    """Sources as a list, whether none, one or several are given."""
    if sources is None:
        return []
    return list(sources) if isinstance(sources, list | tuple) else [sources]  # type: ignore[list-item]


def names_of(sources: Sources | None) -> list[str]:
    """What to call the sources in a record."""
    return [str(source) if isinstance(source, str | Path) else type(source).__name__ for source in listed(sources)]


def skipped_notes(skipped: Sequence[tuple[str, str]]) -> list[str]:
    """A note for every sound that could not be used."""
    return [f"not heard: {name} ({reason})" for name, reason in dict.fromkeys(skipped)]


def choose_method(name: str, parameters: Mapping[str, Any], inputs: Inputs) -> tuple[Method, dict[str, Any]]:
    """The method and its settings, checked against the inputs."""
    chosen = find_method(name)
    if chosen.needs_base and inputs.base is None:
        raise InputError(f"method {name} needs the common ancestor of both models: add --base MODEL")
    if inputs.base is not None and not chosen.needs_base:
        known = ", ".join(sorted(method for method in METHODS if METHODS[method].needs_base))
        raise InputError(f"method {name} knows no base; leave --base out, or choose one of {known}")
    return chosen, chosen.check_settings(parameters)


def way_to_align(
    align: str | None,
    alignment: str | Path | Alignment | None,
    inputs: Inputs,
    audio: Sequence[Source],
    heard: Sequence[Source],
) -> str:
    """How OTHER will be aligned: as asked, or none where an alignment or a base is given, or else by correlation."""
    if align is not None and align not in ALIGN:
        raise InputError(f"align: {align!r} is no way to align; {nearest(align, ALIGN)}")
    if alignment is not None:
        if align is not None:
            raise InputError(f"align {align!r} and an alignment are both given; leave one of them out")
        return "none"
    if align == "weights" and audio:
        raise InputError("align 'weights' hears no audio; leave --audio out, or match by correlation")
    way = align or ("none" if inputs.base is not None else "correlation")
    if way == "correlation" and not heard:
        raise InputError(
            "correlation alignment needs audio that both models hear: add --audio DIR, or say --align weights (hears "
            "nothing) or --align none"
        )
    return way


def chosen_points(points: Sequence[str] | None, alignment: str | Path | Alignment | None) -> tuple[str, ...]:
    """What may move in a fresh alignment; one that is given has its own points."""
    if points is not None and alignment is not None:
        raise InputError("points and an alignment are both given; the alignment has its points: leave --points out")
    return check_points(DEFAULT_POINTS if points is None else points)


def target_dtype(dtype: str | None, reference: Encoder) -> torch.dtype:
    """What the weights are written as."""
    if dtype not in (None, *DTYPES):
        raise InputError(f"dtype: {dtype!r} cannot be written; {nearest(str(dtype), DTYPES)}")
    return DTYPES[dtype] if dtype else reference.dtype


def forbid_inputs(output: Path, inputs: Inputs) -> None:
    """InputError when the output would replace a model that is being read."""
    for encoder in (inputs.reference, inputs.other, inputs.base):
        if encoder is not None and output.resolve() == encoder.folder.resolve():
            raise InputError(f"{output}: is one of the inputs; choose another output folder")
