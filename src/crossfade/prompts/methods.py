"""The ways to tune, as data: what of them trains beside the head, how fast, and how it is kept."""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crossfade.encoders.encoder import EncoderWriter, open_encoder
from crossfade.encoders.headers import TensorInfo
from crossfade.encoders.model import model_tensors
from crossfade.encoders.sidecars import CONFIG, PREPROCESSOR
from crossfade.encoders.writer import CheckpointWriter
from crossfade.errors import InputError
from crossfade.features.spectral import HOP, RATE, WINDOW
from crossfade.probing.upstreams import Upstream
from crossfade.prompts.config import Noise, PromptConfig
from crossfade.prompts.drift import Defence
from crossfade.prompts.listening import family_of, model_of
from crossfade.prompts.recipe import Method, PromptRecipe
from crossfade.prompts.recognizer import Recognizer
from crossfade.prompts.soft import SoftPrompts, initial_vectors
from crossfade.prompts.store import write_prompts

CNN = ("feature_extractor", "conv1", "conv2")
"""Modules of an encoder that come before its transformer."""

INSTALLED_BY = {"accelerate": "crossfade[prompts]", "jiwer": "crossfade[prompts]", "peft": "crossfade[prompts]",
                "tensorboard": "tensorboard", "trackio": "trackio"}  # fmt: skip

Equipped = tuple[nn.Module, SoftPrompts | None]
"""The encoder, with what was put into it, and the prompts that it hears."""


@dataclass(frozen=True)
class Way:
    """One method. `rate`: of what trains beside the head, our choice.

    equip: makes an encoder ready for training; it is given the upstream, the recipe, and hidden states (layers + 1,
    frames, width) of some training clips where prompts start from frames. save: writes what was trained into a folder,
    with the noise that it was trained under. load: the same from a folder, for
    the upstream that it was for, with a defence against changed prompts.
    section: the settings of the recipe that make it what it is. frozen: without prompts, the encoder is as it was.
    """

    rate: float
    equip: Callable[[Upstream, PromptRecipe, list[Tensor]], Equipped]
    save: Callable[[Path, Recognizer, Noise | None], None]
    load: Callable[[Path, Upstream, Defence], Equipped]
    section: Callable[[PromptRecipe], Mapping[str, Any]] = lambda recipe: {}
    needs: tuple[str, ...] = ()
    frozen: bool = False


def require(*modules: str) -> None:
    """InputError for a module that is not installed."""
    for module in modules:
        if find_spec(module) is None:
            raise InputError(f"tuning this recipe needs {module}: pip install '{INSTALLED_BY[module]}'")


def _as_it_is(upstream: Upstream, *_: object) -> Equipped:
    return model_of(upstream), None


def _as_it_lies(_: Path, upstream: Upstream, __: Defence) -> Equipped:
    return model_of(upstream), None


def _no_files(*_: object) -> None:
    """The head is all there is."""


# Prompts ------------------------------------------------------------------------------------------------------------


def _prompted(upstream: Upstream, recipe: PromptRecipe, heard: list[Tensor]) -> Equipped:
    config = PromptConfig(
        base_model_name_or_path=upstream.name,
        base_sha256=upstream.sha256,
        family=family_of(upstream),
        width=upstream.width,
        layers=upstream.layers - 1 if recipe.method == "deep" else 1,
        **recipe.prompts.model_dump(),
    )
    model = model_of(upstream)
    prompts = SoftPrompts(config, initial_vectors(config, recipe.seed, heard))
    prompts.attach(model).detach()  # refused now, where they do not fit
    return model, prompts.to(upstream.device)


def _save_prompts(folder: Path, recognizer: Recognizer, noise: Noise | None) -> None:
    assert recognizer.prompts is not None
    write_prompts(folder, recognizer.prompts.config.model_copy(update={"noise": noise}), recognizer.prompts.vectors)


