"""An encoder on disk: its config, its tensors under one set of names, its sidecars; and how to write one."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossfade.encoders.checkpoint import Checkpoint, TensorInfo, open_checkpoint
from crossfade.encoders.families import HEADS, POSITIONAL_WEIGHT, Family
from crossfade.encoders.hub import locate
from crossfade.encoders.layout import Layout, read_layout
from crossfade.encoders.sidecars import CONFIG, PREPROCESSOR, Preprocessing, read_json, read_licence, read_preprocessing
from crossfade.encoders.writer import CheckpointWriter
from crossfade.errors import InputError

PARAMETRIZED = ("encoder.pos_conv_embed.conv.parametrizations.weight.original0",
                "encoder.pos_conv_embed.conv.parametrizations.weight.original1")  # fmt: skip
LEGACY = ("encoder.pos_conv_embed.conv.weight_g", "encoder.pos_conv_embed.conv.weight_v")
DROPPED_KEYS = ("auto_map", "_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures")


@dataclass(frozen=True)
class Encoder:
    """A checkpoint whose tensors are read one by one under the family's names.

    `stored` maps each tensor of the layout to its name(s) in the file: one, or magnitude and direction of a
    weight-normed convolution, whose effective weight is what `read` returns. `dropped` names the heads left out.
    """

    name: str
    revision: str | None
    folder: Path
    config: Mapping[str, Any]
    layout: Layout
    checkpoint: Checkpoint
    stored: Mapping[str, tuple[str, ...]]
    dropped: tuple[str, ...]
    preprocessing: Preprocessing
    licence: str | None

    @property
    def family(self) -> Family:
        return self.layout.family

    @property
    def dtype(self) -> torch.dtype:
        """The dtype most of the weights are stored in."""
        sizes: dict[torch.dtype, int] = {}
        for names in self.stored.values():
            for name in names:
                info = self.checkpoint.infos[name]
                sizes[info.dtype] = sizes.get(info.dtype, 0) + info.bytes
        return max(sizes, key=lambda dtype: sizes[dtype])

    @property
    def widest_dtype(self) -> torch.dtype:
        """The narrowest dtype that holds every stored value as it is."""
        stored = {self.checkpoint.infos[name].dtype for names in self.stored.values() for name in names}
        return reduce(torch.promote_types, (dtype for dtype in stored if dtype.is_floating_point))

    @cached_property
    def sha256(self) -> str:
        """Hash of the weight files."""
        return self.checkpoint.sha256()

    @property
    def weight_normed(self) -> bool:
        """Whether the model class keeps its positional convolution as magnitude and direction, however it is stored."""
        return POSITIONAL_WEIGHT in self.layout.tensors and not self.layout.settings["conv_pos_batch_norm"]

    def read(self, name: str) -> Tensor:
        """The tensor `name` of the layout in its stored dtype (the effective weight of a weight norm: float32).

        Raises InputError when it holds NaN or Inf.
        """
        parts = [self.checkpoint.read(stored) for stored in self.stored[name]]
        for stored, part in zip(self.stored[name], parts, strict=True):
            # A sum is finite only if every term is: one pass, no mask in memory. Overflow needs the second look. In the
            # stored dtype, because a sum in float64 takes longer than all the rest of a merge.
            if part.is_floating_point() and not part.sum().isfinite():
                bad = int((~part.isfinite()).sum())
                if bad:
                    raise InputError(
                        f"{self.name}: tensor {stored} holds {bad} NaN or Inf of {part.numel()} values; "
                        "expected finite weights: train or download this checkpoint again"
                    )
        return effective_weight(*parts) if len(parts) == 2 else parts[0]

    def __repr__(self) -> str:
        million = self.layout.parameters / 1e6
        return f"Encoder({self.name!r}, {self.family.name}, {million:.2f} M, {self.preprocessing.sampling_rate} Hz)"


def effective_weight(magnitude: Tensor, direction: Tensor) -> Tensor:
    """The weight (out, in, kernel) of a convolution that is weight-normed over its kernel positions, float32."""
    magnitude, direction = magnitude.float(), direction.float()
    return direction * (magnitude / _norm(direction))


def weight_norm(weight: Tensor, like: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Magnitude (1, 1, kernel) and direction (out, in, kernel) of an effective weight.

    The direction takes its free scale from `like`, so that decomposing an unchanged weight gives back what was stored.
    """
    magnitude = _norm(weight)
    scale = _norm(like.float()) / magnitude if like is not None else 1.0
    return magnitude, weight * scale


