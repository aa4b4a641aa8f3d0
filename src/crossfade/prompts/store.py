"""The folder that prompts travel in: adapter_config.json and adapter_model.safetensors, as peft's adapters do."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from crossfade.documents import validated
from crossfade.encoders.sidecars import read_json
from crossfade.errors import InputError
from crossfade.prompts.config import PEFT_TYPE, PromptConfig
from crossfade.prompts.drift import Defence, defend, record_of

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
VECTORS = "prompt_embeddings"
"""The one tensor of the weights, (layers, count, width): peft's name for it."""


def write_prompts(folder: Path, config: PromptConfig, vectors: Tensor, *, keep_record: bool = False) -> None:
    """Write the two files into a folder that exists.

    config is written with a record of these vectors; with `keep_record` it keeps the one it has, of other vectors: so
    does who changes prompts without their owner.
    """
    told = config if keep_record else config.model_copy(update={"record": record_of(vectors)})
    (folder / CONFIG).write_text(json.dumps(told.model_dump(mode="json"), indent=2) + "\n")
    save_file({VECTORS: vectors.detach().float().cpu().contiguous()}, folder / WEIGHTS, {"format": "pt"})


def read_prompts(folder: Path, defence: Defence = "refuse") -> tuple[PromptConfig, Tensor]:
    """Config and vectors (layers, count, width), float32, of a folder, checked as `drift.defend` does.

    Raises InputError: no such folder, not prompts of ours, damaged, not finite, other vectors than were recorded.
    """
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder}: no {CONFIG}; expected a folder of `crossfade prompt-tune train`")
    told = read_json(folder / CONFIG)
    if told.get("peft_type") != PEFT_TYPE:
        raise InputError(
            f"{folder / CONFIG}: peft_type {told.get('peft_type')!r}, expected {PEFT_TYPE!r}: no prompts of ours"
        )
    config = validated(PromptConfig, told, folder / CONFIG)
    try:
        vectors = load_file(folder / WEIGHTS)[VECTORS].float()
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{folder / WEIGHTS}: cannot be read ({' '.join(str(error).split())[:120]})") from None
    shape = (config.layers, config.count, config.width)
    if tuple(vectors.shape) != shape or not torch.isfinite(vectors).all():
        raise InputError(
            f"{folder / WEIGHTS}: expected finite {VECTORS} of shape {shape}, received {tuple(vectors.shape)}"
        )
    return config, defend(vectors, config.record, defence, folder)
