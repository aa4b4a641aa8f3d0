"""Base-size HuBERT folders with random weights: `python models.py FOLDER SEED [SEED ...]` writes FOLDER/SEED each."""

import json
import math
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from crossfade.encoders.encoder import PARAMETRIZED, weight_norm
from crossfade.encoders.families import POSITIONAL_WEIGHT
from crossfade.encoders.layout import TensorSpec, read_layout

CONFIG = {"model_type": "hubert", "architectures": ["HubertModel"], "feat_proj_layer_norm": True}
PREPROCESSOR = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000, "do_normalize": True}


def draw(name: str, spec: TensorSpec, generator: torch.Generator) -> torch.Tensor:
    """Weights whose outputs are as large as their inputs; norms and biases around their usual values."""
    noise = torch.randn(spec.shape, generator=generator)
    if len(spec.shape) > 1:
        gain = 2.0 if "conv_layers" in name else 1.0
        return noise * math.sqrt(gain / math.prod(spec.shape[1:]))
    return noise * 0.1 + ("norm" in name and name.endswith("weight"))


def write_model(folder: Path, seed: int) -> None:
    """A folder as transformers writes it: config, preprocessor, 378 MB of float32 weights."""
    layout, generator = read_layout(CONFIG, "base"), torch.Generator().manual_seed(seed)
    tensors = {name: draw(name, spec, generator) for name, spec in layout.tensors.items()}
    tensors |= dict(zip(PARAMETRIZED, weight_norm(tensors.pop(POSITIONAL_WEIGHT)), strict=True))
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))


if __name__ == "__main__":
    for number in sys.argv[2:]:
        write_model(Path(sys.argv[1]) / number, int(number))
