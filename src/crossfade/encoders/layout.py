"""What a config promises: every tensor's shape, and the permutations its axes carry.

A permutation is an index vector `p`: channel `i` of the permuted model is channel `p[i]` of the original. Channels come
in blocks (attention heads, groups of the positional convolution); permutations that must move their blocks alike share
an `Order`. A point switched off keeps its channels in place, an order whose point is off keeps its blocks in place.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from crossfade.encoders.families import FAMILIES, Family, Tap
from crossfade.errors import InputError, nearest

DEFAULTS: Mapping[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_bias": False,
    "feat_extract_norm": "group",
    "feat_proj_layer_norm": True,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "conv_pos_kernel_size": None,
    "conv_pos_batch_norm": False,
    "do_stable_layer_norm": False,
    "mask_time_prob": 0.05,
    "mask_feature_prob": 0.0,
    "num_buckets": 320,
    "max_bucket_distance": 800,
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
}
"""What transformers' config classes fill in when config.json is silent."""


class Kind(NamedTuple):
    """What a value of config.json must be."""

    words: str
    holds: Callable[[Any], bool]


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


COUNT = Kind("a whole number above 0", _is_count)
KINDS: Mapping[type, Kind] = {
    int: COUNT,
    type(None): COUNT,
    list: Kind(
        "a list of whole numbers above 0", lambda v: bool(v) and isinstance(v, list | tuple) and all(map(_is_count, v))
    ),
    bool: Kind("true or false", lambda value: isinstance(value, bool)),
    float: Kind("a number of at least 0", lambda value: type(value) in (int, float) and value >= 0),
    str: Kind("a name", lambda value: isinstance(value, str)),
}
"""Type of a default -> what takes its place."""


@dataclass(frozen=True)
class Order:
    """The order of `blocks` blocks, shared by every permutation that names it; it moves when its point is chosen."""

    name: str
    point: str
    blocks: int


@dataclass(frozen=True)
class Permutation:
    """The freedom of `size` channels: blocks move as their order says, channels move inside cells of `cell` channels.

    With `tied` set, the channels inside every run of `tied` channels move alike.
    """

    name: str
    point: str
    size: int
    order: Order
    cell: int
    tied: int | None = None

    @property
    def block(self) -> int:
        return self.size // self.order.blocks


@dataclass(frozen=True)
class Axis:
    """An axis of a tensor that carries a permutation, seen through a view.

    Views: "channels" the permutation itself; "groups" the channels inside a group, for the columns of a grouped
    convolution (`unit` channels a group); "heads" the order of heads of `unit` channels; "head_channels" the channels
    inside a head, alike for all heads.
    """

    permutation: str
    view: str = "channels"
    unit: int = 0


@dataclass(frozen=True)
class TensorSpec:
    """Shape of a tensor and, axis by axis, the permutation it carries (None: the axis never moves)."""

    shape: tuple[int, ...]
    axes: tuple[Axis | None, ...]


@dataclass(frozen=True)
class Layout:
    """The tensors, permutations and taps of one encoder, from its config alone."""

    family: Family
    settings: Mapping[str, Any]
    tensors: Mapping[str, TensorSpec]
    permutations: Mapping[str, Permutation]
    taps: tuple[Tap, ...]

    @property
    def parameters(self) -> int:
        return sum(math.prod(spec.shape) for spec in self.tensors.values())

    @property
    def stride(self) -> int:
        """Samples from one output frame to the next."""
        return math.prod(self.settings["conv_stride"])

    @cached_property
    def receptive_field(self) -> int:
        """Samples needed for one output frame."""
        field, jump = 1, 1
        for kernel, stride in zip(self.settings["conv_kernel"], self.settings["conv_stride"], strict=True):
            field += (kernel - 1) * jump
            jump *= stride
        return field


def family_of(config: Mapping[str, Any], source: str) -> Family:
    """The family of a config.json; InputError for an unknown one, or a variant that would not compute the same."""
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        hint = nearest(str(model_type), FAMILIES)
        raise InputError(f"{source}: config.json has model_type {model_type!r}, which is no family of ours; {hint}")
    family = FAMILIES[model_type]
    for key, supported, meaning in family.refused:
        value = config.get(key, supported)
        if value != supported:
            raise InputError(
                f"{source}: config.json has {key} = {value!r}: {meaning}, which {family.model} does not compute; "
                f"only {key} = {supported!r} is supported"
            )
    return family


def read_layout(config: Mapping[str, Any], source: str) -> Layout:
    """The layout that `config` (the content of `source`'s config.json) promises. Raises InputError."""
    family = family_of(config, source)
    settings = {**DEFAULTS, **dict(family.settings)} | {
        k: v for k, v in config.items() if k in DEFAULTS and v is not None
    }
    settings |= {key: value for key, value in family.settings if key == "feat_extract_norm"}
    _check(settings, source)
    permutations = {p.name: p for p in _permutations(family, settings)}
    sizes = _sizes(settings, permutations)
    tensors = {name: _tensor(axes.split(), sizes, permutations, settings) for name, axes in _rows(family, settings)}
    taps = tuple(tap for tap in _taps(family, settings) if tap.permutation in permutations)
    return Layout(family, settings, tensors, permutations, taps)


