"""Architecture families as data: one table of tensors, permutations and taps for each.

A `Row` names a tensor and labels its axes. A label is the name of a permutation (its size is known from the config),
a permutation seen through a view (`residual/groups`: see `View`), or a literal size (`#8`, or `#kernel.{i}` looked up
in the config). Placeholders: `{i}` convolution, `{before}` what that convolution reads, `{l}` transformer layer,
`{p}` positional convolution of a stack, `{under}` what that one reads and `{over}` what it writes.
"""

from dataclasses import dataclass
from typing import Any

POINTS = ("conv", "feed_forward", "attention", "residual")
"""The points a user can choose: which permutations are free to move."""

WITHOUT_RESIDUAL = tuple(point for point in POINTS if point != "residual")

POSITIONAL_WEIGHT = "encoder.pos_conv_embed.conv.weight"
"""The effective weight of the weight-normed positional convolution, (width, width / groups, kernel)."""


@dataclass(frozen=True)
class Row:
    """A tensor of the architecture, present when the config has every trait named in `when`."""

    tensor: str
    axes: str
    when: str = ""


@dataclass(frozen=True)
class Tap:
    """Where a permutation's channels can be read: the `side` ("input" or "output") of a module."""

    permutation: str
    module: str
    side: str = "output"
    channels_last: bool = True


@dataclass(frozen=True)
class Family:
    """Everything Crossfade knows of an architecture.

    `model` and `config` are class names in transformers, `prefix` is what task models put before the encoder's tensors,
    `settings` are values the config leaves unsaid, `refused` lists (config key, supported value, what others mean).
    """

    name: str
    model: str
    config: str
    prefix: str
    rows: tuple[Row, ...]
    taps: tuple[Tap, ...]
    settings: tuple[tuple[str, Any], ...] = ()
    gated_positions: bool = False
    refused: tuple[tuple[str, Any, str], ...] = ()


def linear(tensor: str, out: str, into: str, when: str = "") -> tuple[Row, Row]:
    """Weight and bias of a linear layer."""
    return Row(f"{tensor}.weight", f"{out} {into}", when), Row(f"{tensor}.bias", out, when)


def norm(tensor: str, axis: str, when: str = "") -> tuple[Row, Row]:
    """Weight and bias of a normalisation."""
    return Row(f"{tensor}.weight", axis, when), Row(f"{tensor}.bias", axis, when)


CONV = "feature_extractor.conv_layers.{i}"
LAYER = "encoder.layers.{l}"
POSITION = "encoder.pos_conv_embed"
GATE = f"{LAYER}.attention.gru_rel_pos"

