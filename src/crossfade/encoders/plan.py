"""What would happen: from configs and headers alone, whether two encoders can become one, and what it would take."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch

from crossfade.encoders.encoder import match_tensors
from crossfade.encoders.hub import locate_headers
from crossfade.encoders.layout import Layout, read_layout
from crossfade.encoders.sidecars import CONFIG, Preprocessing, read_json, read_licence, read_preprocessing
from crossfade.errors import InputError

SAME_SETTINGS = {
    "do_stable_layer_norm": "where the transformer normalises (before or after each sum)",
    "feat_extract_norm": "how the CNN normalises",
    "conv_stride": "the frame rate",
    "conv_kernel": "the CNN's kernels",
    "num_attention_heads": "the attention heads",
    "num_conv_pos_embedding_groups": "the groups of the positional convolution",
    "max_bucket_distance": "how far relative positions are told apart",
    "hidden_act": "the activation of the feed-forward layers",
    "feat_extract_activation": "the activation of the CNN",
}
"""Settings that two encoders must share even where every tensor has the same shape, and what they decide."""

RUNTIME_BYTES = 300_000_000
"""What Python and PyTorch take before any model."""

EFFICIENCY = 0.35
"""Speed of an encoder's forward pass relative to one large matrix product on the same machine."""


class Described(Protocol):
    """What can be compared: an open encoder, or one known from its headers."""

    @property
    def name(self) -> str: ...
    @property
    def config(self) -> Mapping[str, Any]: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def preprocessing(self) -> Preprocessing: ...
    @property
    def licence(self) -> str | None: ...


@dataclass(frozen=True)
class Header:
    """An encoder known from its config and the headers of its weights; `bytes` is the size of the encoder's weights."""

    name: str
    revision: str | None
    config: Mapping[str, Any]
    layout: Layout
    preprocessing: Preprocessing
    licence: str | None
    dropped: tuple[str, ...]
    dtype: str
    bytes: int
    fetched: int


@dataclass(frozen=True)
class Plan:
    """Whether a merge would work (`ok`), or every reason why not; the facts of both models and what it would take."""

    ok: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    models: tuple[Mapping[str, Any], ...]
    parameters: int
    output_bytes: int
    merge_memory_bytes: int
    align_memory_bytes: int
    merge_seconds: float
    align_seconds_per_audio_minute: float

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self)

    def __repr__(self) -> str:
        names = " + ".join(str(model["name"]) for model in self.models)
        return f"Plan({names}: {'yes' if self.ok else 'no, ' + '; '.join(self.reasons)})"


def plan(reference: str, other: str) -> Plan:
    """What merging `other` into `reference` would take; no weights are read or downloaded.

    Raises InputError when a model cannot be found or is no encoder of a known family; everything that keeps two sound
    encoders apart is listed in `reasons`.
    """
    headers = describe(reference), describe(other)
    reasons, notes = differences(*headers), remarks(*headers)
    layout = headers[0].layout
    largest = max(math.prod(spec.shape) for spec in layout.tensors.values())
    speed = machine_speed()
    return Plan(
        ok=not reasons,
        reasons=tuple(reasons),
        notes=tuple(notes),
        models=tuple(facts(header) for header in headers),
        parameters=layout.parameters,
        output_bytes=headers[0].bytes,
        merge_memory_bytes=RUNTIME_BYTES + 4 * 4 * largest,
        align_memory_bytes=2 * RUNTIME_BYTES + 2 * 4 * layout.parameters + 8 * statistics_size(layout) + 200_000_000,
        merge_seconds=3.0 + (headers[0].bytes + headers[1].bytes) / 4e8,
        align_seconds_per_audio_minute=2
        * 1.2
        * 60
        * 2
        * products_per_second(layout, headers[0])
        / (EFFICIENCY * speed),
    )


def describe(name: str) -> Header:
    """An encoder from its config and headers. Raises InputError."""
    files = locate_headers(name)
    config = read_json(files.folder / CONFIG)
    layout = read_layout(config, files.name)
    stored, dropped = match_tensors(files.infos, layout, files.name)
    infos = [files.infos[part] for parts in stored.values() for part in parts]
    largest = max(infos, key=lambda info: info.bytes)
    return Header(
        name=files.name,
        revision=files.revision,
        config=config,
        layout=layout,
        preprocessing=read_preprocessing(files.folder),
        licence=read_licence(files.folder),
        dropped=dropped,
        dtype=str(largest.dtype).removeprefix("torch."),
        bytes=sum(info.bytes for info in infos),
        fetched=files.fetched,
    )


