"""Model folders as their users see them: loaded by transformers, compared weight by weight, listed file by file."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModel


def loaded(folder: Path, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The model as any user of transformers loads it; every tensor must be found and none be left over."""
    model, report = AutoModel.from_pretrained(folder, output_loading_info=True, dtype=dtype)
    assert {key: list(value) for key, value in report.items() if value} == {}
    return model.eval().requires_grad_(False)


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Effective weights: a weight-normed convolution's as it convolves."""
    normed = {name for name, module in model.named_modules() if hasattr(module, "parametrizations")}
    found = {
        key: value for key, value in model.state_dict().items() if not any(key.startswith(f"{n}.param") for n in normed)
    }
    return found | {f"{name}.weight": model.get_submodule(name).weight.detach() for name in normed}


def mixed(pair: tuple[Path, Path], share: Callable[[str], float]) -> dict[str, Tensor]:
    """The average by hand; counters are REFERENCE's."""
    a, b = (weights(AutoModel.from_pretrained(folder)) for folder in pair)
    return {key: share(key) * a[key] + (1 - share(key)) * b[key] if a[key].is_floating_point() else a[key] for key in a}


def assert_equal_weights(found: dict[str, Tensor], expected: dict[str, Tensor], atol: float = 1e-6) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=atol, rtol=1e-5, msg=lambda text, key=key: f"{key}: {text}")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, hidden ones too; a folder counts as an empty file."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }
