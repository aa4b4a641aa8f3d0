"""Any other model of transformers that hears waveforms: Wav2Vec2-like front, no code of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from crossfade.encoders.checkpoint import open_checkpoint
from crossfade.encoders.hub import ModelFiles
from crossfade.encoders.sidecars import PREPROCESSOR, Preprocessing, normalise, read_json, read_preprocessing
from crossfade.errors import InputError

EXTRACTOR = "Wav2Vec2FeatureExtractor"


@dataclass(frozen=True)
class EqualLengths:
    """Hidden states of clips of any lengths; those of one length are a batch: nothing is known of masks here."""

    model: nn.Module
    preprocessing: Preprocessing

    def __call__(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """(layers + 1, frames, width) of every clip (samples,): transformers' `hidden_states`."""
        found: dict[int, Tensor] = {}
        for length in {len(clip) for clip in clips}:
            same = [index for index, clip in enumerate(clips) if len(clip) == length]
            heard = normalise(torch.stack([clips[index] for index in same]), self.preprocessing)
            layers = torch.stack(self.model(heard, output_hidden_states=True).hidden_states, dim=1)
            found |= zip(same, layers, strict=True)
        return [found[index] for index in range(len(clips))]


@dataclass(frozen=True)
class AnyModel:
    """A model that was loaded and tried: `layers` hidden states of `width`, one frame every `stride` samples."""

    model: nn.Module
    preprocessing: Preprocessing
    sha256: str
    layers: int
    width: int
    stride: int
    minimum_samples: int


def load_any(files: ModelFiles, config: Mapping[str, Any], device: torch.device) -> AnyModel:
    """The model of a folder through transformers' AutoModel, float32. InputError with the reason for a refusal."""
    _check(files, config)
    from transformers import AutoModel

    try:
        model, report = AutoModel.from_pretrained(
            files.folder, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
        )
    except (ValueError, OSError, RuntimeError) as error:
        raise _refusal(files, f"transformers cannot load it ({str(error).splitlines()[0][:200]})") from error
    missing = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})
    if missing:
        raise _refusal(files, f"tensor {missing[0]} is missing from its weights")
    model = model.to(device).eval().requires_grad_(False)
    preprocessing = read_preprocessing(files.folder)
    stride, shortest = _frame(files, model.config)
    layers, _, width = _try(files, EqualLengths(model, preprocessing), shortest, device).shape
    sha256 = open_checkpoint(files.folder).sha256()
    return AnyModel(model, preprocessing, sha256, layers, width, stride, shortest)


def _check(files: ModelFiles, config: Mapping[str, Any]) -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING:
        brings = (
            "it brings code of its own, which is never run" if "auto_map" in config else "transformers has none such"
        )
        raise _refusal(files, f"model_type {kind!r}: {brings}")
    if config.get("is_encoder_decoder"):
        raise _refusal(files, f"model_type {kind!r} has a decoder; of those only Whisper's encoder is known")
    path = files.folder / PREPROCESSOR
    extractor = read_json(path).get("feature_extractor_type") if path.exists() else EXTRACTOR
    if extractor != EXTRACTOR:
        raise _refusal(files, f"it does not hear waveforms ({PREPROCESSOR} names {extractor}, not {EXTRACTOR})")


def _frame(files: ModelFiles, config: Any) -> tuple[int, int]:
    """Samples from one frame to the next, and samples needed for one."""
    kernels, strides = getattr(config, "conv_kernel", None), getattr(config, "conv_stride", None)
    if not kernels or not strides:
        raise _refusal(
            files, f"model_type {config.model_type!r} has no conv_kernel and conv_stride: no CNN that we know"
        )
    field, jump = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * jump
        jump *= stride
    squeezed = getattr(config, "squeeze_factor", 1)  # SEW makes one frame of several of its CNN's
    return jump * squeezed, field + (squeezed - 1) * jump


@torch.inference_mode()
def _try(files: ModelFiles, listen: EqualLengths, samples: int, device: torch.device) -> Tensor:
    """Hidden states of the shortest clip, (layers, frames, width)."""
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        return listen([noise])[0]
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise _refusal(files, f"it gives no hidden states ({str(error).splitlines()[0][:200]})") from error


def _refusal(files: ModelFiles, reason: str) -> InputError:
    return InputError(
        f"{files.name}: cannot be probed: {reason}; expected HuBERT, MERT, wav2vec 2.0, WavLM, data2vec, Whisper or a "
        "model of transformers that turns waveforms into hidden states"
    )
