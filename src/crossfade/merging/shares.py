"""REFERENCE's share of each tensor: one number, or numbers by part and by layer."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from crossfade.errors import InputError, nearest

PARTS: Mapping[str, re.Pattern[str]] = {
    "conv": re.compile(r"^feature_extractor\."),
    "projection": re.compile(r"^feature_projection\."),
    "positions": re.compile(r"^encoder\.pos_conv_embed\."),
    "attention": re.compile(r"^encoder\.layers\.\d+\.attention\."),
    "feed_forward": re.compile(r"^encoder\.layers\.\d+\.feed_forward\."),
    "norm": re.compile(r"^encoder\.(layers\.\d+\.)?(final_)?layer_norm\."),
}
"""Parts of an encoder that can have a weight of their own."""

LAYER = re.compile(r"^encoder\.layers\.(\d+)\.")


@dataclass(frozen=True)
class Shares:
    """`default`, overruled by a tensor's part, overruled by its layer, overruled by its part in that layer."""

    default: float
    parts: Mapping[str, float] = field(default_factory=dict)
    layers: Mapping[int, float] = field(default_factory=dict)
    layer_parts: Mapping[tuple[int, str], float] = field(default_factory=dict)

    def of(self, tensor: str) -> float:
        """The share of the tensor of that name."""
        part = next((name for name, pattern in PARTS.items() if pattern.match(tensor)), "")
        found = LAYER.match(tensor)
        layer = int(found[1]) if found else -1
        for table, key in ((self.layer_parts, (layer, part)), (self.layers, layer), (self.parts, part)):
            if key in table:
                return table[key]  # type: ignore[index]
        return self.default


class Kind(NamedTuple):
    """What a number must be, what it is without being told, and how to say so."""

    holds: Callable[[float], bool]
    default: float
    words: str


SHARE = Kind(lambda value: 0 <= value <= 1, 0.9, "a number from 0 (all OTHER) to 1 (all REFERENCE)")
WEIGHT = Kind(math.isfinite, 1.0, "a finite number; below 0 takes the vector away")
"""REFERENCE's share in a merge; a task vector's weight."""


def read_shares(weight: Any, layers: int, kind: Kind = SHARE) -> Shares:
    """Shares from a number, or a mapping with `default`, parts, and `layers: {"0-3": number or parts}`.

    Raises InputError for what is no number of the `kind`, an unknown part and a layer that the encoder of `layers`
    layers lacks.
    """
    if not isinstance(weight, Mapping):
        return Shares(_share("weight", weight, kind))
    known = {"default", "layers", *PARTS}
    for key in weight:
        if key not in known:
            raise InputError(f"weight: {key!r} is no part of an encoder; {nearest(str(key), known)}")
    parts = {key: _share(f"weight: {key}", weight[key], kind) for key in PARTS if key in weight}
    whole, by_part = {}, {}
    for layer, value in _layers(weight.get("layers") or {}, layers):
        if not isinstance(value, Mapping):
            whole[layer] = _share(f"weight: layers: {layer}", value, kind)
            continue
        for part, share in value.items():
            if part not in PARTS:
                raise InputError(f"weight: layers: {part!r} is no part of an encoder; {nearest(str(part), PARTS)}")
            by_part[layer, part] = _share(f"weight: layers: {layer}: {part}", share, kind)
    return Shares(_share("weight: default", weight.get("default", kind.default), kind), parts, whole, by_part)


def _layers(table: Any, layers: int) -> Iterator[tuple[int, Any]]:
    """(layer, value) for keys such as 3 or "0-3"."""
    if not isinstance(table, Mapping):
        raise InputError(f"weight: layers = {table!r}, expected a mapping such as {{0-3: 0.9}}")
    for key, value in table.items():
        span = re.fullmatch(r"(\d+)(?:-(\d+))?", str(key))
        first, last = (int(span[1]), int(span[2] or span[1])) if span else (1, 0)
        if first > last or last >= layers:
            raise InputError(f"weight: layers: {key!r}, expected a layer or a span of layers from 0 to {layers - 1}")
        for layer in range(first, last + 1):
            yield layer, value


def _share(where: str, value: Any, kind: Kind) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not kind.holds(value):
        raise InputError(f"{where} = {value!r}, expected {kind.words}")
    return float(value)
