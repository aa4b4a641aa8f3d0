"""Tiny random encoders of every family, in memory or as Hugging Face folders."""

import json
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

CNN = {"conv_dim": [12, 16, 16], "conv_kernel": [10, 3, 2], "conv_stride": [5, 4, 2]}
TRANSFORMER = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 3,
}
WIDE = {"hidden_size": 96, "num_attention_heads": 8, "num_conv_pos_embedding_groups": 6}
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
CONFIGS: dict[str, dict[str, Any]] = {
    "hubert": {"model_type": "hubert"},
    "hubert-stable": {"model_type": "hubert", **STABLE},
    "hubert-student": {"model_type": "hubert", "num_hidden_layers": 2, "feat_proj_layer_norm": False},
    "hubert-batch-norm": {"model_type": "hubert", "conv_pos_batch_norm": True},
    "wav2vec2": {"model_type": "wav2vec2"},
    "wav2vec2-stable": {"model_type": "wav2vec2", **STABLE},
    # Heads of 12 and groups of 16 cut the stream differently, as heads of 64 and groups of 48 do in WavLM base.
    "wavlm": {"model_type": "wavlm", **WIDE},
    "wavlm-stable": {"model_type": "wavlm", **WIDE, **STABLE},
    "wavlm-groups-in-heads": {"model_type": "wavlm", "num_attention_heads": 2, "num_conv_pos_embedding_groups": 6},
    "wavlm-heads-in-groups": {"model_type": "wavlm", "num_attention_heads": 6, "num_conv_pos_embedding_groups": 3},
    "data2vec-audio": {"model_type": "data2vec-audio", "num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5},
}


def model(name: str, seed: int, **changes: Any) -> nn.Module:
    """A random encoder of CONFIGS[name] whose norms, biases and gates are random too, so that a slip in any shows."""
    settings = CNN | TRANSFORMER | CONFIGS[name] | changes
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    torch.manual_seed(seed)
    encoder = AutoModel.from_config(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in encoder.named_parameters():
            if "original" not in key:
                value += 0.2 * torch.randn(value.shape, generator=generator)
        for key, value in encoder.named_buffers():
            if "running" in key:
                value += torch.rand(value.shape, generator=generator)
    return encoder


def folder(path: Path, name: str, seed: int, *, preprocessor: dict[str, Any] | None = None, **changes: Any) -> Path:
    """The same as a Hugging Face folder at `path`."""
    model(name, seed, **changes).save_pretrained(path)
    Wav2Vec2FeatureExtractor(**({"do_normalize": True} | (preprocessor or {}))).save_pretrained(path)
    return path


def edit_config(path: Path, **changes: Any) -> None:
    """Change keys of a folder's config.json."""
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def waveform(seed: int = 0, clips: int = 2, samples: int = 2000) -> Tensor:
    """Noise with a changing envelope, (clips, samples)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(clips, samples, generator=generator)
    return noise * torch.linspace(0.2, 1.0, samples) + torch.sin(torch.arange(samples) * 0.05)


def sounds(path: Path, seed: int, *, clips: int = 4, seconds: float = 0.25, rate: int = 16000) -> Path:
    """A folder of `clips` waveforms as 16-bit WAV files; seeds differ in pitch and colour, like two domains."""
    path.mkdir(parents=True)
    samples = round(seconds * rate)
    time = torch.arange(samples) / rate
    for clip, noise in enumerate(waveform(seed, clips, samples)):
        tone = torch.sin(2 * torch.pi * 110 * (1 + 3 * seed + clip) * time)
        coloured = noise.cumsum(0) if seed % 2 else noise
        wave = tone + 0.5 * coloured / coloured.std()
        soundfile.write(path / f"{clip}.wav", (0.3 * wave / wave.abs().max()).numpy(), rate, subtype="PCM_16")
    return path
