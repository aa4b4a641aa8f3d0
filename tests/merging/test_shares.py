"""REFERENCE's share of a tensor, by part and by layer."""

import math
import re
from typing import Any

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from crossfade.encoders.layout import read_layout
from crossfade.errors import InputError
from crossfade.merging.shares import LAYER, PARTS, read_shares

TENSORS = {
    "conv": "feature_extractor.conv_layers.2.conv.weight",
    "projection": "feature_projection.layer_norm.bias",
    "positions": "encoder.pos_conv_embed.conv.weight",
    "attention": "encoder.layers.1.attention.q_proj.weight",
    "feed_forward": "encoder.layers.1.feed_forward.output_dense.bias",
    "norm": "encoder.layers.1.final_layer_norm.weight",
}
parts = st.dictionaries(st.sampled_from(list(PARTS)), st.floats(0, 1))


@given(st.floats(0, 1))
def test_one_number_is_for_all(weight: float) -> None:
    shares = read_shares(weight, 3)
    assert {shares.of(name) for name in [*TENSORS.values(), "masked_spec_embed"]} == {weight}


@given(st.floats(0, 1), parts, st.dictionaries(st.sampled_from([0, 1, 2]), st.floats(0, 1) | parts))
def test_the_closest_word_counts(default: float, by_part: dict[str, float], by_layer: dict[int, Any]) -> None:
    shares = read_shares({"default": default, **by_part, "layers": by_layer}, 3)
    for part, name in TENSORS.items():
        here = by_layer.get(1) if ".layers.1." in name else None
        inside = here.get(part) if isinstance(here, dict) else here
        expected = inside if inside is not None else by_part.get(part, default)
        assert shares.of(name) == expected


def test_spans_of_layers() -> None:
    shares = read_shares({"default": 0.5, "layers": {"0-1": 0.1, 3: {"attention": 0.2}, "4-5": {"norm": 0.3}}}, 6)
    attention = [shares.of(f"encoder.layers.{layer}.attention.k_proj.bias") for layer in range(6)]
    norm = [shares.of(f"encoder.layers.{layer}.layer_norm.bias") for layer in range(6)]
    assert attention == [0.1, 0.1, 0.5, 0.2, 0.5, 0.5]
    assert norm == [0.1, 0.1, 0.5, 0.5, 0.3, 0.3]
    assert shares.of("encoder.layers.10.attention.k_proj.bias") == 0.5


def test_the_norm_above_the_positions_is_no_layer() -> None:
    shares = read_shares({"norm": 0.2, "layers": {"0-2": 0.7}}, 3)
    assert shares.of("encoder.layer_norm.weight") == 0.2
    assert shares.of("encoder.layers.0.layer_norm.weight") == 0.7
    assert shares.of("masked_spec_embed") == 0.9


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_every_tensor_but_the_mask_is_of_exactly_one_part(name: str) -> None:
    layout = read_layout(tiny.CNN | tiny.TRANSFORMER | tiny.CONFIGS[name], name)
    homes = {tensor: [part for part, pattern in PARTS.items() if pattern.match(tensor)] for tensor in layout.tensors}
    assert {tensor for tensor, home in homes.items() if len(home) != 1} == {"masked_spec_embed"}
    assert {home[0] for home in homes.values() if home} == set(PARTS)
    layers = {int(found[1]) for tensor in layout.tensors if (found := LAYER.match(tensor))}
    assert layers == set(range(layout.settings["num_hidden_layers"]))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (1.5, "weight = 1.5, expected a number from 0 (all OTHER) to 1 (all REFERENCE)"),
        (-0.1, "weight = -0.1, expected a number from 0"),
        (math.nan, "weight = nan, expected a number from 0"),
        (True, "weight = True, expected a number"),
        ("0.5", "weight = '0.5', expected a number"),
        (None, "weight = None, expected a number"),
        ({"default": 2}, "weight: default = 2, expected a number"),
        ({"attention": 1.1}, "weight: attention = 1.1, expected a number"),
        ({"atention": 1}, "weight: 'atention' is no part of an encoder; did you mean 'attention'?"),
        ({"layers": {0: 7}}, "weight: layers: 0 = 7, expected a number"),
        ({"layers": {0: {"norms": 1}}}, "weight: layers: 'norms' is no part of an encoder; did you mean 'norm'?"),
        ({"layers": {0: {"norm": -1}}}, "weight: layers: 0: norm = -1, expected a number"),
        ({"layers": {3: 0.5}}, "weight: layers: 3, expected a layer or a span of layers from 0 to 2"),
        ({"layers": {"2-1": 0.5}}, "weight: layers: '2-1', expected a layer or a span"),
        ({"layers": {"first": 0.5}}, "weight: layers: 'first', expected a layer or a span"),
        ({"layers": [0.5]}, "weight: layers = [0.5], expected a mapping such as {0-3: 0.9}"),
    ],
)
def test_wrong_shares_are_named(weight: Any, message: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(message)):
        read_shares(weight, 3)
