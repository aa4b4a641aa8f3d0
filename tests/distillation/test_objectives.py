"""Every loss against its equation written out, what it does not depend on, and time against integrals."""

import math
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, avg_pool1d
from torch.utils._python_dispatch import TorchDispatchMode

from crossfade.distillation.objectives import (
    EPSILON,
    align_time,
    assign_clusters,
    correlation_loss,
    fit_clusters,
    l1_cosine,
    masked_cross_entropy,
    snr_coefficient,
)
from crossfade.errors import InputError

SEEDS = st.integers(0, 2**32)


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# L1 and cosine -------------------------------------------------------------------------------------------------------


def test_l1_cosine_is_distilhubert_s_loss() -> None:
    z, y = normal(1, 2, 3, 5, 4).numpy(), normal(2, 2, 3, 5, 4).numpy()
    cosines = (z * y).sum(-1) / np.linalg.norm(z, axis=-1) / np.linalg.norm(y, axis=-1)
    l1, cosine = np.abs(z - y).mean(), -np.log(1 / (1 + np.exp(-cosines))).mean()
    for weights in ((1.0, 1.0), (2.0, 0.5), (1.0, 0.0), (0.0, 3.0), (0.0, 0.0)):
        loss = l1_cosine(torch.from_numpy(z), torch.from_numpy(y), *weights)
        assert loss.item() == pytest.approx(weights[0] * l1 + weights[1] * cosine, abs=1e-14)


@given(seed=SEEDS, scale=st.floats(1e-3, 1e3))
def test_cosine_is_of_directions_alone(seed: int, scale: float) -> None:
    z, y = normal(seed, 2, 1, 3, 4), normal(seed + 1, 2, 1, 3, 4)
    torch.testing.assert_close(l1_cosine(scale * z, y, l1=0), l1_cosine(z, y, l1=0), atol=1e-12, rtol=0)
    assert l1_cosine(y * scale, y, l1=0).item() == pytest.approx(math.log(1 + math.exp(-1)))
    assert l1_cosine(-y, y, l1=0).item() == pytest.approx(math.log(1 + math.e))
    assert l1_cosine(y, y, cosine=0).item() == 0


def test_silent_frames_are_finite() -> None:
    predicted = torch.zeros(1, 1, 2, 4, requires_grad=True)
    loss = l1_cosine(predicted, torch.zeros(1, 1, 2, 4))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert torch.equal(predicted.grad, torch.zeros(1, 1, 2, 4))


SETTINGS: dict[str, Any] = {
    "cross": 5e-5,
    "self_": 5e-6,
    "diagonal_scale": 10.0,
    "cross_scale": 100.0,
    "self_scale": 50000.0,
    "frames": 3,
}


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["l1_cosine", "correlation"])
def test_losses_are_computed_in_full_precision(name: str, half: torch.dtype) -> None:
    z, y = normal(1, 4, 2, 5, 6).to(half), normal(2, 4, 2, 5, 6).to(half)

    def loss(*sides: Tensor) -> Tensor:
        return l1_cosine(*sides) if name == "l1_cosine" else correlation_loss(*sides, **SETTINGS)

    with torch.autocast("cpu", torch.bfloat16):
        found = loss(z, y)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(z.float(), y.float()))


# Correlation ---------------------------------------------------------------------------------------------------------


def written_out(z: Tensor, y: Tensor, weights: tuple[Tensor, Tensor] | None = None, **settings: Any) -> Tensor:
    """The loss of 2312.12153 place by place, with whole matrices and, weighted, whole outer products."""
    batch, layers, _, width = z.shape
    off = ~torch.eye(width, dtype=torch.bool)
    losses = []
    for layer in range(layers):
        sides = [
            side[:, layer].mean(1, keepdim=True)
            if settings["frames"] is None
            else adaptive_avg_pool1d(side[:, layer].mT, min(settings["frames"], side.shape[2])).mT
            for side in (z, y)
        ]
        for frame in range(sides[0].shape[1]):
            a, b = ((s[:, frame] - s[:, frame].mean(0)) / (s[:, frame].var(0) + EPSILON).sqrt() for s in sides)
            c, s = a.T @ b / (batch - 1), a.T @ a / (batch - 1)
            across, own = c[off].square().sum(), s[off].square().sum()
            if weights is not None:
                clips = range(batch)
                across = sum(torch.outer(a[i], b[i])[off].square().sum() / weights[1][i] for i in clips) / batch
                own = sum(torch.outer(a[i], a[i])[off].square().sum() / weights[0][i] for i in clips) / batch
            losses.append(
                (c.diagonal() - 1).square().sum() / settings["diagonal_scale"]
                + settings["cross"] * across / settings["cross_scale"]
                + settings["self_"] * own / settings["self_scale"]
            )
    return torch.stack(losses).mean()


