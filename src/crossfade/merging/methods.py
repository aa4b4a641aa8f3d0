"""Ways to merge two weights into one: each a pure typed function that registers itself.

A method is called once per tensor with float32 tensors of one shape. What it asks for by name it gets: `reference`,
`other` (aligned, if an alignment was asked for), `weight` (REFERENCE's share in [0, 1]), `base` (the common ancestor),
`generator` (seeded for this tensor). Further keyword parameters with defaults are its settings. Methods for task
vectors get `base`, `vectors` and `weights` instead (`crossfade.merging.arithmetic`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from inspect import Parameter, signature
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from crossfade.errors import InputError, nearest
from crossfade.merging import arithmetic
from crossfade.merging.regression import regression
from crossfade.own_code import load

PROVIDED = ("reference", "other", "base", "weight", "generator")
VECTOR_PROVIDED = ("base", "vectors", "weights", "generator")
ENTRY_POINTS = "crossfade.methods"


@dataclass(frozen=True)
class Method:
    """A registered method: its function, and its settings with their defaults."""

    name: str
    function: Callable[..., Any]
    settings: Mapping[str, Any]

    @property
    def needs_base(self) -> bool:
        return "base" in signature(self.function).parameters

    def __call__(self, settings: Mapping[str, Any], **provided: Any) -> Tensor:
        """Call the function with those of `provided` that it asks for."""
        wanted = signature(self.function).parameters
        merged: Tensor = self.function(**{key: provided[key] for key in provided if key in wanted}, **settings)
        return merged

    def check_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """`settings` over the defaults; InputError for an unknown name or a value of another type."""
        for key, value in settings.items():
            if key not in self.settings:
                known = nearest(key, self.settings) if self.settings else "it has no settings"
                raise InputError(f"method {self.name} has no setting {key!r}; {known}")
            default = self.settings[key]
            kinds = (int, float) if isinstance(default, float) else (type(default),)
            if not isinstance(value, kinds) or isinstance(value, bool) != isinstance(default, bool):
                raise InputError(
                    f"method {self.name}: {key} = {value!r}, expected {type(default).__name__} such as {default!r}"
                )
            if isinstance(value, float) and not isfinite(value):
                raise InputError(f"method {self.name}: {key} = {value!r}, expected a finite number such as {default!r}")
        return {**self.settings, **settings}


METHODS: dict[str, Method] = {}
"""Methods that merge tensor by tensor."""

LAYERWISE = {
    "regression": Method("regression", regression, {"ridge": 0.1, "sequential": False, "convolutions": False}),
}
"""Methods that listen to audio and solve layer by layer (`crossfade.merging.statistics`, `.layerwise`)."""


def method(name: str) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register the decorated function as the merge method `name`."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        METHODS[name] = describe_method(name, function)
        return function

    return register


def describe_method(name: str, function: Callable[..., Tensor], provided: Sequence[str] = PROVIDED) -> Method:
    """Read a method's settings from its signature; InputError when it asks for what it cannot get."""
    parameters = signature(function).parameters
    for key, parameter in parameters.items():
        if key not in provided and parameter.default is Parameter.empty:
            raise InputError(
                f"method {name}: parameter {key!r} has no default and is not one of {', '.join(provided)}; give it one"
            )
    return Method(name, function, {key: p.default for key, p in parameters.items() if key not in provided})


def find_method(name: str) -> Method:
    """A method by name, by entry point, or from a user's file as `FILE.py:FUNCTION`. Raises InputError."""
    if name in METHODS or name in LAYERWISE:
        return METHODS.get(name) or LAYERWISE[name]
    if ".py:" in name:
        return _from_file(name)
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name == name:
            return describe_method(name, entry.load())
    raise InputError(
        f"method: {name!r} is unknown; {nearest(name, [*METHODS, *LAYERWISE])}, or a function of yours as FILE.py:NAME"
    )


def find_vector_method(name: str) -> Method:
    """A method for task vectors by name, or from a user's file as `FILE.py:FUNCTION`. Raises InputError."""
    if ".py:" in name:
        return _from_file(name, VECTOR_PROVIDED)
    if name not in VECTOR_METHODS:
        raise InputError(f"method: {name!r} adds no task vectors; {nearest(name, VECTOR_METHODS)}, or FILE.py:NAME")
    return VECTOR_METHODS[name]


def _from_file(name: str, provided: Sequence[str] = PROVIDED) -> Method:
    return describe_method(name, load(name, "method", "function")[1], provided)


@method("linear")
def linear(reference: Tensor, other: Tensor, weight: float) -> Tensor:
    """weight * reference + (1 - weight) * other."""
    return torch.lerp(other, reference, weight)


@method("slerp")
def slerp(reference: Tensor, other: Tensor, weight: float) -> Tensor:
    """Interpolate along the great circle between directions, and lengths linearly; linear where they are parallel."""
    lengths = reference.norm(), other.norm()
    if not (lengths[0] > 0 and lengths[1] > 0):
        return linear(reference, other, weight)
    a, b = reference / lengths[0], other / lengths[1]
    angle = torch.acos((a * b).sum().clamp(-1.0, 1.0))
    if angle < 1e-3 or angle > torch.pi - 1e-3:
        return linear(reference, other, weight)
    direction = (torch.sin(weight * angle) * a + torch.sin((1 - weight) * angle) * b) / torch.sin(angle)
    merged: Tensor = direction * torch.lerp(lengths[1], lengths[0], weight)
    return merged


@method("task-arithmetic")
def task_arithmetic(reference: Tensor, other: Tensor, base: Tensor, weight: float, *, scale: float = 1.0) -> Tensor:
    """base + scale * (weight * (reference - base) + (1 - weight) * (other - base)); paper 3 (2505.13270) at scale 1."""
    return base + scale * (linear(reference, other, weight) - base)


@method("ties")
def ties(
    reference: Tensor, other: Tensor, base: Tensor, weight: float, *, density: float = 0.2, scale: float = 1.0
) -> Tensor:
    """`arithmetic.ties` of both differences from the base."""
    vectors = reference - base, other - base
    return arithmetic.ties(base, vectors, (weight, 1.0 - weight), density=density, scale=scale)


@method("dare")
def dare(
    reference: Tensor, other: Tensor, base: Tensor, weight: float, generator: torch.Generator, *, drop: float = 0.9
) -> Tensor:
    """`arithmetic.dare` of both differences from the base."""
    return arithmetic.dare(base, (reference - base, other - base), (weight, 1.0 - weight), generator, drop=drop)


VECTOR_METHODS: dict[str, Method] = {
    name: describe_method(name, function, VECTOR_PROVIDED)
    for name, function in (
        ("task-arithmetic", arithmetic.add),
        ("ties", arithmetic.ties),
        ("ties-secondary", arithmetic.ties_secondary),
        ("dare", arithmetic.dare),
    )
}
"""Methods that put any number of task vectors on a base, tensor by tensor."""
