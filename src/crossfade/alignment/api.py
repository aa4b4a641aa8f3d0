"""`crossfade.align`: OTHER rewritten in REFERENCE's basis."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossfade.alignment.assignment import assign
from crossfade.alignment.correlation import SAMPLE, collect_moments, correlation_scores, wanted_taps
from crossfade.alignment.permutations import permute
from crossfade.alignment.result import Alignment, check_points, match_table, measure
from crossfade.alignment.weights import cosine_scores, match_weights
from crossfade.audio.batches import Audio
from crossfade.audio.sources import Source
from crossfade.encoders.card import write_card
from crossfade.encoders.encoder import Encoder, EncoderWriter, open_encoder, output_infos
from crossfade.encoders.model import load_model, resolve_device
from crossfade.encoders.plan import describe, require_compatible
from crossfade.encoders.writer import output_folder, require_space
from crossfade.errors import InputError, nearest
from crossfade.progress import SILENT, Progress

DEFAULT_POINTS = ("conv", "feed_forward", "attention")


def align(
    reference: str | Path | Encoder,
    other: str | Path | Encoder,
    audio: Source | Sequence[Source] | None = None,
    *,
    output: str | Path | None = None,
    method: str = "correlation",
    points: Sequence[str] = DEFAULT_POINTS,
    clips: int | None = None,
    seconds: float = 5.0,
    sample: float = SAMPLE,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Alignment:
    """Find the permutations that bring `other` into `reference`'s basis; with `output`, write `other` rewritten there.

    Args:
        reference, other: folders or hub ids `name[@revision]` of two encoders of one architecture.
        audio: what both models hear (folders, files, manifests, data sets); correlation matching needs it.
        output: folder for OTHER rewritten, which computes the same function (with `residual` among the points: the same
            up to the known permutation of its output channels), and alignment.json.
        method: "correlation" (paper 1) or "weights" (Git Re-Basin, needs no audio).
        points: what may move, out of conv, feed_forward, attention, residual.
        clips, seconds: at most this many clips (None: all), each at most this long.
        sample: share of the frames that enter the statistics, in (0, 1]; of convolutions five times that, at most all.
        seed: draws clips and frames; the same seed gives the same result.

    Raises InputError for models that cannot be aligned, unusable audio and an existing output without `overwrite`.
    """
    reference, other = open_compatible(reference, other)
    points = check_points(points)
    if method not in FINDERS:
        raise InputError(f"method: {method!r} is no way to align; {nearest(method, FINDERS)}")
    if not 0 < sample <= 1:
        raise InputError(f"sample: {sample!r}, expected a share of the frames above 0 and at most 1")
    settings = {"clips": clips, "seconds": seconds, "sample": sample, "seed": seed}
    find = FINDERS[method]
    if output is None:
        return find(reference, other, audio, points, settings, resolve_device(device), progress)
    with output_folder(Path(output), overwrite=overwrite) as draft:
        alignment = find(reference, other, audio, points, settings, resolve_device(device), progress)
        rewrite(other, alignment, draft, progress)
    return alignment


def open_compatible(reference: str | Path | Encoder, *others: str | Path | Encoder) -> list[Encoder]:
    """The models as encoders; InputError, before weights are downloaded, when one cannot be merged into the first."""
    models = (reference, *others)
    headers = [model if isinstance(model, Encoder) else describe(str(model)) for model in models]
    for header in headers[1:]:
        require_compatible(headers[0], header)
    return [model if isinstance(model, Encoder) else open_encoder(model) for model in models]


def by_correlation(
    reference: Encoder,
    other: Encoder,
    audio: Source | Sequence[Source] | None,
    points: tuple[str, ...],
    settings: Mapping[str, Any],
    device: torch.device,
    progress: Progress,
) -> Alignment:
    """Match channels by how they correlate over `audio` (paper 1, section 1.1)."""
    if not audio:
        raise InputError("correlation alignment needs audio, received none; add --audio DIR, or match by weights alone")
    heard = Audio(
        audio,
        rate=reference.preprocessing.sampling_rate,
        clips=settings["clips"],
        seconds=settings["seconds"],
        seed=settings["seed"],
        minimum_samples=reference.layout.receptive_field,
    )
    models = load_model(reference, device), load_model(other, device)
    batches = progress.track(
        heard.batches(), total=len(heard), description="listening", count=lambda batch: len(batch.samples)
    )
    moments = collect_moments(
        models,
        (reference.preprocessing, other.preprocessing),
        other.layout,
        wanted_taps(other.layout, points),
        batches,
        share=settings["sample"],
        seed=settings["seed"],
    )
    scores = correlation_scores(moments)
    skipped = tuple((skip.name, skip.reason) for skip in heard.skipped)
    frames = min(moment.frames for moment in moments.values())
    settings = {**settings, "frames": frames}
    return _alignment(
        reference, other, "correlation", points, scores, assign(scores, other.layout, points), settings, skipped
    )


def by_weights(
    reference: Encoder,
    other: Encoder,
    audio: Source | Sequence[Source] | None,
    points: tuple[str, ...],
    settings: Mapping[str, Any],
    device: torch.device,
    progress: Progress,
) -> Alignment:
    """Match channels by their weights (Git Re-Basin); no audio is heard."""
    if audio:
        raise InputError("weight matching hears no audio; leave --audio out, or match by correlation")
    shared = {name: spec for name, spec in other.layout.tensors.items() if name in reference.stored}
    layout = replace(other.layout, tensors=shared)
    permutations = match_weights(reference.read, other.read, layout, points, seed=settings["seed"])
    scores = cosine_scores(reference.read, other.read, layout, points, permutations)
    return _alignment(reference, other, "weights", points, scores, permutations, {"seed": settings["seed"]}, ())


FINDERS: Mapping[str, Callable[..., Alignment]] = {"correlation": by_correlation, "weights": by_weights}


def _alignment(
    reference: Encoder,
    other: Encoder,
    method: str,
    points: tuple[str, ...],
    scores: Mapping[str, Tensor],
    permutations: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    skipped: tuple[tuple[str, str], ...],
) -> Alignment:
    return Alignment(
        reference=reference.name,
        other=other.name,
        reference_sha256=reference.sha256,
        other_sha256=other.sha256,
        method=method,
        points=points,
        permutations=permutations,
        matches=measure(scores, permutations, other.layout),
        settings=settings,
        skipped=skipped,
    )


def rewrite(encoder: Encoder, alignment: Alignment, folder: Path, progress: Progress = SILENT) -> None:
    """Write `encoder` with its channels rearranged, tensor by tensor, and alignment.json into `folder`."""
    require_space(folder, sum(info.bytes for info in output_infos(encoder, encoder.dtype).values()))
    writer = EncoderWriter(folder, encoder, encoder.dtype)
    tensors = progress.track(encoder.layout.tensors.items(), total=len(encoder.layout.tensors), description="rewriting")
    writer.write_all((name, permute(encoder.read(name), spec, alignment.permutations)) for name, spec in tensors)
    alignment.save(folder)
    write_card(
        folder,
        title=f"{Path(encoder.name).name}, aligned",
        text=f"{encoder.name} with its channels rearranged to match {alignment.reference}: the same function.",
        inputs={"other": encoder},
        recipe={"align": alignment.method, "points": list(alignment.points), **alignment.settings},
        sections=["## Alignment", match_table(alignment)],
    )