COMMON = (
    Row("masked_spec_embed", "residual", "masking"),
    Row(f"{CONV}.conv.weight", "conv.{i} {before} #kernel.{i}"),
    Row(f"{CONV}.conv.bias", "conv.{i}", "conv_bias"),
    *norm(f"{CONV}.layer_norm", "conv.{i}", "group_norm first_conv"),
    *norm(f"{CONV}.layer_norm", "conv.{i}", "layer_norm"),
    *norm("feature_projection.layer_norm", "conv.last", "projection_norm"),
    *linear("feature_projection.projection", "residual", "conv.last"),
    *norm("encoder.layer_norm", "residual"),
    *linear(f"{LAYER}.attention.q_proj", "qk.{l}", "residual"),
    *linear(f"{LAYER}.attention.k_proj", "qk.{l}", "residual"),
    *linear(f"{LAYER}.attention.v_proj", "vo.{l}", "residual"),
    *linear(f"{LAYER}.attention.out_proj", "residual", "vo.{l}"),
    *norm(f"{LAYER}.layer_norm", "residual"),
    *linear(f"{LAYER}.feed_forward.intermediate_dense", "ff.{l}", "residual"),
    *linear(f"{LAYER}.feed_forward.output_dense", "residual", "ff.{l}"),
    *norm(f"{LAYER}.final_layer_norm", "residual"),
)
ONE_POSITIONAL_CONVOLUTION = (
    Row(POSITIONAL_WEIGHT, "residual residual/groups #positions"),
    Row(f"{POSITION}.conv.bias", "residual"),
)
BATCH_NORMED_POSITION = (
    *norm(f"{POSITION}.batch_norm", "residual", "position_batch_norm"),
    Row(f"{POSITION}.batch_norm.running_mean", "residual", "position_batch_norm"),
    Row(f"{POSITION}.batch_norm.running_var", "residual", "position_batch_norm"),
    Row(f"{POSITION}.batch_norm.num_batches_tracked", "", "position_batch_norm"),
)
STACKED_POSITIONAL_CONVOLUTIONS = (
    Row(f"{POSITION}.layers.{{p}}.conv.weight", "{over} {under}/groups #positions"),
    Row(f"{POSITION}.layers.{{p}}.conv.bias", "{over}"),
)
# Layer 0's table of position biases serves every layer, and each head's gate reads its own head-sized block of the
# residual stream through weights that all heads share.
GATED_RELATIVE_POSITIONS = (
    Row(f"{GATE}_const", "#1 residual/heads #1 #1"),
    Row(f"{GATE}_linear.weight", "#8 residual/head_channels"),
    Row(f"{GATE}_linear.bias", "#8"),
    Row(f"{LAYER}.attention.rel_attn_embed.weight", "#buckets residual/heads", "first_layer"),
)
TAPS = (
    Tap("conv.{i}", CONV, channels_last=False),
    Tap("qk.{l}", f"{LAYER}.attention.q_proj"),
    Tap("qk.{l}", f"{LAYER}.attention.k_proj"),
    Tap("vo.{l}", f"{LAYER}.attention.out_proj", side="input"),
    Tap("ff.{l}", f"{LAYER}.feed_forward.output_dense", side="input"),
    Tap("residual", LAYER),
)
MERT_REFUSED = (
    ("feature_extractor_cqt", False, "it has a CQT branch beside the CNN"),
    ("deepnorm", False, "it scales its residuals (deepnorm)"),
    ("attention_relax", -1.0, "it relaxes its attention scores"),
)
ADAPTERS_REFUSED = (
    ("add_adapter", False, "it ends in a convolutional adapter"),
    ("adapter_attn_dim", None, "it has adapters in its attention layers"),
)

HUBERT = Family(
    name="hubert",
    model="HubertModel",
    config="HubertConfig",
    prefix="hubert.",
    rows=COMMON + ONE_POSITIONAL_CONVOLUTION + BATCH_NORMED_POSITION,
    taps=TAPS,
    refused=MERT_REFUSED + ADAPTERS_REFUSED,
)
WAV2VEC2 = Family(
    name="wav2vec2",
    model="Wav2Vec2Model",
    config="Wav2Vec2Config",
    prefix="wav2vec2.",
    rows=COMMON + ONE_POSITIONAL_CONVOLUTION,
    taps=TAPS,
    refused=ADAPTERS_REFUSED,
)
WAVLM = Family(
    name="wavlm",
    model="WavLMModel",
    config="WavLMConfig",
    prefix="wavlm.",
    rows=COMMON + ONE_POSITIONAL_CONVOLUTION + GATED_RELATIVE_POSITIONS,
    taps=TAPS,
    gated_positions=True,
    refused=ADAPTERS_REFUSED,
)
DATA2VEC = Family(
    name="data2vec-audio",
    model="Data2VecAudioModel",
    config="Data2VecAudioConfig",
    prefix="data2vec_audio.",
    rows=COMMON + STACKED_POSITIONAL_CONVOLUTIONS,
    taps=(*TAPS, Tap("pos.{p}", f"{POSITION}.layers.{{p}}", channels_last=False)),
    settings=(("feat_extract_norm", "layer"), ("conv_pos_kernel_size", 19), ("num_conv_pos_embeddings", 5)),
    refused=ADAPTERS_REFUSED,
)

FAMILIES = {
    "hubert": HUBERT,
    "mert_model": HUBERT,
    "wav2vec2": WAV2VEC2,
    "wavlm": WAVLM,
    "data2vec-audio": DATA2VEC,
}
"""`model_type` in config.json -> family. MERT without CQT, deepnorm and attention_relax is a HuBERT."""

HEADS = (
    "lm_head.",
    "classifier.",
    "projector.",
    "quantizer.",
    "project_q.",
    "project_hid.",
    "layer_weights",
    "tdnn.",
    "objective.",
    "feature_extractor.weight",  # of the x-vector head; the CNN's are feature_extractor.conv_layers
    "feature_extractor.bias",
    "final_proj.",
    "label_embs_concat",
    "dropout_features.",
)
"""Tensors of pre-training and fine-tuning heads: they are not part of the encoder and are left out, with a note."""
