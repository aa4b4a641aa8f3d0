"""The layout against real models: every tensor, every shape, and the variants that are refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from transformers import AutoConfig, AutoModel

from crossfade.encoders.encoder import open_encoder
from crossfade.encoders.families import FAMILIES, POINTS, POSITIONAL_WEIGHT
from crossfade.encoders.layout import Axis, Layout, read_layout
from crossfade.errors import InputError

ORIGINAL = "encoder.pos_conv_embed.conv.parametrizations.weight.original"
VARIANTS = {name: (name, {}) for name in tiny.CONFIGS} | {
    "hubert, one convolution": ("hubert", {"conv_dim": [16], "conv_kernel": [10], "conv_stride": [5]}),
    "wav2vec2, nothing masked": ("wav2vec2", {"mask_time_prob": 0.0}),
    "wav2vec2, features masked": ("wav2vec2", {"mask_time_prob": 0.0, "mask_feature_prob": 0.1}),
    "wavlm, few buckets": ("wavlm", {"num_buckets": 32, "max_bucket_distance": 80}),
    "wavlm, bias in the CNN": ("wavlm", {"conv_bias": True}),
    "hubert, layer norm in the CNN": ("hubert", {"feat_extract_norm": "layer"}),
    "data2vec-audio, two convolutions": ("data2vec-audio", {"num_conv_pos_embeddings": 2}),
}


def shapes_of(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's tensors, the positional convolution's two taken as the one they stand for."""
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if f"{ORIGINAL}0" in shapes:
        del shapes[f"{ORIGINAL}0"]
        shapes[POSITIONAL_WEIGHT] = shapes.pop(f"{ORIGINAL}1")
    return shapes


@pytest.mark.parametrize(("name", "changes"), VARIANTS.values(), ids=VARIANTS)
def test_the_layout_is_the_model_s(name: str, changes: dict[str, Any]) -> None:
    model = tiny.model(name, 1, **changes)
    layout = read_layout(model.config.to_dict(), name)
    assert {key: spec.shape for key, spec in layout.tensors.items()} == shapes_of(model)
    assert all(len(spec.axes) == len(spec.shape) for spec in layout.tensors.values())


@pytest.mark.parametrize("model_type", [name for name in FAMILIES if name != "mert_model"])
def test_a_silent_config_means_the_base_model(model_type: str) -> None:
    config = AutoConfig.for_model(model_type)
    with torch.device("meta"):
        expected = shapes_of(AutoModel.from_config(config))
    layout = read_layout({"model_type": model_type}, "base")
    assert {key: spec.shape for key, spec in layout.tensors.items()} == expected
    assert layout.tensors == read_layout(config.to_dict(), "base").tensors


