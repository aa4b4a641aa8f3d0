"""The student before it is taught: a HuBERT encoder of any size, random or made of its teachers' weights."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from crossfade.distillation.recipe import Shape, Student
from crossfade.encoders.encoder import Encoder, clean_config, open_encoder
from crossfade.encoders.model import load_tensors
from crossfade.encoders.sidecars import Preprocessing
from crossfade.errors import InputError

RATE = 16000
GABOR_HERTZ, GABOR_PERIODS = (50.0, 7000.0), 8.0
FIRST = "feature_extractor.conv_layers.0.conv"
PROJECTION = "feature_projection.projection"

Tensors = Mapping[str, Tensor]


def make_student(student: Student) -> tuple[nn.Module, Preprocessing, dict[str, Any]]:
    """A `transformers.HubertModel` in training mode, how it hears, and what its model card tells of its start.

    Where weights are taken from encoders, so are all sizes but `layers`, and how it hears. The same recipe gives the
    same weights. Raises InputError for sources that cannot be used, for sizes that contradict them, and for sizes that
    no HuBERT can have.
    """
    sources = [open_encoder(name) for name in student.source]
    facts = {"start": student.start, "sources": [{"name": one.name, "sha256": one.sha256} for one in sources]}
    if not sources:
        shape = student.shape
        model = _random(_config(shape, student.dropout), student.seed, student.conv_bias)
        if student.filters == "gabor":
            weight = model.get_parameter(f"{FIRST}.weight")
            weight.data.copy_(gabor_filters(len(weight), weight.shape[-1], student.seed)[:, None])
        heard = Preprocessing(RATE, shape.normalise, return_attention_mask=shape.conv_norm == "layer")
        drawn = {"filters": student.filters, "conv_bias": student.conv_bias, "seed": student.seed}
        return model, heard, facts | drawn
    config, heard = _borrowed(student, sources)
    model = _random(config, student.seed)
    load_tensors(model, _STARTS[student.start](sources, _names(sources[0], config["num_hidden_layers"])))
    return model, heard, facts


def gabor_filters(filters: int, taps: int, seed: int, rate: int = RATE) -> Tensor:
    """Windowed sines (filters, taps) of norm 1, their pitch (even on a logarithmic scale) and phase drawn from `seed`.

    Each lasts eight periods, or all taps where that is longer than they are. A random bank of them keeps steady pitch,
    which independent random taps blur, and is as unlike another seed's as any.
    """
    generator = torch.Generator().manual_seed(seed)
    low, high = (math.log(hertz) for hertz in GABOR_HERTZ)
    hertz = torch.empty(filters, dtype=torch.float64).uniform_(low, high, generator=generator).exp()[:, None]
    phase = torch.empty(filters, 1, dtype=torch.float64).uniform_(0, 2 * math.pi, generator=generator)
    seconds = (torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2) / rate
    length = (GABOR_PERIODS / hertz).clamp(max=taps / rate)
    window = torch.where(seconds.abs() < length / 2, 0.5 + 0.5 * torch.cos(2 * math.pi * seconds / length), 0)
    waves = window * torch.cos(2 * math.pi * hertz * seconds + phase)
    return normalize(waves, dim=1).float()


def _config(shape: Shape, dropout: float) -> dict[str, Any]:
    """What transformers' HubertConfig takes. Raises InputError for sizes that contradict each other."""
    convolutions = {len(shape.conv_channels), len(shape.conv_kernels), len(shape.conv_strides)}
    if len(convolutions) > 1:
        raise InputError(
            f"student.shape: {len(shape.conv_channels)} conv_channels, {len(shape.conv_kernels)} conv_kernels and "
            f"{len(shape.conv_strides)} conv_strides; expected as many of each"
        )
    for name, parts in (("heads", shape.heads), ("position_groups", shape.position_groups)):
        if shape.width % parts:
            raise InputError(f"student.shape: width {shape.width} cannot be divided by {parts} {name}")
    return {
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.feed_forward,
        "conv_dim": list(shape.conv_channels),
        "conv_kernel": list(shape.conv_kernels),
        "conv_stride": list(shape.conv_strides),
        "num_feat_extract_layers": len(shape.conv_channels),
        "conv_bias": shape.conv_norm == "layer",
        "feat_extract_norm": shape.conv_norm,
        "num_conv_pos_embeddings": shape.position_kernel,
        "num_conv_pos_embedding_groups": shape.position_groups,
        **_regularisation(dropout),
    }


def _regularisation(dropout: float) -> dict[str, Any]:
    """Dropout inside the layers; neither whole layers nor stretches of the input are left out."""
    names = ("hidden_dropout", "attention_dropout", "activation_dropout")
    off = {"feat_proj_dropout": 0.0, "final_dropout": 0.0, "layerdrop": 0.0, "apply_spec_augment": False}
    return dict.fromkeys(names, dropout) | off


def _random(config: Mapping[str, Any], seed: int, conv_bias: float = 0.0) -> nn.Module:
    """Weights as transformers draws them, from `seed`; the caller's random numbers go on as if nothing was drawn.

    It has biases of convolutions start at 0; those of the first may be drawn with the deviation `conv_bias`.
    """
    from transformers import HubertConfig, HubertModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = HubertModel(HubertConfig.from_dict(dict(config)))
        if conv_bias:
            model.get_parameter(f"{FIRST}.bias").data.normal_(0, conv_bias)
    return model.train()


# Weights of other encoders --------------------------------------------------------------------------------------------


def _borrowed(student: Student, sources: list[Encoder]) -> tuple[dict[str, Any], Preprocessing]:
    """The config and the hearing of the sources, which must be alike, with the layers that the recipe asks for."""
    first = sources[0]
    for one in sources:
        if one.family.model != "HubertModel":
            raise InputError(f"{one.name}: a {one.family.name} encoder; expected HuBERT, as a student is one")
    if student.shape.model_fields_set - {"layers"}:
        told = ", ".join(sorted(student.shape.model_fields_set - {"layers"}))
        raise InputError(f"student.shape: sizes are those of {first.name}; leave out {told}, expected layers alone")
    settings = [{**one.layout.settings, "num_hidden_layers": 0} for one in sources]
    for one, own in zip(sources[1:], settings[1:], strict=True):
        if unlike := [key for key in own if own[key] != settings[0][key]]:
            key = unlike[0]
            raise InputError(f"{one.name}: {key} is {own[key]}, that of {first.name} is {settings[0][key]}")
        if one.preprocessing.to_json() != first.preprocessing.to_json():
            raise InputError(f"{one.name}: preprocessing differs from that of {first.name}; they hear unlike sound")
    layers = student.shape.layers if "layers" in student.shape.model_fields_set or student.start != "base" else None
    for one in sources:
        held = one.layout.settings["num_hidden_layers"]
        if layers is not None and (layers > held or (student.start == "base" and layers != held)):
            raise InputError(f"student.shape.layers = {layers}: {one.name} has {held}")
    config = dict(clean_config(first)) | _regularisation(student.dropout)
    return config | ({} if layers is None else {"num_hidden_layers": layers}), first.preprocessing


def _names(source: Encoder, layers: int) -> list[str]:
    """The tensors of a student with so many layers."""
    dropped = tuple(f"encoder.layers.{layer}." for layer in range(layers, source.layout.settings["num_hidden_layers"]))
    return [name for name in source.layout.tensors if not name.startswith(dropped)]


def _first_layers(sources: list[Encoder], names: list[str]) -> Tensors:
    """DistilHuBERT's start: the CNN and the first layers of a teacher."""
    return {name: sources[0].read(name) for name in names}


def _average(sources: list[Encoder], names: list[str]) -> Tensors:
    """The mean of two teachers' first layers (2506.07237)."""
    read = {name: [source.read(name) for source in sources] for name in names}
    return {name: (one.float() + other.float()) / 2 if one.is_floating_point() else one
            for name, (one, other) in read.items()}  # fmt: skip


def _svd(sources: list[Encoder], names: list[str]) -> Tensors:
    """Half of the projection's channels from each teacher: its strongest singular directions; the rest is the average.

    2506.07237 truncates each teacher's projection to rank 384 and puts the two halves side by side; that all else is
    averaged is our reading.
    """
    tensors = dict(_average(sources, names))
    weights = [source.read(f"{PROJECTION}.weight").float() for source in sources]
    biases = [source.read(f"{PROJECTION}.bias").float() for source in sources]
    half = len(weights[0]) // 2
    parts = [
        (left[:, :size].T @ weight, left[:, :size].T @ bias)
        for weight, bias, size in zip(weights, biases, (half, len(weights[0]) - half), strict=True)
        for left in [torch.linalg.svd(weight, full_matrices=True)[0]]
    ]
    tensors[f"{PROJECTION}.weight"] = torch.cat([weight for weight, _ in parts])
    tensors[f"{PROJECTION}.bias"] = torch.cat([bias for _, bias in parts])
    return tensors


_STARTS: Mapping[str, Callable[[list[Encoder], list[str]], Tensors]] = {
    "layers": _first_layers,
    "base": _first_layers,
    "average": _average,
    "svd": _svd,
}
