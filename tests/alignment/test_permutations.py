"""The algebra of permutations, and that permuting never changes what an encoder computes."""

import math
from functools import cache

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossfade.alignment.permutations import check, compose, identity, invert, permute, random_permutations
from crossfade.encoders.families import POINTS
from crossfade.encoders.layout import Layout, read_layout
from crossfade.encoders.model import build_model
from crossfade.errors import InputError

Drawn = dict[str, Tensor]


@cache
def layout_of(name: str) -> Layout:
    return read_layout(tiny.model(name, 0).config.to_dict(), name)


def mirrored(layout: Layout) -> Drawn:
    return {name: index.flip(0) for name, index in identity(layout).items() if not name.startswith(("conv", "ff"))}


@st.composite
def draws(draw: st.DrawFn, layout: Layout) -> Drawn:
    """A scramble of everything that some points leave free; of a gated family, perhaps mirrored."""
    points = draw(st.sets(st.sampled_from(POINTS), min_size=1))
    drawn = random_permutations(layout, points, torch.Generator().manual_seed(draw(st.integers(0, 9999))))
    if layout.family.gated_positions and draw(st.booleans()):
        return compose(drawn, mirrored(layout))
    return drawn


@st.composite
def scrambles(draw: st.DrawFn, count: int) -> tuple[Layout, list[Drawn]]:
    layout = layout_of(draw(st.sampled_from(sorted(tiny.CONFIGS))))
    return layout, [draw(draws(layout)) for _ in range(count)]


def assert_same(ours: Drawn, theirs: Drawn) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@settings(max_examples=50)
@given(scrambles(1))
def test_an_inverse_undoes(drawn: tuple[Layout, list[Drawn]]) -> None:
    layout, (scramble,) = drawn
    assert_same(compose(scramble, invert(scramble)), identity(layout))
    assert_same(compose(invert(scramble), scramble), identity(layout))
    assert_same(invert(invert(scramble)), scramble)


@settings(max_examples=50)
@given(scrambles(3))
def test_composition_is_associative_with_a_neutral_element(drawn: tuple[Layout, list[Drawn]]) -> None:
    layout, (a, b, c) = drawn
    assert_same(compose(compose(a, b), c), compose(a, compose(b, c)))
    assert_same(compose(a, identity(layout)), a)
    assert_same(compose(identity(layout), a), a)
    assert_same(invert(compose(a, b)), compose(invert(b), invert(a)))


@settings(max_examples=50)
@given(scrambles(2))
def test_the_structure_is_closed(drawn: tuple[Layout, list[Drawn]]) -> None:
    layout, (a, b) = drawn
    for permutations in (a, b, compose(a, b), invert(a)):
        check(permutations, layout, "drawn")


@settings(max_examples=30)
@given(scrambles(2))
def test_permuting_twice_is_permuting_by_the_composition(drawn: tuple[Layout, list[Drawn]]) -> None:
    layout, (a, b) = drawn
    both = compose(a, b)
    for spec in layout.tensors.values():
        tensor = torch.arange(math.prod(spec.shape)).view(spec.shape)
        once = permute(tensor, spec, a)
        assert torch.equal(permute(once, spec, b), permute(tensor, spec, both))
        assert torch.equal(permute(once, spec, invert(a)), tensor)


def test_a_missing_name_is_the_identity() -> None:
    a, b = torch.tensor([2, 0, 1]), torch.tensor([1, 0, 2])
    assert_same(compose({"x": a}, {"y": b}), {"x": a, "y": b})
    assert torch.equal(compose({"x": a}, {"x": b})["x"], torch.tensor([0, 2, 1]))


def test_index_i_names_the_channel_that_comes_to_i() -> None:
    layout = layout_of("hubert")
    turn = torch.arange(12).roll(1)
    bias = permute(
        torch.arange(12.0), layout.tensors["feature_extractor.conv_layers.0.layer_norm.bias"], {"conv.0": turn}
    )
    assert bias.tolist() == [11.0, *range(11)]


def test_columns_of_a_grouped_convolution_follow_their_own_group() -> None:
    layout = layout_of("hubert")
    spec = layout.tensors["encoder.pos_conv_embed.conv.weight"]
    index = torch.arange(48)
    index[:16] = index[:16].flip(0)
    weight = torch.arange(48 * 16 * 8).view(48, 16, 8)
    moved = permute(weight, spec, {"residual": index})
    assert torch.equal(moved[:16], weight[:16].flip(0, 1))
    assert torch.equal(moved[16:], weight[16:])


