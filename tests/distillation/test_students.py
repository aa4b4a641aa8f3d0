"""Students as they start: sizes, sources, filters."""

import math
from pathlib import Path

import pytest
import torch

from crossfade.distillation.recipe import Shape, Student
from crossfade.distillation.students import gabor_filters, make_student
from crossfade.encoders.encoder import open_encoder
from crossfade.errors import InputError
from tests.tiny import folder

SMALL = Shape(
    width=32,
    layers=2,
    heads=4,
    feed_forward=48,
    conv_channels=(8, 12),
    conv_kernels=(80, 3),
    conv_strides=(40, 8),
    conv_norm="layer",
    position_kernel=8,
    position_groups=4,
)


def weights(student: Student) -> dict[str, torch.Tensor]:
    return dict(make_student(student)[0].state_dict())


def test_a_random_student_is_its_seed_alone() -> None:
    torch.manual_seed(1)
    first = weights(Student(shape=SMALL, seed=3))
    expected = torch.rand(1)
    torch.manual_seed(1)
    again = weights(Student(shape=SMALL, seed=3))
    assert torch.rand(1) == expected, "the caller's random numbers must go on as they were"
    other = weights(Student(shape=SMALL, seed=4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    name = "encoder.layers.1.feed_forward.output_dense.weight"
    assert not torch.allclose(first[name], other[name])


def test_sizes_are_those_of_the_recipe() -> None:
    model, heard, facts = make_student(Student(shape=SMALL))
    assert facts["start"] == "random"
    assert heard.return_attention_mask
    found = model(torch.zeros(1, 3200 + 80 + 2 * 40)).last_hidden_state
    assert found.shape == (1, 11, 32)
    assert model.get_parameter("feature_extractor.conv_layers.0.conv.weight").shape == (8, 1, 80)


def test_the_defaults_are_distilhuberts_sizes() -> None:
    with torch.device("meta"):
        model, _, _ = make_student(Student())
    assert sum(parameter.numel() for parameter in model.parameters()) == 23_492_992


def test_gabor_filters_are_unlike_and_of_norm_one() -> None:
    filters = gabor_filters(64, 400, seed=0)
    torch.testing.assert_close(filters.norm(dim=1), torch.ones(64))
    loudest = torch.fft.rfft(filters, 16000).abs().argmax(1)
    assert 30 < loudest.min() < 200
    assert 5000 < loudest.max() < 7100
    assert not torch.equal(filters, gabor_filters(64, 400, seed=1))


def test_a_gabor_filter_hears_its_pitch_and_no_other() -> None:
    filters = gabor_filters(64, 400, seed=0)
    pitch = float(torch.fft.rfft(filters[5], 16000).abs().argmax())
    time = torch.arange(8000) / 16000

    def power(hertz: float) -> float:
        tone = torch.sin(2 * math.pi * hertz * time)
        return float(torch.conv1d(tone[None, None], filters[5:6, None]).square().mean())

    assert power(pitch) > 50 * power(pitch * 2)
    assert power(pitch) > 50 * power(pitch / 2)


def test_layers_are_taken_from_a_teacher(tmp_path: Path) -> None:
    source = open_encoder(str(folder(tmp_path / "teacher", "hubert", 0)))
    model, heard, facts = make_student(Student(start="layers", source=(source.name,), shape=Shape(layers=1)))
    state = model.state_dict()
    assert heard == source.preprocessing
    assert facts["sources"] == [{"name": source.name, "sha256": source.sha256}]
    assert not any(name.startswith("encoder.layers.1.") for name in state)
    for name in ("encoder.layers.0.attention.q_proj.weight", "feature_extractor.conv_layers.0.conv.weight"):
        torch.testing.assert_close(state[name], source.read(name))


def test_the_average_lies_between_two_teachers(tmp_path: Path) -> None:
    sources = [open_encoder(str(folder(tmp_path / name, "hubert", seed))) for seed, name in enumerate("ab")]
    model, _, _ = make_student(
        Student(start="average", source=tuple(one.name for one in sources), shape=Shape(layers=1))
    )
    name = "encoder.layers.0.attention.q_proj.weight"
    torch.testing.assert_close(model.state_dict()[name], (sources[0].read(name) + sources[1].read(name)) / 2)


def test_svd_keeps_each_teachers_strongest_directions(tmp_path: Path) -> None:
    sources = [open_encoder(str(folder(tmp_path / name, "hubert", seed))) for seed, name in enumerate("ab")]
    model, _, _ = make_student(Student(start="svd", source=tuple(one.name for one in sources), shape=Shape(layers=1)))
    name = "feature_projection.projection.weight"
    found, half = model.state_dict()[name], len(model.state_dict()[name]) // 2
    for part, source in zip((found[:half], found[half:]), sources, strict=True):
        singular = torch.linalg.svdvals(source.read(name))
        kept = min(half, len(singular))
        torch.testing.assert_close(torch.linalg.svdvals(part)[:kept], singular[:kept], atol=1e-5, rtol=1e-4)


def test_a_base_is_taken_whole(tmp_path: Path) -> None:
    source = open_encoder(str(folder(tmp_path / "base", "hubert", 0)))
    state = weights(Student(start="base", source=(source.name,)))
    name = f"encoder.layers.{source.layout.settings['num_hidden_layers'] - 1}.final_layer_norm.weight"
    torch.testing.assert_close(state[name], source.read(name))


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ({"conv_kernels": (10, 3)}, "expected as many of each"),
        ({"width": 30}, "width 30 cannot be divided by 4 heads"),
        ({"position_groups": 5}, "width 32 cannot be divided by 5 position_groups"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(shape: dict[str, object], told: str) -> None:
    one = SMALL.model_copy(update={"conv_channels": (8, 12, 12)} if "conv_kernels" in shape else {})
    with pytest.raises(InputError, match=told):
        make_student(Student(shape=one.model_copy(update=shape)))


def test_sizes_beside_a_source_are_refused(tmp_path: Path) -> None:
    teacher = str(folder(tmp_path / "teacher", "hubert", 0))
    with pytest.raises(InputError, match="leave out width"):
        make_student(Student(start="layers", source=(teacher,), shape=Shape(layers=1, width=32)))
    with pytest.raises(InputError, match=r"layers = 9: .*teacher has"):
        make_student(Student(start="layers", source=(teacher,), shape=Shape(layers=9)))


def loudness_heard(conv_bias: float) -> float:
    """How far the student's CNN moves between a sound and the same sound 20 dB quieter, in parts of what it says."""
    model, _, _ = make_student(Student(shape=SMALL, filters="gabor", conv_bias=conv_bias, seed=3))
    sound = torch.randn(1, 3200, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        loud, quiet = (model.feature_extractor(level * sound) for level in (1.0, 0.1))
    return float((loud - quiet).norm() / loud.norm())


def test_biases_of_the_first_convolution_let_layer_norm_hear_loudness() -> None:
    assert loudness_heard(0.0) < 0.01
    assert loudness_heard(1.0) > 0.3


def test_biases_change_no_other_weight() -> None:
    without, biased = weights(Student(shape=SMALL, seed=3)), weights(Student(shape=SMALL, seed=3, conv_bias=1.0))
    changed = [name for name, weight in without.items() if not torch.equal(weight, biased[name])]
    assert changed == ["feature_extractor.conv_layers.0.conv.bias"]


@pytest.mark.parametrize("student", [{"shape": {"conv_norm": "group"}}, {"start": "layers", "source": "teacher"}])
def test_biases_are_for_a_random_student_of_layer_norm(student: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"`conv_bias` is for start 'random' with shape\.conv_norm 'layer'"):
        Student.model_validate({**student, "conv_bias": 1.0})