@given(
    seed=SEEDS,
    batch=st.integers(2, 6),
    width=st.integers(1, 8),
    frames=st.sampled_from([None, 1, 2, 3, 7]),
    weighted=st.booleans(),
    terms=st.sampled_from([(1.0, 1.0), (0.5, 0.0), (0.0, 2.0), (0.0, 0.0)]),
)
def test_correlation_is_the_written_out_loss(
    seed: int, batch: int, width: int, frames: int | None, weighted: bool, terms: tuple[float, float]
) -> None:
    z = normal(seed, batch, 2, 5, width).requires_grad_()
    y = normal(seed + 1, batch, 2, 5, width)
    snrs = 30 * torch.rand(2, batch, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weights = (snr_coefficient(snrs[0]), snr_coefficient(snrs[1])) if weighted else None
    settings = {"cross": terms[0], "self_": terms[1], "diagonal_scale": 3.0, "cross_scale": 2.0, "self_scale": 5.0}
    losses = [loss(z, y, weights=weights, frames=frames, **settings) for loss in (correlation_loss, written_out)]
    torch.testing.assert_close(*losses, atol=1e-10, rtol=1e-10)
    ours, theirs = (torch.autograd.grad(loss, z)[0] for loss in losses)
    torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-8)


@given(seed=SEEDS, scale=st.floats(0.5, 100), shift=st.floats(-100, 100), flip=st.booleans())
def test_correlation_knows_neither_scale_nor_shift(seed: int, scale: float, shift: float, flip: bool) -> None:
    z, y = 10 * normal(seed, 5, 2, 4, 6), 10 * normal(seed + 1, 5, 2, 4, 6)
    whole = correlation_loss(z, y, **SETTINGS)
    # As far as `EPSILON` is small beside the least of the variances.
    torch.testing.assert_close(correlation_loss(z + shift, y - shift, **SETTINGS), whole, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(correlation_loss(scale * z, y, **SETTINGS), whole, atol=1e-2, rtol=1e-3)
    torch.testing.assert_close(correlation_loss(z, scale * y, **SETTINGS), whole, atol=1e-2, rtol=1e-3)
    sign = -1 if flip else 1
    assert torch.equal(correlation_loss(sign * z, sign * y, **SETTINGS), whole)


@given(seed=SEEDS, batch=st.integers(2, 6))
def test_identical_inputs_leave_nothing_on_the_diagonal(seed: int, batch: int) -> None:
    y = normal(seed, batch, 2, 3, 6).argsort(0).double()  # no channel hardly changes
    matched = SETTINGS | {"cross": 0.0, "self_": 0.0}
    assert correlation_loss(y, y, **matched).item() < 1e-9
    assert correlation_loss(-y, y, **matched).item() == pytest.approx(6 * 4 / 10, rel=1e-4)


def test_channels_that_do_not_change_are_finite() -> None:
    z = torch.ones(3, 1, 2, 4, requires_grad=True)
    loss = correlation_loss(z, torch.zeros(3, 1, 2, 4), **SETTINGS)
    loss.backward()
    assert loss.item() == pytest.approx(4 / 10)
    assert torch.equal(z.grad, torch.zeros(3, 1, 2, 4))


def test_short_clips_keep_their_frames() -> None:
    z, y = normal(1, 4, 1, 5, 6), normal(2, 4, 1, 5, 6)
    assert torch.equal(*(correlation_loss(z, y, **SETTINGS | {"frames": most}) for most in (5, 150)))


class Sizes(TorchDispatchMode):
    """Notes the most numbers that any tensor had."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **kwargs or {})
        for one in result if isinstance(result, tuple | list) else [result]:
            self.largest = max(self.largest, one.numel() if isinstance(one, Tensor) else 0)
        return result


@pytest.mark.parametrize("shape", [(3, 2, 4, 64), (64, 2, 4, 3)])
def test_nothing_is_larger_than_the_input(shape: tuple[int, ...]) -> None:
    z, y = normal(1, *shape).requires_grad_(), normal(2, *shape)
    with Sizes() as sizes:
        correlation_loss(z, y, **SETTINGS | {"frames": 4}).backward()
    assert sizes.largest == z.numel()


def test_one_clip_has_nothing_to_correlate_over() -> None:
    with pytest.raises(InputError, match=r"^correlation loss: .* at least 2, received 1: raise training\.batch_sec"):
        correlation_loss(normal(1, 1, 2, 5, 4), normal(2, 1, 2, 5, 4), **SETTINGS)


def test_noisier_clips_count_more() -> None:
    snrs = torch.tensor([-torch.inf, 0.0, 10.0, 15.0, 20.0, 40.0, torch.inf], dtype=torch.float64)
    expected = torch.tensor([1, 1, 1, 50.5, 100, 100, 100], dtype=torch.float64)
    torch.testing.assert_close(snr_coefficient(snrs), expected)


# Masked prediction ---------------------------------------------------------------------------------------------------


def test_masked_frames_alone_are_predicted() -> None:
    logits = normal(1, 2, 3, 4).requires_grad_()
    clusters = torch.tensor([[0, 1, 2], [3, 0, 1]])
    mask = torch.tensor([[True, False, True], [False, False, True]])
    loss = masked_cross_entropy(logits, clusters, mask)
    expected = -torch.stack([logits.log_softmax(-1)[place] for place in ((0, 0, 0), (0, 2, 2), (1, 2, 1))]).mean()
    torch.testing.assert_close(loss, expected, atol=1e-14, rtol=0)
    loss.backward()
    assert torch.equal(logits.grad.abs().sum(-1) > 0, mask)


def test_nothing_masked_is_nothing_to_learn() -> None:
    logits = normal(1, 2, 3, 4).requires_grad_()
    loss = masked_cross_entropy(logits, torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(2, 3, 4, dtype=torch.float64))


def test_masked_prediction_is_computed_in_full_precision() -> None:
    logits, clusters = normal(1, 5, 4).bfloat16(), torch.tensor([0, 1, 2, 3, 0])
    with torch.autocast("cpu", torch.bfloat16):
        found = masked_cross_entropy(logits, clusters, torch.ones(5, dtype=torch.bool))
    assert torch.equal(found, masked_cross_entropy(logits.float(), clusters, torch.ones(5, dtype=torch.bool)))


def test_clusters_are_found_again() -> None:
    centres = 10 * normal(1, 5, 8, dtype=torch.float32)
    truth = torch.arange(5).repeat(200)
    frames = centres[truth] + 0.1 * normal(2, 1000, 8, dtype=torch.float32)
    found = fit_clusters(frames, 5, seed=3)
    assert found.dtype == torch.float32
    order = assign_clusters(centres, found)
    assert sorted(order.tolist()) == [0, 1, 2, 3, 4]
    torch.testing.assert_close(found[order], centres, atol=0.05, rtol=0)
    assert torch.equal(assign_clusters(frames.view(20, 50, 8), found), order[truth].view(20, 50))
    assert torch.equal(fit_clusters(frames, 5, seed=3), found)
    assert not torch.equal(fit_clusters(frames, 5, seed=4), found)


def test_the_nearest_centre_is_assigned() -> None:
    frames, centres = normal(1, 3, 40, 6), normal(2, 30, 6).float()
    distances = (frames[..., None, :] - centres).square().sum(-1)
    assert torch.equal(assign_clusters(frames, centres), distances.argmin(-1))


def test_clusters_need_frames_and_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^objective\.clusters 4: expected at least as many frames, received 3$"):
        fit_clusters(torch.zeros(3, 2), 4)
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(InputError, match=r"^objective\.masked needs scikit-learn: pip install 'crossfade\[distil\]'$"):
        fit_clusters(torch.zeros(3, 2), 2)


# Time ----------------------------------------------------------------------------------------------------------------

RATES = st.sampled_from([10.0, 20.0, 25.0, 37.5, 50.0, 62.5, 75.0, 22050 / 256, 100.0, 150.0, 200.0])


@given(seed=SEEDS, rate=RATES, offset=st.floats(-0.0125, 0.0125), start=st.floats(-10, 10), slope=st.floats(-10, 10))
def test_ramps_stay_ramps(seed: int, rate: float, offset: float, start: float, slope: float) -> None:
    count = round(1.98 * rate)
    times = offset + torch.arange(count, dtype=torch.float64) / rate
    aligned = align_time((start + slope * times)[:, None], rate, 50, 99, offset)[:, 0]
    wanted = start + slope * torch.arange(99, dtype=torch.float64) / 50
    reach = max(0.0, 1 / 50 - 1 / rate) / 2
    centres = torch.arange(99, dtype=torch.float64) / 50
    inside = (centres - reach >= times[0]) & (centres + reach <= times[-1])
    assert inside.sum() > 90
    torch.testing.assert_close(aligned[inside], wanted[inside], atol=1e-12, rtol=1e-12)


@given(seed=SEEDS, rate=RATES, offset=st.floats(-0.0125, 0.0125))
def test_faster_teachers_are_averaged_and_slower_ones_interpolated(seed: int, rate: float, offset: float) -> None:
    values = normal(seed, round(0.99 * rate), 1)
    times = offset + np.arange(len(values)) / rate
    length, centres = max(0.0, 1 / 50 - 1 / rate), np.arange(49) / 50
    # The mean of a piecewise linear function between its corners, by the trapezium rule, which is exact there.
    expected = []
    for centre in centres:
        low, high = centre - length / 2, centre + length / 2
        corners = np.array([low, *times[(times > low) & (times < high)], high])
        heights = np.interp(corners, times, values[:, 0].numpy())
        expected.append(np.trapezoid(heights, corners) / length if length else heights[0])
    aligned = align_time(values, rate, 50, 49, offset)
    np.testing.assert_allclose(aligned[:, 0].numpy(), expected, atol=1e-10)
    assert aligned.min() >= values.min() - 1e-12
    assert aligned.max() <= values.max() + 1e-12


def test_the_same_times_give_the_same_frames() -> None:
    wanted = normal(1, 3, 50, 4, dtype=torch.float32)
    for rate in (49.0, 50.0, 22050 / 256):
        assert torch.equal(align_time(wanted, rate, rate, 49), wanted[:, :49])


def test_twice_the_rate_gives_means_of_two() -> None:
    wanted = normal(1, 2, 100, 4)
    between = align_time(wanted, 100, 50, 50, teacher_offset=-0.005)
    torch.testing.assert_close(between, avg_pool1d(wanted.mT, 2).mT, atol=1e-14, rtol=0)


def test_half_the_rate_gives_what_is_half_way() -> None:
    wanted = normal(1, 20, 4)
    aligned = align_time(wanted, 25, 50, 39)
    assert torch.equal(aligned[::2], wanted)
    torch.testing.assert_close(aligned[1::2], (wanted[1:] + wanted[:-1]) / 2, atol=1e-14, rtol=0)


def test_ends_are_held() -> None:
    wanted = torch.tensor([[1.0], [2.0], [3.0]])
    assert align_time(wanted, 10, 10, 3, teacher_offset=0.15)[:, 0].tolist() == pytest.approx([1, 1, 1.5])
    assert align_time(wanted, 10, 10, 3, teacher_offset=-0.15)[:, 0].tolist() == pytest.approx([2.5, 3, 3])


def test_batches_are_aligned_at_once() -> None:
    wanted = normal(1, 3, 2, 172, 4)
    together = align_time(wanted, 22050 / 256, 50, 99, -0.0125)
    assert together.shape == (3, 2, 99, 4)
    for clip in range(3):
        assert torch.equal(together[clip], align_time(wanted[clip], 22050 / 256, 50, 99, -0.0125))


def test_what_was_heard_without_gradients_can_be_learned_from() -> None:
    with torch.inference_mode():
        wanted = torch.ones(1, 1, 5, 4)
    predicted = torch.zeros(1, 1, 5, 4, requires_grad=True)
    l1_cosine(predicted, align_time(wanted, 50, 50, 5)).backward()
    assert predicted.grad.abs().sum() > 0
    assert torch.equal(wanted, torch.ones(1, 1, 5, 4))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("samples", [16000, 16079, 16080, 16319, 40000])
def test_teachers_whose_frames_are_centred_fit_a_student_whose_windows_must(samples: int, known: bool) -> None:
    frames = (samples - 400) // 320 + 1
    for rate, count in ((50.0, samples // 320 + 1), (100.0, samples // 160 + 1), (62.5, samples // 256 + 1)):
        aligned = align_time(torch.zeros(1, count, 1), rate, 50, frames, -0.01246875 if known else 0.0)
        assert aligned.shape == (1, frames, 1)


@pytest.mark.parametrize(
    ("count", "rate", "offset", "where"),
    [
        (53, 50.0, 0.0, r"0\.060 s after"),
        (47, 50.0, 0.0, r"0\.060 s before"),
        (50, 50.0, 0.05, r"0\.050 s after"),
        (50, 100.0, 0.0, r"0\.490 s before"),
        (50, 25.0, 0.0, r"0\.980 s after"),
    ],
)
def test_what_cannot_be_aligned_is_refused(count: int, rate: float, offset: float, where: str) -> None:
    with pytest.raises(InputError, match=rf"cannot be aligned in time: the last of {count} frames at .* is {where}"):
        align_time(torch.zeros(1, count, 1), rate, 50, 50, offset)