def _load_prompts(folder: Path, upstream: Upstream, defence: Defence) -> Equipped:
    prompts = SoftPrompts.from_pretrained(folder, defence=defence)
    prompts.require_base(upstream.name, upstream.sha256)
    return model_of(upstream), prompts.to(upstream.device)


# LoRA ---------------------------------------------------------------------------------------------------------------


@contextmanager
def _unwarned() -> Iterator[None]:
    """peft asks transformers for something by its old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield


def _adapted(upstream: Upstream, recipe: PromptRecipe, _: list[Tensor]) -> Equipped:
    from peft import LoraConfig, get_peft_model

    own, model = recipe.lora, model_of(upstream)
    names = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    if unknown := sorted({*own.targets} - names):
        raise InputError(f"lora.targets: {upstream.name} has no linear layer '{unknown[0]}'; known: {sorted(names)}")
    config = LoraConfig(r=own.rank, lora_alpha=own.alpha, target_modules=list(own.targets))
    with _unwarned():
        adapted = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = upstream.name
    return adapted, None


def _save_adapter(folder: Path, recognizer: Recognizer, _: Noise | None) -> None:
    encoder: Any = recognizer.encoder
    encoder.save_pretrained(folder, save_embedding_layers=False)


def _load_adapter(folder: Path, upstream: Upstream, _: Defence) -> Equipped:
    from peft import PeftModel

    with _unwarned():
        adapted: nn.Module = PeftModel.from_pretrained(model_of(upstream), str(folder), is_trainable=True)
    return adapted, None


# The whole encoder --------------------------------------------------------------------------------------------------


def _released(upstream: Upstream, recipe: PromptRecipe, _: list[Tensor]) -> Equipped:
    model = model_of(upstream)
    model.requires_grad_(True)
    for name, module in model.named_children():
        if name in ("embed_positions", *(() if recipe.full.cnn else CNN)):
            module.requires_grad_(False)
    return model, None


def _save_encoder(folder: Path, recognizer: Recognizer, _: Noise | None) -> None:
    upstream = recognizer.upstream
    model = model_of(upstream)
    if family_of(upstream) == "whisper":
        write_whisper(folder, model)
        return
    encoder = open_encoder(upstream.name)
    EncoderWriter(folder, encoder, torch.float32).write_all(model_tensors(model, encoder).items())


def write_whisper(folder: Path, model: Any) -> None:
    """Write a Whisper's encoder as a transformers folder, which `open_upstream` takes; without a decoder."""
    config = {**model.config.to_diff_dict(), "architectures": ["WhisperModel"], "dtype": "float32"}
    heard = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": model.num_mel_bins,
             "sampling_rate": RATE, "hop_length": HOP, "n_fft": WINDOW}  # fmt: skip
    for name, told in ((CONFIG, config), (PREPROCESSOR, heard)):
        (folder / name).write_text(json.dumps(told, indent=2, sort_keys=True) + "\n")
    tensors = {f"encoder.{name}": value for name, value in model.state_dict().items()}
    infos = {name: TensorInfo(value.dtype, tuple(value.shape)) for name, value in tensors.items()}
    with CheckpointWriter(folder, infos, metadata={"format": "pt"}) as writer:
        for name, value in tensors.items():
            writer.write(name, value)


_PROMPTS = Way(5e-3, _prompted, _save_prompts, _load_prompts, lambda recipe: recipe.prompts.model_dump(), frozen=True)
METHODS: Mapping[Method, Way] = {
    "head": Way(1e-3, _as_it_is, _no_files, _as_it_lies, frozen=True),
    "prompts": _PROMPTS,
    "deep": _PROMPTS,
    "lora": Way(1e-3, _adapted, _save_adapter, _load_adapter, lambda recipe: recipe.lora.model_dump(), ("peft",)),
    "full": Way(1e-4, _released, _save_encoder, _as_it_lies, lambda recipe: recipe.full.model_dump()),
}
"""head: the head alone. prompts: vectors below the first layer; deep: at every layer. full: its weights are a model of
their own, which `load` is given."""
