"""A tiny random Whisper encoder, in memory and as CTranslate2 writes one."""

import struct
from pathlib import Path

import torch
from torch import Tensor
from transformers import WhisperConfig, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

SIZES = {
    "d_model": 24,
    "encoder_layers": 2,
    "encoder_attention_heads": 3,
    "encoder_ffn_dim": 40,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 16,
    "vocab_size": 60,
    "max_source_positions": 1500,
    "max_target_positions": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}


def config(**changes: int) -> WhisperConfig:
    return WhisperConfig(**(SIZES | changes))


def encoder(seed: int = 0, **changes: int) -> WhisperEncoder:
    """Random weights whose norms and biases are random too."""
    torch.manual_seed(seed)
    model = WhisperEncoder(config(**changes)).eval().requires_grad_(False)
    for value in model.parameters():
        value += 0.1 * torch.randn(value.shape)
    return model


def folder(path: Path, seed: int = 0) -> tuple[Path, WhisperEncoder]:
    """A transformers folder of a whole Whisper whose encoder is `encoder(seed)`, and that encoder."""
    whole, inner = WhisperModel(config()).eval(), encoder(seed)
    whole.encoder.load_state_dict(inner.state_dict())
    whole.save_pretrained(path)
    return path, inner


def variables(model: WhisperEncoder) -> dict[str, Tensor]:
    """The encoder under CTranslate2's names: q, k and v stacked, k with a bias of zeros; a piece of a decoder too."""
    state = model.state_dict()
    found = {"decoder/embeddings/weight": torch.randn(7, 3), "decoder/num_heads": torch.tensor(2, dtype=torch.int16)}
    found["encoder/num_heads"] = torch.tensor(model.config.encoder_attention_heads, dtype=torch.int16)
    found["encoder/position_encodings/encodings"] = state["embed_positions.weight"]
    for part in ("weight", "bias"):
        found |= {f"encoder/{name}/{part}": state[f"{name}.{part}"] for name in ("conv1", "conv2")}
    norms = {"encoder/layer_norm": "layer_norm"}
    for layer in range(model.config.encoder_layers):
        ours, theirs = f"encoder/layer_{layer}", f"layers.{layer}"
        norms |= {f"{ours}/self_attention/layer_norm": f"{theirs}.self_attn_layer_norm"}
        norms |= {f"{ours}/ffn/layer_norm": f"{theirs}.final_layer_norm"}
        zeros = torch.zeros(model.config.d_model)
        for part in ("weight", "bias"):
            stacked = [state.get(f"{theirs}.self_attn.{name}_proj.{part}", zeros) for name in "qkv"]
            found[f"{ours}/self_attention/linear_0/{part}"] = torch.cat(stacked)
            found[f"{ours}/self_attention/linear_1/{part}"] = state[f"{theirs}.self_attn.out_proj.{part}"]
            found[f"{ours}/ffn/linear_0/{part}"] = state[f"{theirs}.fc1.{part}"]
            found[f"{ours}/ffn/linear_1/{part}"] = state[f"{theirs}.fc2.{part}"]
    for name, norm in norms.items():
        found |= {f"{name}/gamma": state[f"{norm}.weight"], f"{name}/beta": state[f"{norm}.bias"]}
    return found


def model_bin(found: dict[str, Tensor], *, dtype: torch.dtype = torch.float32, version: int = 6,
              specification: str = "WhisperSpec") -> bytes:  # fmt: skip
    """The bytes of a model.bin with these variables, floating ones stored in `dtype`."""
    content = struct.pack("<I", version) + _text(specification) + struct.pack("<II", 3, len(found))
    codes = {torch.float32: 0, torch.int8: 1, torch.int16: 2, torch.float16: 4}
    for name, value in sorted(found.items()):
        stored = value.to(dtype) if value.is_floating_point() else value
        data = stored.contiguous().numpy().tobytes()
        content += _text(name) + struct.pack(f"<B{stored.dim()}I", stored.dim(), *stored.shape)
        content += struct.pack("<BI", codes[stored.dtype], len(data)) + data
    return content + struct.pack("<I", 1) + _text("decoder/projection/weight") + _text("decoder/embeddings/weight")


def _text(word: str) -> bytes:
    return struct.pack("<H", len(word) + 1) + word.encode() + b"\0"
