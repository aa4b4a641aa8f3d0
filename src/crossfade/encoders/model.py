"""From an encoder on disk to a transformers model in memory, and back."""

import re
from collections.abc import Mapping
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from crossfade.encoders.encoder import PARAMETRIZED, Encoder, clean_config, effective_weight, weight_norm
from crossfade.encoders.families import POSITIONAL_WEIGHT, Family

_IMPORTING = Lock()


def load_model(encoder: Encoder, device: torch.device | str = "cpu") -> nn.Module:
    """The encoder as a transformers model, float32, in evaluation mode, without remote code."""
    return build_model(encoder, {name: encoder.read(name) for name in encoder.layout.tensors}, device)


def build_model(encoder: Encoder, tensors: Mapping[str, Tensor], device: torch.device | str = "cpu") -> nn.Module:
    """A model of `encoder`'s architecture with `tensors` (names of its layout) as weights."""
    config_class, model_class = _classes(encoder.family)
    config = config_class.from_dict(clean_config(encoder))
    with torch.device("meta"):
        model: nn.Module = model_class(config)
    model = model.to_empty(device=device)
    load_tensors(model, tensors)
    for layer in model.modules():
        if hasattr(layer, "torch_multi_head_self_attention"):
            setattr(layer, "torch_multi_head_self_attention", _Attention(layer))  # noqa: B010  # not a submodule
    return model.eval().requires_grad_(False)


def _classes(family: Family) -> tuple[Any, Any]:
    """Config and model class; one thread at a time, because transformers imports them when they are asked for."""
    with _IMPORTING:
        import transformers

        return getattr(transformers, family.config), getattr(transformers, family.model)


def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy `tensors` (names of the layout) into `model`; every tensor of the model must be there."""
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    if PARAMETRIZED[0] in model.state_dict():
        state |= dict(zip(PARAMETRIZED, weight_norm(state.pop(POSITIONAL_WEIGHT)), strict=True))
    model.load_state_dict(state, strict=True)


def model_tensors(model: nn.Module, encoder: Encoder) -> dict[str, Tensor]:
    """The weights of a model that `build_model` made, under the names of the layout."""
    state = dict(model.state_dict())
    if PARAMETRIZED[0] in state:
        state[POSITIONAL_WEIGHT] = effective_weight(*(state[part] for part in PARAMETRIZED))
    return {name: state[name] for name in encoder.layout.tensors}


class _Attention:
    """WavLM's attention through its own projections, so that hooks on them see what flows.

    transformers hands the weights to one fused function, which no hook can look into. Same result, less memory.
    `attention_mask` (clips, frames) is True where a frame is heard; no frame attends to the others.
    """

    def __init__(self, layer: nn.Module) -> None:
        self.layer: Any = layer

    def __call__(self, hidden_states: Tensor, attention_mask: Tensor | None, bias: Tensor) -> tuple[Tensor, None]:
        layer, (clips, frames, width) = self.layer, hidden_states.shape
        heads = (clips, frames, layer.num_heads, layer.head_dim)
        query, key, value = (
            project(hidden_states).view(heads).transpose(1, 2) for project in (layer.q_proj, layer.k_proj, layer.v_proj)
        )
        scores = bias.view(clips, layer.num_heads, frames, frames).to(query.dtype)
        if attention_mask is not None:
            scores = scores.masked_fill(attention_mask[:, None, None, :] == 0, -torch.inf)
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=scores)
        return layer.out_proj(mixed.transpose(1, 2).reshape(clips, frames, width)), None


def resolve_device(device: str) -> torch.device:
    """`auto`, `cpu` or `cuda[:N]` as a torch device; InputError when there is no such device."""
    from crossfade.errors import InputError

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InputError(f"device {device!r}: expected auto, cpu or cuda[:number]")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device {device!r}: this PyTorch sees no GPU; use --device cpu")
    return torch.device(device)