@pytest.mark.parametrize("points", [*((point,) for point in POINTS), POINTS[:3], POINTS], ids="+".join)
@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_a_scramble_computes_the_same(name: str, points: tuple[str, ...], encoders) -> None:
    encoder = encoders(name, 1)
    scramble = random_permutations(encoder.layout, points, torch.Generator().manual_seed(3))
    assert any(not torch.equal(index, index.sort().values) for index in scramble.values())
    assert_computes_the_same(encoder, scramble)


@pytest.mark.parametrize("name", [name for name in tiny.CONFIGS if name.startswith("wavlm")])
def test_a_mirrored_stream_computes_the_same(name: str, encoders) -> None:
    assert_computes_the_same(encoders(name, 1), mirrored(encoders(name, 1).layout))


def outputs(encoder, permutations: Drawn) -> Tensor:
    tensors = {n: permute(encoder.read(n), spec, permutations) for n, spec in encoder.layout.tensors.items()}
    return build_model(encoder, tensors)(tiny.waveform()).last_hidden_state


def assert_computes_the_same(encoder, permutations: Drawn) -> None:
    original = outputs(encoder, {})[..., permutations["residual"]]
    assert float((outputs(encoder, permutations) - original).abs().max()) <= 1e-5


def swapped(size: int, i: int, j: int) -> Tensor:
    index = torch.arange(size)
    index[[i, j]] = index[[j, i]]
    return index


SWAPPED_HEADS = torch.arange(48).view(4, 12)[[1, 0, 2, 3]].flatten()
EXCHANGED = torch.arange(48).roll(24)
BREAKING = {
    "a channel leaves its group": ("hubert", {"residual": swapped(48, 0, 20)}),
    "a channel leaves its head": ("hubert", {"qk.0": swapped(48, 0, 20), "vo.0": swapped(48, 0, 20)}),
    "q and k move their heads alone": ("hubert", {"qk.1": SWAPPED_HEADS}),
    "a stack's channel leaves its group": ("data2vec-audio", {"pos.0": swapped(48, 0, 20)}),
    "a stack's groups move alone": ("data2vec-audio", {"pos.0": torch.arange(48).roll(16)}),
    "heads move without the stream": ("wavlm-groups-in-heads", {"qk.0": EXCHANGED, "vo.0": EXCHANGED}),
    "channels of one head move alone": ("wavlm", {"residual": swapped(96, 0, 1)}),
}


@pytest.mark.parametrize(("name", "permutations"), BREAKING.values(), ids=BREAKING)
def test_what_breaks_the_function_is_refused(name: str, permutations: Drawn, encoders) -> None:
    encoder = encoders(name, 1)
    whole = identity(encoder.layout) | permutations
    original = outputs(encoder, {})[..., whole["residual"]]
    assert float((outputs(encoder, whole) - original).abs().max()) > 1e-3
    with pytest.raises(InputError, match=r"^here: permutations .* do not keep their groups or heads together"):
        check(permutations, encoder.layout, "here")


@pytest.mark.parametrize(
    ("permutations", "message"),
    [
        ({"ff.7": torch.arange(40)}, "permutation 'ff.7' is not one of this architecture"),
        ({"ff.0": torch.arange(39)}, "'ff.0' is no rearrangement of 40 channels (received 39 entries)"),
        ({"ff.0": torch.zeros(40, dtype=torch.int64)}, "'ff.0' is no rearrangement of 40 channels"),
        ({"ff.0": torch.arange(1, 41)}, "'ff.0' is no rearrangement of 40 channels"),
    ],
)
def test_what_is_no_permutation_is_refused(permutations: Drawn, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check(permutations, layout_of("hubert"), "file")
    assert str(caught.value).startswith("file: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("name", tiny.CONFIGS)
@pytest.mark.parametrize("point", POINTS)
def test_a_point_moves_only_what_is_its_own(point: str, name: str) -> None:
    layout = layout_of(name)
    scramble = random_permutations(layout, (point,), torch.Generator().manual_seed(1))
    for name_, index in scramble.items():
        permutation = layout.permutations[name_]
        if point not in (permutation.point, permutation.order.point):
            assert torch.equal(index, torch.arange(permutation.size))
