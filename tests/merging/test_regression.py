"""The closed-form solutions of one layer: pure mathematics, against NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import linear

from crossfade.errors import InputError
from crossfade.merging.regression import LayerMoments, blend, regression, rescale

INTO, OUT = 6, 4
CPU = torch.device("cpu")


def frames(seed: int, count: int = 200) -> tuple[Tensor, Tensor]:
    """Inputs (count, INTO) with a mean, and wanted outputs (count, OUT) that no linear layer gives."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, INTO, generator=generator) * torch.linspace(0.5, 2, INTO) + 1
    mix = torch.randn(INTO, OUT, generator=generator)
    return inputs, (inputs @ mix).tanh() * 2 + torch.randn(count, OUT, generator=generator) + 0.7


def start(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed + 1000)
    return torch.randn(OUT, INTO, generator=generator), torch.randn(OUT, generator=generator)


def gathered(*parts: tuple[Tensor, Tensor, float], layer: tuple[Tensor, Tensor | None]) -> LayerMoments:
    """Moments of (inputs, wanted outputs, weight) for a layer as it is."""
    moments = LayerMoments.zeros(OUT, INTO, CPU)
    for inputs, wanted, weight in parts:
        moments.add(inputs, wanted - linear(inputs, *layer), weight)
    return moments


def same(a: LayerMoments, b: LayerMoments) -> None:
    for name in ("gram", "cross", "squares"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=1e-3, rtol=1e-5)


@given(st.integers(0, 99), st.integers(1, 199), st.floats(0.1, 3))
def test_moments_add_up(seed: int, cut: int, weight: float) -> None:
    x, y = frames(seed)
    layer = start(seed)
    whole = gathered((x, y, weight), layer=layer)
    same(whole, gathered((x[cut:], y[cut:], weight), (x[:cut], y[:cut], weight), layer=layer))
    same(whole, gathered((x, y, weight / 4), (x, y, 3 * weight / 4), layer=layer))