@pytest.mark.parametrize(
    ("model_type", "parameters"), [("hubert", 94_371_712), ("wav2vec2", 94_371_712), ("wavlm", 94_381_936)]
)
def test_parameters_of_the_published_base_models(model_type: str, parameters: int) -> None:
    layout = read_layout({"model_type": model_type}, "base")
    assert layout.parameters == parameters - 128  # the magnitudes of the positional convolution
    assert layout.stride == 320
    assert layout.receptive_field == 400


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_parameters_and_frames_are_counted(name: str) -> None:
    model = tiny.model(name, 1)
    layout = read_layout(model.config.to_dict(), name)
    assert layout.parameters == sum(torch.Size(shape).numel() for shape in shapes_of(model).values())
    assert layout.stride == 40
    for samples in (layout.receptive_field, layout.receptive_field + 39, layout.receptive_field + 40):
        frames = (samples - layout.receptive_field) // 40 + 1
        assert model(torch.randn(1, samples)).last_hidden_state.shape[1] == frames


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_axes_are_as_long_as_what_they_carry(name: str) -> None:
    layout = read_layout(tiny.model(name, 1).config.to_dict(), name)
    carried = set()
    for spec in layout.tensors.values():
        for size, axis in zip(spec.shape, spec.axes, strict=True):
            if axis:
                carried.add(axis.permutation)
                whole = layout.permutations[axis.permutation].size
                assert size == {"channels": whole, "heads": whole // max(axis.unit, 1)}.get(axis.view, axis.unit)
    assert carried == layout.permutations.keys()
    assert {permutation.point for permutation in layout.permutations.values()} == set(POINTS)
    for permutation in layout.permutations.values():
        assert permutation.size % permutation.order.blocks == 0
        assert permutation.block % permutation.cell == 0


def layout_of(name: str) -> Layout:
    return read_layout(tiny.model(name, 1).config.to_dict(), name)


def test_what_the_axes_of_a_hubert_carry() -> None:
    tensors = layout_of("hubert").tensors
    axes = {
        "feature_extractor.conv_layers.1.conv.weight": ("conv.1", "conv.0", None),
        "feature_projection.projection.weight": ("residual", "conv.2"),
        "encoder.layers.2.attention.q_proj.weight": ("qk.2", "residual"),
        "encoder.layers.2.attention.out_proj.weight": ("residual", "vo.2"),
        "encoder.layers.0.feed_forward.output_dense.weight": ("residual", "ff.0"),
        "masked_spec_embed": ("residual",),
    }
    for name, permutations in axes.items():
        assert tuple(axis and axis.permutation for axis in tensors[name].axes) == permutations
    assert tensors[POSITIONAL_WEIGHT].axes == (Axis("residual"), Axis("residual", "groups", 16), None)


def test_heads_of_a_wavlm_are_tied_to_the_stream() -> None:
    layout = layout_of("wavlm")  # heads of 12 channels, groups of 16: only runs of 48 can change places
    residual, heads = layout.permutations["residual"], layout.permutations["qk.2"]
    assert (residual.order.blocks, residual.block, residual.cell, residual.tied) == (2, 48, 4, 12)
    assert heads.order == residual.order == layout.permutations["vo.0"].order
    assert (heads.cell, heads.tied) == (12, None)
    base = read_layout({"model_type": "wavlm"}, "base").permutations["residual"]  # heads of 64, groups of 48
    assert (base.order.blocks, base.block, base.cell, base.tied) == (4, 192, 16, 64)


MERT = {
    "model_type": "mert_model",
    "architectures": ["MERTModel"],
    "auto_map": {"AutoConfig": "configuration_MERT.MERTConfig", "AutoModel": "modeling_MERT.MERTModel"},
    "attention_relax": -1.0,
    "deepnorm": False,
    "feature_extractor_cqt": False,
    "feature_extractor_cqt_bins": 336,
    "mask_replace": 0.1,
    "sample_rate": 16000,
}
"""What MERT v0's config.json says beyond HuBERT's."""


@pytest.fixture
def mert(folders, tmp_path: Path) -> Path:
    """A HuBERT dressed as a MERT."""
    folder = tmp_path / "mert"
    folder.mkdir()
    for file in folders("hubert").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tiny.edit_config(folder, **MERT)
    (folder / "modeling_MERT.py").write_text("raise SystemExit('remote code ran')\n")
    return folder


def test_mert_is_a_hubert(mert: Path, folders) -> None:
    encoder = open_encoder(mert)
    assert encoder.family.name == "hubert"
    assert encoder.layout == open_encoder(folders("hubert")).layout


@pytest.mark.parametrize("left_out", ["feature_extractor_cqt", "deepnorm", "attention_relax"])
def test_a_mert_may_leave_its_switches_unsaid(left_out: str) -> None:
    config = {key: value for key, value in MERT.items() if key != left_out}
    assert read_layout(config, "mert") == read_layout({"model_type": "hubert"}, "mert")


@pytest.mark.parametrize(
    ("model_type", "changes", "reason"),
    [
        ("mert_model", {"feature_extractor_cqt": True}, "feature_extractor_cqt = True: it has a CQT branch"),
        ("mert_model", {"deepnorm": True}, "deepnorm = True: it scales its residuals"),
        ("mert_model", {"attention_relax": 32.0}, "attention_relax = 32.0: it relaxes its attention scores"),
        ("wav2vec2", {"add_adapter": True}, "add_adapter = True: it ends in a convolutional adapter"),
        ("hubert", {"adapter_attn_dim": 16}, "adapter_attn_dim = 16: it has adapters in its attention layers"),
        ("huber", {}, "model_type 'huber', which is no family of ours; did you mean 'hubert'?"),
        ("wav2vec", {}, "did you mean 'wav2vec2'?"),
        ("whisper", {}, "known: data2vec-audio, hubert, mert_model, wav2vec2, wavlm"),
        (None, {}, "model_type None, which is no family of ours"),
        ("hubert", {"num_attention_heads": 5}, "num_attention_heads = 5, expected a divisor of hidden_size = 768"),
        ("hubert", {"num_conv_pos_embedding_groups": 0}, "groups = 0, expected a whole number above 0"),
        ("hubert", {"num_conv_pos_embedding_groups": 7}, "groups = 7, expected a divisor of hidden_size = 768"),
        ("hubert", {"conv_dim": [512] * 6}, "CNNs of different depth: {'conv_dim': 6, 'conv_kernel': 7"),
        ("hubert", {"feat_extract_norm": "batch"}, "feat_extract_norm = 'batch', expected 'group' or 'layer'"),
    ],
)
def test_what_is_refused_and_why(model_type: str, changes: dict[str, Any], reason: str) -> None:
    config = (MERT if model_type == "mert_model" else {}) | {"model_type": model_type} | changes
    with pytest.raises(InputError, match=re.escape(reason)) as caught:
        read_layout(config, "model")
    assert str(caught.value).startswith("model: config.json ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": "wide"},
        {"hidden_size": 0},
        {"num_hidden_layers": 2.5},
        {"intermediate_size": -1},
        {"conv_dim": 512},
        {"conv_kernel": [10, 3, 3, 3, 3, 2, "2"]},
        {"num_attention_heads": True},
        {"mask_time_prob": "often"},
    ],
    ids=json.dumps,
)
def test_values_of_the_wrong_kind_are_one_line(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(changes))) as caught:
        read_layout({"model_type": "hubert"} | changes, "model")
    assert "\n" not in str(caught.value)