def _norm(direction: Tensor) -> Tensor:
    return direction.square().sum((0, 1), keepdim=True).sqrt().clamp_min(1e-30)


def open_encoder(name: str | Path) -> Encoder:
    """An encoder by folder or hub id `name[@revision]`, from its headers: no weights are read.

    Raises InputError: missing or unknown model, unsupported variant, missing, unexpected or misshapen tensors.
    """
    files = locate(str(name))
    config = read_json(files.folder / CONFIG)
    layout = read_layout(config, files.name)
    checkpoint = open_checkpoint(files.folder)
    stored, dropped = match_tensors(checkpoint.infos, layout, files.name)
    return Encoder(
        name=files.name,
        revision=files.revision,
        folder=files.folder,
        config=config,
        layout=layout,
        checkpoint=checkpoint,
        stored=stored,
        dropped=dropped,
        preprocessing=read_preprocessing(files.folder),
        licence=read_licence(files.folder),
    )


def match_tensors(
    infos: Mapping[str, TensorInfo], layout: Layout, source: str
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Where each tensor of the layout is stored, and the heads left out. Raises InputError when a tensor is amiss."""
    prefix = layout.family.prefix
    names = {name.removeprefix(prefix): name for name in infos}
    stored: dict[str, tuple[str, ...]] = {}
    for name in layout.tensors:
        spellings = (PARAMETRIZED, LEGACY, (name,)) if name == POSITIONAL_WEIGHT else ((name,),)
        found = next((spelling for spelling in spellings if all(part in names for part in spelling)), None)
        if found is None:
            raise InputError(f"{source}: tensor {name} is missing from the weights; config.json promises it: " + _MEND)
        stored[name] = tuple(names.pop(part) for part in found)
    dropped = tuple(names[name] for name in names if name.startswith(HEADS) or name == "masked_spec_embed")
    unexpected = sorted(set(names.values()) - set(dropped))
    if unexpected:
        more = f" and {len(unexpected) - 1} more" if len(unexpected) > 1 else ""
        raise InputError(
            f"{source}: tensor {unexpected[0]}{more} is not part of the {layout.family.name} of config.json: " + _MEND
        )
    for name, spec in layout.tensors.items():
        shapes = ((1, 1, spec.shape[-1]), spec.shape) if len(stored[name]) == 2 else (spec.shape,)
        for part, expected in zip(stored[name], shapes, strict=True):
            shape = tuple(infos[part].shape)
            counter = not spec.axes
            if infos[part].dtype.is_floating_point == counter:
                kind = "whole numbers" if counter else "float32, float16 or bfloat16"
                raise InputError(f"{source}: tensor {part} is stored as {infos[part].dtype}, expected {kind}: " + _MEND)
            if shape != expected:
                has = f"tensor {part} has shape {shape}, config.json promises {expected}: "
                raise InputError(f"{source}: {has}" + _MEND)
    return stored, dropped


_MEND = "check that config.json and weights belong together"


def clean_config(encoder: Encoder) -> dict[str, Any]:
    """The config of a plain encoder of the family that needs no remote code."""
    config = {key: value for key, value in encoder.config.items() if key not in DROPPED_KEYS}
    if config["model_type"] != encoder.family.name:
        config = {"conv_pos_batch_norm": False, **config, "model_type": encoder.family.name}
        config = {key: value for key, value in config.items() if key not in {k for k, _, _ in encoder.family.refused}}
    return config


def output_infos(encoder: Encoder, dtype: torch.dtype) -> dict[str, TensorInfo]:
    """Names, dtypes and shapes of the tensors that `EncoderWriter` will write, in order."""
    infos: dict[str, TensorInfo] = {}
    for name, spec in encoder.layout.tensors.items():
        kept = dtype if encoder.checkpoint.infos[encoder.stored[name][0]].dtype.is_floating_point else torch.int64
        if name == POSITIONAL_WEIGHT and encoder.weight_normed:
            infos[PARAMETRIZED[0]] = TensorInfo(kept, (1, 1, spec.shape[-1]))
            infos[PARAMETRIZED[1]] = TensorInfo(kept, spec.shape)
        else:
            infos[name] = TensorInfo(kept, spec.shape)
    return infos


def stated_dtype(like: Encoder, dtype: torch.dtype) -> str:
    """The dtype that a config states for weights stored in `dtype`: what transformers will compute in.

    Weights stored as `like`'s are computed as `like`'s config says: float16 files may ask for float32.
    """
    said = like.config.get("dtype") or like.config.get("torch_dtype")
    return str(said) if said and dtype == like.dtype else str(dtype).removeprefix("torch.")


class EncoderWriter:
    """Writes a Hugging Face folder shaped like `like`, tensor by tensor, in `dtype`."""

    def __init__(self, folder: Path, like: Encoder, dtype: torch.dtype, max_shard_bytes: int = 5_000_000_000) -> None:
        self.like = like
        self.infos = output_infos(like, dtype)
        self.writer = CheckpointWriter(folder, self.infos, metadata={"format": "pt"}, max_shard_bytes=max_shard_bytes)
        stated = {"architectures": [like.family.model], "dtype": stated_dtype(like, dtype)}
        config = clean_config(like) | stated
        (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        preprocessing = replace(like.preprocessing, stated=True)
        (folder / PREPROCESSOR).write_text(json.dumps(preprocessing.to_json(), indent=2) + "\n")

    def write(self, name: str, tensor: Tensor) -> None:
        """Write the tensor `name` of the layout; an effective weight is stored as magnitude and direction again."""
        if name == POSITIONAL_WEIGHT and self.like.weight_normed:
            direction = self.like.checkpoint.read(self.like.stored[name][-1])
            parts = dict(zip(PARAMETRIZED, weight_norm(tensor.float(), like=direction), strict=True))
        else:
            parts = {name: tensor}
        for part, value in parts.items():
            self._store(part, value)

    def _store(self, part: str, value: Tensor) -> None:
        dtype = self.infos[part].dtype
        _require_fits(part, value, dtype)
        self.writer.write(part, value.to(dtype))

    def copy(self, encoder: Encoder, name: str) -> None:
        """Write the tensor `name` as `encoder` stores it: to the bit, where its dtype fits into this one's."""
        stored = encoder.stored[name]
        if len(stored) == 1:
            self.write(name, encoder.read(name))
            return
        for part, spelling in zip(PARAMETRIZED, stored, strict=True):
            self._store(part, encoder.checkpoint.read(spelling))

    def write_all(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Write every tensor and finish the files."""
        with self.writer:
            for name, tensor in tensors:
                self.write(name, tensor)


def _require_fits(name: str, value: Tensor, dtype: torch.dtype) -> None:
    """InputError where `dtype` cannot hold a value, or one is NaN."""
    if not value.is_floating_point():
        return
    low, high = value.aminmax()  # one pass, without a copy; NaN comes through
    most = torch.maximum(-low, high)
    if not most <= torch.finfo(dtype).max:
        raise InputError(
            f"tensor {name} would hold {float(most):.3g}, which {str(dtype).removeprefix('torch.')} cannot: give "
            "smaller weights, or a wider dtype"
        )
