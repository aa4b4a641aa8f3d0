"""Each method against a few lines of NumPy, its limits, its settings, and methods of the user's own."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from crossfade.errors import InputError
from crossfade.merging.arithmetic import trim
from crossfade.merging.methods import LAYERWISE, METHODS, dare, find_method, linear, slerp, task_arithmetic, ties

SHAPES = [(5,), (7, 3), (4, 3, 2), (1, 4, 1, 1)]
weights = st.integers(0, 100).map(lambda percent: percent / 100)
seeds = st.integers(0, 2**32 - 1)


def draw(seed: int, *shape: int) -> list[Tensor]:
    """Reference, other and base."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(3)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.9, 1.0])
def test_linear(shape: tuple[int, ...], weight: float) -> None:
    a, b, _ = draw(1, *shape)
    torch.testing.assert_close(linear(a, b, weight), weight * a + (1 - weight) * b)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.9, 1.0])
def test_slerp(shape: tuple[int, ...], weight: float) -> None:
    a, b, _ = draw(2, *shape)
    x, y = a.double().numpy(), b.double().numpy()
    lengths = np.linalg.norm(x), np.linalg.norm(y)
    angle = math.acos((x * y).sum() / lengths[0] / lengths[1])
    mix = math.sin(weight * angle) * x / lengths[0] + math.sin((1 - weight) * angle) * y / lengths[1]
    expected = mix / math.sin(angle) * (weight * lengths[0] + (1 - weight) * lengths[1])
    np.testing.assert_allclose(slerp(a, b, weight).numpy(), expected, atol=1e-5)


