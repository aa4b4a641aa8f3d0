"""Translators: their shapes, what they read, and the names under which a training is resumed."""

from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from crossfade.distillation.recipe import Teacher, Translator
from crossfade.distillation.translators import TRANSLATORS, SplitLinear, Translators, build_translators
from crossfade.errors import InputError

KINDS = get_args(Translator)


def sound(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def teacher(model: str = "hubert", layers: tuple[int, ...] = (4, 8, 12), **settings: Any) -> Teacher:
    return Teacher(model=model, layers=layers, **settings)


def build(teachers: list[Teacher], widths: list[int], width: int = 8) -> Translators:
    torch.manual_seed(0)
    return build_translators(teachers, widths, width)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_every_translator_of_a_recipe_is_there() -> None:
    assert set(TRANSLATORS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [(), (3,), (4, 8, 12)])
def test_a_student_is_led_to_every_layer_of_a_teacher(kind: Translator, layers: tuple[int, ...]) -> None:
    translators = build([teacher(layers=layers, translator=kind)], [5])
    hidden = sound(2, 7, 8)
    translated = translators(0, hidden)
    assert translated.shape == (2, max(1, len(layers)), 7, 5)
    torch.testing.assert_close(translators(0, hidden[1:]), translated[1:], atol=1e-6, rtol=1e-5)
    translated.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in translators.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_comes_out_of_autocast(kind: Translator) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        translated = build([teacher(translator=kind)], [5])(0, sound(2, 7, 8))
    assert translated.dtype == torch.bfloat16
    torch.testing.assert_close(
        translated.float(), build([teacher(translator=kind)], [5])(0, sound(2, 7, 8)), atol=0.1, rtol=0.1
    )


def test_translators_have_the_published_sizes() -> None:
    # DistilHuBERT has 27.03 M parameters with its three heads, 23.49 M without.
    assert count(build([teacher()], [768], 768)) == 3_543_552
    # Linear 768 -> 1152, LayerNorm, three taps of 1152 x 1152, Linear 1152 -> 2304, LayerNorm, three of 768 x 768.
    expected = 768 * 1152 + 1152 + 2 * 1152 + 3 * 1152**2 + 1152 + 1152 * 2304 + 2304 + 2 * 2304 + 3 * (768**2 + 768)
    assert count(build([teacher(translator="conv")], [768], 768)) == expected
    assert count(build([teacher(translator="layerwise")], [768], 768)) == 3 * (768**2 + 768)


def test_split_linear_is_a_linear_for_every_part() -> None:
    torch.manual_seed(0)
    split, parts = SplitLinear(3, 8, 5), [nn.Linear(8, 5) for _ in range(3)]
    with torch.no_grad():
        for part, weight, bias in zip(parts, split.weight, split.bias, strict=True):
            part.weight.copy_(weight.T)
            part.bias.copy_(bias[0])
    hidden = sound(2, 7, 24)
    expected = torch.stack([part(piece) for part, piece in zip(parts, hidden.split(8, dim=-1), strict=True)], dim=1)
    torch.testing.assert_close(split(hidden), expected, atol=1e-6, rtol=1e-5)
    assert split.weight.abs().max() <= 8**-0.5
    assert split.weight.std().item() == pytest.approx((8 * 3) ** -0.5, rel=0.1)


def test_linear_is_distilhubert_s_head() -> None:
    translators, hidden = build([teacher()], [5]), sound(2, 7, 8)
    first, _, split = translators.heads["0-hubert"]
    wide = gelu(hidden @ first.weight.T + first.bias)
    for layer in range(3):
        expected = wide[..., 8 * layer : 8 * (layer + 1)] @ split.weight[layer] + split.bias[layer]
        torch.testing.assert_close(translators(0, hidden)[:, layer], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("kind", "reach"), [("linear", 0), ("layerwise", 0), ("conv", 1)])
def test_convolutions_alone_see_neighbours(kind: Translator, reach: int) -> None:
    hidden = sound(1, 9, 8).requires_grad_()
    build([teacher(translator=kind)], [5])(0, hidden)[0, :, 4].sum().backward()
    heard = hidden.grad[0].abs().sum(-1) > 0
    assert heard.nonzero().flatten().tolist() == list(range(4 - reach, 5 + reach))


def test_a_slice_is_all_that_is_read() -> None:
    translators = build([teacher(slice=(0, 0.5)), teacher("mert", slice=(0.5, 1))], [5, 6])
    for number, channels in enumerate(([0, 1, 2, 3], [4, 5, 6, 7])):
        hidden = sound(1, 2, 8).requires_grad_()
        translators(number, hidden).sum().backward()
        assert hidden.grad.abs().sum((0, 1)).nonzero().flatten().tolist() == channels


def test_teachers_of_one_name_share_a_translator() -> None:
    translators = build(
        [teacher("a", shared="one"), teacher("b"), teacher("c", (1, 2, 3), shared="one"), teacher("d", shared="two")],
        [5, 5, 5, 5],
    )
    assert list(translators.heads) == ["0-one", "1-b", "3-two"]
    hidden = sound(2, 7, 8)
    assert torch.equal(translators(0, hidden), translators(2, hidden))
    assert not torch.equal(translators(0, hidden), translators(3, hidden))
    assert count(translators) == 3 * count(build([teacher()], [5]))


@pytest.mark.parametrize(
    ("other", "width", "told"),
    [
        ({"layers": (1,)}, 5, "linear from channels 0 to 8 to 1 layers of width 5"),
        ({}, 6, "linear from channels 0 to 8 to 3 layers of width 6"),
        ({"slice": (0.5, 1)}, 5, "linear from channels 4 to 8 to 3 layers of width 5"),
        ({"translator": "conv"}, 5, "conv from channels 0 to 8 to 3 layers of width 5"),
    ],
)
def test_teachers_share_what_both_need(other: dict[str, Any], width: int, told: str) -> None:
    with pytest.raises(InputError, match=rf"^teachers\[1\]\.shared 'one': needs {told}, but teachers\[0\] of the same"):
        build([teacher(shared="one"), teacher(shared="one", **other)], [5, width])


def test_an_empty_slice_is_refused() -> None:
    with pytest.raises(InputError, match=r"^teachers\[1\]\.slice \[.*\]: holds none of the student's 8 channels"):
        build([teacher(), teacher(slice=(0.5, 0.51))], [5, 5])


def test_a_state_dict_resumes_by_the_recipe_s_names() -> None:
    teachers = [teacher("org/whisper.base@main"), teacher("/models/mert-v0/"), teacher("cqt", (), shared="a.b")]
    translators = build(teachers, [5, 6, 7])
    assert list(translators.heads) == ["0-whisper_base_main", "1-mert-v0", "2-a_b"]
    torch.manual_seed(1)
    again = build_translators(teachers, [5, 6, 7], 8)
    hidden = sound(2, 7, 8)
    assert not torch.equal(again(1, hidden), translators(1, hidden))
    again.load_state_dict(translators.state_dict())
    for number in range(3):
        assert torch.equal(again(number, hidden), translators(number, hidden))


def test_weights_follow_torch_s_seed() -> None:
    states = [build([teacher(translator=kind) for kind in KINDS], [5, 5, 5]).state_dict() for _ in range(2)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