def test_moments_are_what_they_say() -> None:
    x, y = frames(0)
    moments = LayerMoments.zeros(OUT, INTO, CPU)
    moments.add(x, y, 0.5)
    ones = np.concatenate([x.double().numpy(), np.ones((200, 1))], axis=1)
    np.testing.assert_allclose(moments.gram, 0.5 * ones.T @ ones, rtol=1e-5)
    np.testing.assert_allclose(moments.cross, 0.5 * y.double().numpy().T @ ones, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(moments.squares, 0.5 * (y.double().numpy() ** 2).sum(0), rtol=1e-5)
    assert moments.gram.dtype == moments.cross.dtype == moments.squares.dtype == torch.float64
    mean = moments.mean()
    np.testing.assert_allclose(mean.gram[:-1, -1], x.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mean.cross[:, -1], y.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_without_ridge_it_is_least_squares(seed: int) -> None:
    x, y = frames(seed)
    weight, bias = regression(gathered((x, y, 1.0), layer=start(seed)).mean(), *start(seed), ridge=1e-12)
    ones = np.concatenate([x.double().numpy(), np.ones((200, 1))], axis=1)
    expected = np.linalg.lstsq(ones, y.double().numpy(), rcond=None)[0].T
    np.testing.assert_allclose(weight, expected[:, :-1], atol=1e-4)
    assert bias is not None
    np.testing.assert_allclose(bias, expected[:, -1], atol=1e-4)


def test_frames_of_two_domains_count_by_weight() -> None:
    (x, y), (u, v) = frames(1), frames(2, 70)
    weight, bias = regression(
        gathered((x, y, 0.8 / 200), (u, v, 0.2 / 70), layer=start(1)).mean(), *start(1), ridge=1e-12
    )
    ones = np.ones((270, 1))
    root = np.sqrt(np.concatenate([np.full(200, 0.8 / 200), np.full(70, 0.2 / 70)]))[:, None]
    inputs = np.concatenate([np.concatenate([x, u]), ones], axis=1) * root
    expected = np.linalg.lstsq(inputs, np.concatenate([y, v]) * root, rcond=None)[0].T
    np.testing.assert_allclose(weight, expected[:, :-1], atol=1e-4)
    assert bias is not None
    np.testing.assert_allclose(bias, expected[:, -1], atol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_domains_count_by_share_however_much_they_were_heard(share: float) -> None:
    (x, y), (u, v) = frames(1), frames(2, 70)
    ours, theirs = LayerMoments.zeros(OUT, INTO, CPU), LayerMoments.zeros(OUT, INTO, CPU)
    ours.add(x, y, 1.0)
    theirs.add(u, v, 5.0)
    both = LayerMoments.zeros(OUT, INTO, CPU)
    both.add(x, y, share / 200)
    both.add(u, v, (1 - share) / 70)
    same(blend(ours, theirs, share), both)
    for _ in range(2):
        ours.add(x, y, 1.0)
    same(blend(ours, theirs, share), both)


@pytest.mark.parametrize("ridge", [0.01, 0.5])
def test_the_ridge_draws_towards_the_merged_layer(ridge: float) -> None:
    """The damped solution is least squares with rows added that ask for the start."""
    x, y = frames(3)
    before = start(3)
    weight, bias = regression(gathered((x, y, 1.0), layer=before).mean(), *before, ridge=ridge)
    pull = np.sqrt(ridge * (x.double().numpy() ** 2).mean() * 200)
    inputs = np.concatenate([np.concatenate([x, np.ones((200, 1))], axis=1), pull * np.eye(INTO + 1)])
    wanted = np.concatenate([y, pull * torch.cat([before[0], before[1][:, None]], dim=1).T.numpy()])
    expected = np.linalg.lstsq(inputs, wanted, rcond=None)[0].T
    np.testing.assert_allclose(weight, expected[:, :-1], atol=1e-4)
    assert bias is not None
    np.testing.assert_allclose(bias, expected[:, -1], atol=1e-4)


def test_a_very_large_ridge_leaves_the_merged_layer() -> None:
    weight, bias = start(4)
    solved = regression(gathered((*frames(4), 1.0), layer=(weight, bias)).mean(), weight, bias, ridge=1e9)
    torch.testing.assert_close(solved, (weight, bias))


def test_a_layer_without_bias_gets_none() -> None:
    x, y = frames(5)
    weight, bias = regression(gathered((x, y, 1.0), layer=(start(5)[0], None)).mean(), start(5)[0], None, ridge=1e-12)
    assert bias is None
    expected = np.linalg.lstsq(x.double().numpy(), y.double().numpy(), rcond=None)[0].T
    np.testing.assert_allclose(weight, expected, atol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_that_returns_what_is_wanted_stays(bias: bool) -> None:
    x, _ = frames(6)
    layer = start(6)[0], start(6)[1] if bias else None
    moments = gathered((x, linear(x, *layer), 1.0), layer=layer).mean()
    for solved in (regression(moments, *layer, ridge=1e-6), rescale(moments, *layer)):
        assert torch.equal(solved[0], layer[0])
        assert solved[1] is None if layer[1] is None else torch.allclose(solved[1], layer[1], atol=1e-6)


def test_inputs_that_say_less_than_they_could_are_no_trouble() -> None:
    """A dead channel and a doubled one: the Gram matrix is singular, the ridge keeps the answer at the start."""
    x, y = frames(7)
    x[:, 0], x[:, 2] = 0.0, x[:, 1]
    weight, bias = start(7)
    solved, _ = regression(gathered((x, y, 1.0), layer=(weight, bias)).mean(), weight, bias)
    assert solved.isfinite().all()
    torch.testing.assert_close(solved[:, 0], weight[:, 0])
    torch.testing.assert_close(solved[:, 1] - solved[:, 2], weight[:, 1] - weight[:, 2], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("ridge", [0.0, -1.0, float("nan")])
def test_a_ridge_is_above_zero(ridge: float) -> None:
    with pytest.raises(InputError, match=r"^ridge = .*, expected a number above 0; 0\.1 is the default$"):
        regression(gathered((*frames(8), 1.0), layer=start(8)).mean(), *start(8), ridge=ridge)


@pytest.mark.parametrize("seed", range(3))
def test_rescale_gives_the_wanted_mean_and_deviation(seed: int) -> None:
    x, y = frames(seed)
    weight, bias = start(seed)
    scaled, shifted = rescale(gathered((x, y, 1.0), layer=(weight, bias)).mean(), weight, bias)
    assert shifted is not None
    output = x @ scaled.T + shifted
    torch.testing.assert_close(output.mean(0), y.mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.std(0), y.std(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scaled / scaled.norm(dim=1, keepdim=True), weight / weight.norm(dim=1, keepdim=True))


def test_rescale_without_bias_gives_the_deviation() -> None:
    x, y = frames(9)
    weight, _ = start(9)
    scaled, shifted = rescale(gathered((x, y, 1.0), layer=(weight, None)).mean(), weight, None)
    assert shifted is None
    torch.testing.assert_close((x @ scaled.T).std(0), y.std(0), atol=1e-4, rtol=1e-4)


def test_rescale_leaves_channels_that_stay_still() -> None:
    x, y = frames(10)
    weight, bias = start(10)
    weight[0] = 0.0
    y[:, 1] = 3.0
    scaled, shifted = rescale(gathered((x, y, 1.0), layer=(weight, bias)).mean(), weight, bias)
    assert shifted is not None
    assert torch.equal(scaled[:2], weight[:2])
    assert torch.equal(shifted[:2], bias[:2])
    assert not torch.equal(scaled[2:], weight[2:])