@given(seeds, weights)
def test_slerp_keeps_length_and_turns_evenly(seed: int, weight: float) -> None:
    a, b, _ = draw(seed, 12)
    merged = slerp(a, b, weight)
    torch.testing.assert_close(merged.norm(), weight * a.norm() + (1 - weight) * b.norm())
    whole = torch.nn.functional.cosine_similarity(a, b, 0).acos()
    part = torch.nn.functional.cosine_similarity(merged.double(), b.double(), 0).clamp(-1, 1).acos()
    torch.testing.assert_close(part, (weight * whole).double(), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("factor", [2.0, -2.0, 0.0])
def test_slerp_is_linear_where_no_great_circle_is_special(factor: float) -> None:
    a, _, _ = draw(3, 9)
    torch.testing.assert_close(slerp(a, factor * a, 0.25), (0.25 + 0.75 * factor) * a)
    assert slerp(factor * a, a, 0.5).isfinite().all()


@pytest.mark.parametrize("scale", [1.0, 0.5, 1.5])
def test_task_arithmetic(scale: float) -> None:
    a, b, base = draw(4, 6, 5)
    expected = base + scale * (0.7 * (a - base) + 0.3 * (b - base))
    torch.testing.assert_close(task_arithmetic(a, b, base, 0.7, scale=scale), expected)


def ties_by_entry(a: np.ndarray, b: np.ndarray, base: np.ndarray, weight: float, density: float) -> np.ndarray:
    """TIES with loops."""
    trimmed = []
    for vector in (a - base, b - base):
        kept = max(1, round(density * vector.size))
        largest = np.argsort(-np.abs(vector), kind="stable")[:kept]
        trimmed.append(np.where(np.isin(np.arange(vector.size), largest), vector, 0.0))
    merged = base.copy()
    for i, (x, y) in enumerate(zip(*trimmed, strict=True)):
        elected = np.sign(weight * x + (1 - weight) * y)
        agreeing = [(s, v) for s, v in ((weight, x), (1 - weight, y)) if v != 0 and np.sign(v) == elected and s > 0]
        if agreeing:
            merged[i] += sum(s * v for s, v in agreeing) / sum(s for s, _ in agreeing)
    return merged


@given(seeds, weights, st.floats(0.01, 1))
def test_ties(seed: int, weight: float, density: float) -> None:
    a, b, base = draw(seed, 20)
    expected = ties_by_entry(*(t.double().numpy() for t in (a, b, base)), weight, density)
    np.testing.assert_allclose(ties(a, b, base, weight, density=density).numpy(), expected, atol=1e-5)


@given(seeds, st.floats(0.01, 0.99), st.floats(0.01, 1), st.floats(0, 2))
def test_ties_stays_between_the_task_vectors_and_is_even_handed(
    seed: int, weight: float, density: float, scale: float
) -> None:
    a, b, base = draw(seed, 4, 6)
    merged = ties(a, b, base, weight, density=density, scale=scale)
    torch.testing.assert_close(merged, ties(b, a, base, 1 - weight, density=density, scale=scale))
    moved = merged - base
    bound = scale * torch.maximum((a - base).abs(), (b - base).abs())
    assert (moved.abs() <= bound + 1e-5).all()
    assert (moved.abs() > 1e-6).sum() <= 2 * max(1, round(density * 24))
    order = torch.randperm(24, generator=seeded(seed))
    shuffled = [t.flatten()[order] for t in (a, b, base)]
    torch.testing.assert_close(ties(*shuffled, weight, density=density, scale=scale), merged.flatten()[order])


def test_trim_keeps_the_largest_and_what_ties_with_them() -> None:
    assert trim(torch.tensor([3.0, -1.0, 2.0, -4.0]), 0.5).tolist() == [3.0, 0.0, 0.0, -4.0]
    assert trim(torch.tensor([1.0, -1.0, 1.0, 1.0]), 0.25).tolist() == [1.0, -1.0, 1.0, 1.0]
    assert trim(torch.tensor([[0.1]]), 0.01).tolist() == [[pytest.approx(0.1)]]


@given(seeds, st.integers(1, 60), st.floats(0.001, 1))
def test_trim_keeps_its_share(seed: int, size: int, density: float) -> None:
    vector = torch.randperm(size, generator=seeded(seed)).float() + 1
    kept = trim(vector, density)
    assert int((kept != 0).sum()) == max(1, round(density * size))
    assert kept[kept != 0].min() > vector[kept == 0].max() if (kept == 0).any() else torch.equal(kept, vector)


@given(seeds, weights, st.floats(0, 0.95))
def test_dare_entries_are_whole_task_vectors_or_nothing(seed: int, weight: float, drop: float) -> None:
    a, b, base = draw(seed, 30)
    merged = dare(a, b, base, weight, seeded(seed), drop=drop)
    assert torch.equal(merged, dare(a, b, base, weight, seeded(seed), drop=drop))
    x, y = weight * (a - base) / (1 - drop), (1 - weight) * (b - base) / (1 - drop)
    options = torch.stack([torch.zeros(30), x, y, x + y])
    nearest = (merged - base - options).abs().min(0).values
    assert nearest.max() <= 1e-5 * (1 + options.abs().max())


def test_dare_drops_its_share_and_keeps_the_mean() -> None:
    a, b, base = torch.full((200_000,), 3.0), torch.full((200_000,), 2.0), torch.full((200_000,), 2.0)
    merged = dare(a, b, base, 0.5, seeded(), drop=0.9)
    assert (merged == base).float().mean().item() == pytest.approx(0.9, abs=0.005)
    assert merged.mean().item() == pytest.approx(2.5, abs=0.01)
    torch.testing.assert_close(dare(a, b, base, 0.3, seeded(), drop=0.0), task_arithmetic(a, b, base, 0.3))


@pytest.mark.parametrize(
    ("name", "settings"),
    [("linear", {}), ("slerp", {}), ("task-arithmetic", {}), ("ties", {"density": 1.0}), ("dare", {"drop": 0.0})],
)
def test_the_ends_of_the_scale_are_the_parents(name: str, settings: dict[str, float]) -> None:
    a, b, base = draw(5, 8, 4)
    for weight, parent in ((1.0, a), (0.0, b)):
        provided = {"reference": a, "other": b, "base": base, "weight": weight, "generator": seeded()}
        torch.testing.assert_close(METHODS[name](settings, **provided), parent)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_leaves_its_inputs_alone_and_merges_twins_to_themselves(name: str) -> None:
    a, _, base = draw(6, 8, 4)
    before = a.clone(), base.clone()
    settings = {"ties": {"density": 1.0}, "dare": {"drop": 0.0}}.get(name, {})
    provided = {"reference": a, "other": a, "base": base, "weight": 0.6, "generator": seeded()}
    torch.testing.assert_close(METHODS[name](settings, **provided), a)
    assert torch.equal(a, before[0])
    assert torch.equal(base, before[1])


@pytest.mark.parametrize(
    ("name", "needs_base", "settings"),
    [
        ("linear", False, {}),
        ("slerp", False, {}),
        ("task-arithmetic", True, {"scale": 1.0}),
        ("ties", True, {"density": 0.2, "scale": 1.0}),
        ("dare", True, {"drop": 0.9}),
        ("regression", False, {"ridge": 0.1, "sequential": False, "convolutions": False}),
    ],
)
def test_what_a_method_needs_comes_from_its_signature(name: str, needs_base: bool, settings: dict[str, Any]) -> None:
    found = find_method(name)
    assert (found.name, found.needs_base, dict(found.settings)) == (name, needs_base, settings)
    assert found.check_settings({}) == settings


def test_settings_overrule_defaults() -> None:
    assert find_method("ties").check_settings({"density": 1}) == {"density": 1, "scale": 1.0}
    assert find_method("regression").check_settings({"sequential": True})["sequential"] is True


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ties", {"densty": 0.1}, "method ties has no setting 'densty'; did you mean 'density'? known: density, scale"),
        ("linear", {"scale": 0.1}, "method linear has no setting 'scale'; it has no settings"),
        ("ties", {"density": "half"}, "method ties: density = 'half', expected float such as 0.2"),
        ("ties", {"density": True}, "method ties: density = True, expected float such as 0.2"),
        ("ties", {"scale": math.nan}, "method ties: scale = nan, expected a finite number such as 1.0"),
        ("regression", {"sequential": 1}, "method regression: sequential = 1, expected bool such as False"),
        ("regression", {"ridge": math.inf}, "method regression: ridge = inf, expected a finite number such as 0.1"),
    ],
)
def test_wrong_settings_are_named(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as raised:
        find_method(name).check_settings(settings)
    assert str(raised.value) == message


@pytest.mark.parametrize("density", [0.0, -0.1, 1.1])
def test_density_is_a_share(density: float) -> None:
    with pytest.raises(InputError, match=r"^density = .*above 0 and at most 1$"):
        ties(*draw(7, 4), 0.5, density=density)


@pytest.mark.parametrize("drop", [1.0, -0.1, 2.0])
def test_drop_is_a_probability_below_one(drop: float) -> None:
    with pytest.raises(InputError, match=r"^drop = .*below 1$"):
        dare(*draw(7, 4), 0.5, seeded(), drop=drop)


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(InputError) as raised:
        find_method("regresion")
    assert str(raised.value) == (
        "method: 'regresion' is unknown; did you mean 'regression'? known: dare, linear, regression, slerp, "
        "task-arithmetic, ties, or a function of yours as FILE.py:NAME"
    )


MINE = """
def average(reference, other, *, gain=2.0):
    return gain * (reference + other) / 2

def with_base(reference, other, base, weight, generator):
    return base

def demanding(reference, temperature):
    return reference

constant = 3
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    return file


def test_a_method_from_a_file(mine: Path) -> None:
    found = find_method(f"{mine}:average")
    a, b, base = draw(8, 3)
    assert not found.needs_base
    assert found.check_settings({"gain": 1.0}) == {"gain": 1.0}
    provided = {"reference": a, "other": b, "base": base, "weight": 0.1, "generator": seeded()}
    torch.testing.assert_close(found({"gain": 1.0}, **provided), (a + b) / 2)
    assert find_method(f"{mine}:with_base").needs_base


@pytest.mark.parametrize(
    ("function", "content", "message"),
    [
        ("averge", MINE, "has no function 'averge'; did you mean 'average'?"),
        ("constant", MINE, "has no function 'constant'"),
        ("demanding", MINE, "'temperature' has no default and is not one of reference, other, base, weight, generator"),
        ("f", "def f(:", "cannot be imported"),
        (
            "f",
            "import no_such_module_here",
            "cannot be imported (ModuleNotFoundError: No module named 'no_such_module_here')",
        ),
        ("f", "print_(1)", "cannot be imported (NameError: name 'print_' is not defined"),
    ],
)
def test_a_file_that_gives_no_method(tmp_path: Path, function: str, content: str, message: str) -> None:
    (tmp_path / "broken.py").write_text(content)
    with pytest.raises(InputError) as raised:
        find_method(f"{tmp_path / 'broken.py'}:{function}")
    assert message in str(raised.value)
    assert str(tmp_path / "broken.py") in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file '.*absent\.py'; expected FILE\.py:NAME"):
        find_method(f"{tmp_path / 'absent.py'}:f")


def test_a_method_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plugin_of_mine.py").write_text(MINE)
    info = tmp_path / "plugin_of_mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin-of-mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[crossfade.methods]\nmy-average = plugin_of_mine:average\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = find_method("my-average")
    assert (found.name, dict(found.settings)) == ("my-average", {"gain": 2.0})
    a, b, _ = draw(9, 3)
    torch.testing.assert_close(found({"gain": 2.0}, reference=a, other=b), a + b)


def test_registering(monkeypatch: pytest.MonkeyPatch) -> None:
    from crossfade.merging.methods import method

    monkeypatch.setattr("crossfade.merging.methods.METHODS", methods := dict(METHODS))
    register: Callable[..., Any] = method("larger")

    @register
    def larger(reference: Tensor, other: Tensor) -> Tensor:
        return torch.maximum(reference, other)

    assert methods.keys() - METHODS.keys() == {"larger"}
    assert methods["larger"]({}, reference=torch.tensor([1.0, 4.0]), other=torch.tensor([2.0, 3.0])).tolist() == [2, 4]


def test_no_name_means_two_methods() -> None:
    assert not METHODS.keys() & LAYERWISE.keys()