def facts(header: Header) -> dict[str, Any]:
    """What a user wants to know of a model before merging it."""
    settings, rate = header.layout.settings, header.preprocessing.sampling_rate
    return {
        "name": header.name,
        "revision": header.revision,
        "family": header.layout.family.name,
        "layers": settings["num_hidden_layers"],
        "width": settings["hidden_size"],
        "parameters": header.layout.parameters,
        "dtype": header.dtype,
        "sampling_rate": rate,
        "frames_per_second": rate / header.layout.stride,
        "norm": "pre-norm" if settings["do_stable_layer_norm"] else "post-norm",
        "input_normalised": header.preprocessing.do_normalize,
        "licence": header.licence,
        "heads_left_out": list(header.dropped),
    }


def differences(reference: Described, other: Described) -> list[str]:
    """Every reason why two encoders cannot become one; none when they can."""
    if reference.layout.family != other.layout.family:
        ours, theirs = reference.layout.family.name, other.layout.family.name
        return [f"{reference.name} is a {ours} and {other.name} a {theirs}; expected two encoders of one family"]
    reasons = []
    rates = reference.preprocessing.sampling_rate, other.preprocessing.sampling_rate
    if rates[0] != rates[1]:
        heard = f"{reference.name} hears {rates[0]} Hz and {other.name} {rates[1]} Hz"
        reasons.append(f"{heard}; expected one sampling rate")
    for key, meaning in SAME_SETTINGS.items():
        a, b = reference.layout.settings[key], other.layout.settings[key]
        if (list(a) if isinstance(a, list | tuple) else a) != (list(b) if isinstance(b, list | tuple) else b):
            reasons.append(f"{key} is {a!r} in {reference.name} and {b!r} in {other.name}: it decides {meaning}")
    return reasons + shape_differences(reference, other)


def shape_differences(reference: Described, other: Described) -> list[str]:
    """Tensors that only one of the models has, or that differ in shape; many of one kind are told as one."""
    ours, theirs = reference.layout, other.layout
    reasons = []
    for key in ("num_hidden_layers", "hidden_size", "intermediate_size", "conv_dim"):
        if ours.settings[key] != theirs.settings[key]:
            a, b = ours.settings[key], theirs.settings[key]
            reasons.append(f"{key} is {a!r} in {reference.name} and {b!r} in {other.name}; expected the same")
    if reasons:
        return reasons
    optional = {"masked_spec_embed"}
    for name in sorted((ours.tensors.keys() ^ theirs.tensors.keys()) - optional):
        owner = reference.name if name in ours.tensors else other.name
        reasons.append(f"tensor {name} is only in {owner}; expected it in both")
    for name in sorted(ours.tensors.keys() & theirs.tensors.keys()):
        if ours.tensors[name].shape != theirs.tensors[name].shape:
            shapes = f"{ours.tensors[name].shape} in {reference.name} and {theirs.tensors[name].shape} in {other.name}"
            reasons.append(f"tensor {name} is {shapes}; expected the same shape")
    return reasons


def remarks(reference: Described, other: Described) -> list[str]:
    """What does not prevent a merge but should be known."""
    notes = []
    ours, theirs = reference.preprocessing, other.preprocessing
    if ours.do_normalize != theirs.do_normalize:
        word = "normalised" if ours.do_normalize else "raw"
        notes.append(
            f"input normalisation differs; the merged encoder hears {word} waveforms, as {reference.name} does"
        )
    for model in (reference, other):
        if not model.preprocessing.stated:
            rate = model.preprocessing.sampling_rate
            notes.append(f"{model.name} has no preprocessor_config.json; {rate} Hz, normalised input is assumed")
        if model.licence is None:
            notes.append(f"{model.name} states no licence")
    if reference.licence and other.licence and reference.licence != other.licence:
        notes.append(f"licences differ ({reference.licence}, {other.licence}): the merged encoder is bound by both")
    return notes


def require_compatible(reference: Described, other: Described) -> None:
    """InputError with every reason why the two cannot become one."""
    reasons = differences(reference, other)
    if reasons:
        raise InputError(f"cannot merge {other.name} into {reference.name}: {'; '.join(reasons)}")


def statistics_size(layout: Layout) -> int:
    """Entries of the cross-covariances of all taps."""
    return sum(layout.permutations[tap.permutation].size ** 2 for tap in layout.taps)


def products_per_second(layout: Layout, header: Described) -> float:
    """Multiplications of one forward pass per second of audio (attention scores left out)."""
    rate, total = float(header.preprocessing.sampling_rate), 0.0
    for name, spec in layout.tensors.items():
        if name.endswith("conv.weight") and name.startswith("feature_extractor"):
            rate /= layout.settings["conv_stride"][int(name.split(".")[2])]
        if len(spec.shape) > 1 and "rel_attn" not in name and "gru_rel" not in name:
            total += rate * math.prod(spec.shape)
    return total


def machine_speed() -> float:
    """Multiplications and additions a second of this machine's matrix products, float32, measured for some 30 ms."""
    a = torch.randn(768, 768)
    _ = a @ a
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < 0.03:
        _ = a @ a
        count += 1
    return count * 2 * 768**3 / (time.perf_counter() - start)
