"""Random soft prompts for tiny encoders, and listeners that drive them."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crossfade.encoders.encoder import open_encoder
from crossfade.encoders.families import FAMILIES
from crossfade.encoders.model import load_model
from crossfade.probing.padded import PaddedEncoder
from crossfade.prompts import PromptConfig, SoftPrompts

COUNT = 5


def settings(model: nn.Module, **changes: Any) -> PromptConfig:
    """A config that fits `model`."""
    told: Any = model.config
    family = FAMILIES[told.model_type].name if told.model_type in FAMILIES else told.model_type
    fitting = {"base_model_name_or_path": "tiny", "family": family, "count": COUNT, "width": told.hidden_size}
    return PromptConfig.model_validate(fitting | changes)


def prompts(model: nn.Module, seed: int = 0, **changes: Any) -> SoftPrompts:
    """Prompts for `model`, as large as its frames."""
    config = settings(model, **changes)
    return SoftPrompts(config, vectors(config, seed))


def vectors(config: PromptConfig, seed: int = 0) -> Tensor:
    shape = (config.layers, config.count, config.width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def listener(folder: Path) -> PaddedEncoder:
    encoder = open_encoder(folder)
    return PaddedEncoder(load_model(encoder), encoder.layout, encoder.preprocessing)