def _check(settings: Mapping[str, Any], source: str) -> None:
    for key, default in DEFAULTS.items():
        kind = KINDS[type(default)]
        if settings[key] is not default and not kind.holds(settings[key]):
            raise InputError(f"{source}: config.json has {key} = {settings[key]!r}, expected {kind.words}")
    width, heads = settings["hidden_size"], settings["num_attention_heads"]
    groups = settings["num_conv_pos_embedding_groups"]
    for key, parts in (("num_attention_heads", heads), ("num_conv_pos_embedding_groups", groups)):
        if width % parts:
            raise InputError(
                f"{source}: config.json has {key} = {parts!r}, expected a divisor of hidden_size = {width}"
            )
    lengths = {key: len(settings[key]) for key in ("conv_dim", "conv_kernel", "conv_stride")}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{source}: config.json describes CNNs of different depth: {lengths}; expected one length")
    if settings["feat_extract_norm"] not in ("group", "layer"):
        value = settings["feat_extract_norm"]
        raise InputError(f"{source}: config.json has feat_extract_norm = {value!r}, expected 'group' or 'layer'")


def _permutations(family: Family, settings: Mapping[str, Any]) -> Iterator[Permutation]:
    width, heads = settings["hidden_size"], settings["num_attention_heads"]
    groups, channels = settings["num_conv_pos_embedding_groups"], width // heads
    group = width // groups
    stream = Order("groups", "residual", groups)
    if family.gated_positions:
        # Heads and groups both partition the stream; only what keeps both partitions may move.
        stream = Order("heads", "residual", width // math.lcm(channels, group))
        yield Permutation("residual", "residual", width, stream, math.gcd(channels, group), tied=channels)
    else:
        yield Permutation("residual", "residual", width, stream, group)
    for i, size in enumerate(settings["conv_dim"]):
        yield Permutation(f"conv.{i}", "conv", size, Order(f"conv.{i}", "conv", 1), size)
    if settings["conv_pos_kernel_size"]:
        for p in range(settings["num_conv_pos_embeddings"] - 1):
            yield Permutation(f"pos.{p}", "conv", width, stream, group)
    for layer in range(settings["num_hidden_layers"]):
        order = stream if family.gated_positions else Order(f"heads.{layer}", "attention", heads)
        for name in ("qk", "vo"):
            yield Permutation(f"{name}.{layer}", "attention", width, order, channels)
        size = settings["intermediate_size"]
        yield Permutation(f"ff.{layer}", "feed_forward", size, Order(f"ff.{layer}", "feed_forward", 1), size)


def _sizes(settings: Mapping[str, Any], permutations: Mapping[str, Permutation]) -> dict[str, int]:
    """Size of every axis label."""
    width, heads = settings["hidden_size"], settings["num_attention_heads"]
    sizes = {name: permutation.size for name, permutation in permutations.items()}
    sizes |= {f"{n}/groups": width // settings["num_conv_pos_embedding_groups"] for n in permutations}
    sizes |= {"residual/heads": heads, "residual/head_channels": width // heads}
    sizes |= {f"#kernel.{i}": kernel for i, kernel in enumerate(settings["conv_kernel"])}
    stacked = settings["conv_pos_kernel_size"]
    sizes["#positions"] = stacked if stacked else settings["num_conv_pos_embeddings"]
    sizes["#buckets"] = settings["num_buckets"]
    return sizes


def _tensor(
    labels: list[str], sizes: Mapping[str, int], permutations: Mapping[str, Permutation], settings: Mapping[str, Any]
) -> TensorSpec:
    shape = tuple(sizes[label] if label in sizes else int(label.removeprefix("#")) for label in labels)
    units = {
        "groups": settings["hidden_size"] // settings["num_conv_pos_embedding_groups"],
        "heads": settings["hidden_size"] // settings["num_attention_heads"],
        "head_channels": settings["hidden_size"] // settings["num_attention_heads"],
    }
    axes: list[Axis | None] = []
    for label in labels:
        name, _, view = label.partition("/")
        axes.append(Axis(name, view or "channels", units.get(view, 0)) if name in permutations else None)
    return TensorSpec(shape, tuple(axes))


def _traits(settings: Mapping[str, Any]) -> set[str]:
    """Words that `Row.when` may ask for."""
    traits = {
        "masking": settings["mask_time_prob"] > 0 or settings["mask_feature_prob"] > 0,
        "conv_bias": settings["conv_bias"],
        "group_norm": settings["feat_extract_norm"] == "group",
        "layer_norm": settings["feat_extract_norm"] == "layer",
        "projection_norm": settings["feat_proj_layer_norm"],
        "position_batch_norm": settings["conv_pos_batch_norm"],
    }
    return {name for name, present in traits.items() if present}


def _places(template: str, settings: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], set[str]]]:
    """Every way to fill the placeholders of `template`, with the traits that hold there."""
    convolutions, stack = len(settings["conv_dim"]), settings["num_conv_pos_embeddings"]
    if "{i}" in template:
        for i in range(convolutions):
            yield {"i": i, "before": f"conv.{i - 1}" if i else "#1"}, {"first_conv"} if i == 0 else set()
    elif "{p}" in template:
        for p in range(stack):
            under, over = (f"pos.{p - 1}" if p else "residual"), (f"pos.{p}" if p < stack - 1 else "residual")
            yield {"p": p, "under": under, "over": over}, set()
    elif "{l}" in template:
        for layer in range(settings["num_hidden_layers"]):
            yield {"l": layer}, {"first_layer"} if layer == 0 else set()
    else:
        yield {}, set()


def _rows(family: Family, settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(tensor, axis labels) for every tensor that the config has."""
    traits, last = _traits(settings), len(settings["conv_dim"]) - 1
    for row in family.rows:
        for place, local in _places(row.tensor, settings):
            if set(row.when.split()) <= traits | local:
                yield row.tensor.format(**place), row.axes.format(**place).replace("conv.last", f"conv.{last}")


def _taps(family: Family, settings: Mapping[str, Any]) -> Iterator[Tap]:
    for tap in family.taps:
        for place, _ in _places(tap.module, settings):
            yield Tap(tap.permutation.format(**place), tap.module.format(**place), tap.side, tap.channels_last)
