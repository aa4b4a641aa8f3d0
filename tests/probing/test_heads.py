"""Heads on cached means: the same as torch's own, as the same head on full frames, and one head as many."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from crossfade.errors import InputError
from crossfade.probing.heads import Fitted, HeadSettings, fit_heads, fresh
from crossfade.probing.kinds import ClipTargets, encode_clips, trial_scores
from crossfade.probing.metrics import METRICS
from crossfade.probing.results import SweepPoint
from crossfade.probing.schema import DEFAULTS, Fold, Kind
from crossfade.probing.training import RATES, State, Training, shuffled, sweep

LAYERS, WIDTH, CLASSES = 3, 8, 3
NONE = torch.tensor([], dtype=torch.int64)
SMALL = HeadSettings(projection=5)
FAST = Training(rates=(1e-2,), steps=30, batch=8, checks=3)


def drawn(seed: int, count: int) -> tuple[list[Tensor], list[str]]:
    """Clips' frames (layers, frames, width) of several lengths, and classes that layer 1 knows of."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(CLASSES, (count,), generator=generator).tolist()
    frames = []
    for number in classes:
        length = int(torch.randint(3, 9, (1,), generator=generator))
        clip = torch.randn(LAYERS, length, WIDTH, generator=generator)
        clip[1, :, number] += 1.5
        frames.append(clip)
    return frames, [f"c{number}" for number in classes]


def means(frames: Sequence[Tensor]) -> Tensor:
    return torch.stack([clip.mean(1) for clip in frames])


def task(seed: int = 0, count: int = 60) -> tuple[Tensor, ClipTargets, Fold]:
    frames, labels = drawn(seed, count)
    cut, end = count // 2, 3 * count // 4
    fold = Fold(torch.arange(cut), torch.arange(cut, end), torch.arange(end, count))
    return means(frames), encode_clips("classification", labels), fold


def accuracy(fitted: Fitted, features: Tensor, targets: ClipTargets, clips: Tensor) -> list[float]:
    labels = [targets.labels[clip] for clip in clips.tolist()]
    found = (targets.decode(scores) for scores in fitted.scores(features[clips]))
    return [METRICS["accuracy"].value(labels, one) for one in found]


# The published head -------------------------------------------------------------------------------------------------


class FullFrames(nn.Module):
    """SUPERB's utterance head as it is published: every frame is projected, the mean is taken after."""

    def __init__(self, outputs: int, start: State) -> None:
        super().__init__()
        self.layers = nn.Parameter(start["layers"])
        self.inner, self.output = nn.Linear(WIDTH, 5), nn.Linear(5, outputs)
        for name, linear in (("inner", self.inner), ("output", self.output)):
            linear.weight.data = start[f"{name}.weight"].T.contiguous()
            linear.bias.data = start[f"{name}.bias"][0]

    def forward(self, clips: Sequence[Tensor]) -> Tensor:
        weights = self.layers.softmax(0)[:, None, None]
        return torch.stack([self.output(self.inner((weights * clip).sum(0)).mean(0)) for clip in clips])


@pytest.mark.parametrize("rate", [1e-3, 1e-2, 1e-1])
def test_training_on_means_is_training_on_full_frames(rate: float) -> None:
    """The same loss and the same weights to 1e-5, early and late, against torch's modules and Adam on every frame."""
    frames, labels = drawn(0, 60)
    targets, train, heard = encode_clips("classification", labels), torch.arange(40), torch.arange(40, 60)
    generator = torch.Generator().manual_seed(3)
    head = FullFrames(targets.outputs, fresh(SMALL, LAYERS, WIDTH, targets.outputs, generator))
    optimiser, batches = torch.optim.Adam(head.parameters(), lr=rate), shuffled(train, 16, generator)
    for step in range(1, 41):
        clips = next(batches)
        optimiser.zero_grad()
        cross_entropy(head([frames[clip] for clip in clips.tolist()]), targets.wanted[clips, 0]).backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()
        if step not in (1, 5, 40):
            continue
        training = Training(rates=(rate,), steps=step, batch=16, seeds=(3,))
        ours = fit_heads(means(frames), targets, Fold(train, NONE, heard), SMALL, training)
        scores = ours.scores(means(frames)[heard])[0]
        expected = head([frames[clip] for clip in heard.tolist()]).detach()
        torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)
        losses = [cross_entropy(each, targets.wanted[heard, 0]) for each in (scores, expected)]
        torch.testing.assert_close(*losses, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.state["layers"][0], head.layers.detach(), atol=1e-5, rtol=1e-5)
        for name, linear in (("inner", head.inner), ("output", head.output)):
            torch.testing.assert_close(ours.state[f"{name}.weight"][0].T, linear.weight.detach(), atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(ours.state[f"{name}.bias"][0, 0], linear.bias.detach(), atol=1e-5, rtol=1e-5)


def test_an_mlp_has_one_hidden_layer() -> None:
    features, targets, fold = task()
    fitted = fit_heads(features, targets, fold, HeadSettings("mlp", hidden=7, dropout=0.3), FAST)
    state = {name: value[0] for name, value in fitted.state.items()}
    mixed = (state["layers"].softmax(0)[:, None] * features).sum(1)
    hidden = (mixed @ state["inner.weight"] + state["inner.bias"]).relu()
    assert hidden.shape == (60, 7)
    expected = hidden @ state["output.weight"] + state["output.bias"]
    torch.testing.assert_close(fitted.scores(features)[0], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fitted.embeddings(features)[0], hidden, atol=1e-5, rtol=1e-5)


# One and many -------------------------------------------------------------------------------------------------------


def test_a_head_is_the_same_alone_and_among_others() -> None:
    """Other rates and seeds change nothing; nor does dropout or mixup, whose chances are the seed's."""
    features, targets, fold = task()
    shape, training = HeadSettings("mlp", hidden=6, dropout=0.2), replace(FAST, mixup=0.7, warmup=5)
    many = fit_heads(features, targets, fold, shape, replace(training, rates=RATES, seeds=(0, 5)))
    for seed in (0, 5):
        looks = [check for check in many.curve if check.seed == seed]
        for rate in (RATES[2], RATES[9]):
            alone = fit_heads(features, targets, fold, shape, replace(training, rates=(rate,), seeds=(seed,)))
            assert [*alone.curve] == [check for check in looks if check.rate == rate]


def test_the_same_seed_gives_the_same_heads_to_the_last_bit() -> None:
    features, targets, fold = task()
    first, second = (fit_heads(features, targets, fold, SMALL, replace(FAST, seeds=(1, 2))) for _ in range(2))
    assert (first.curve, first.rates) == (second.curve, second.rates)
    for name, value in first.state.items():
        assert torch.equal(value, second.state[name])
    assert not torch.equal(first.state["inner.weight"][0], first.state["inner.weight"][1])


def test_test_clips_change_nothing() -> None:
    features, targets, fold = task()
    other = features.clone()
    other[fold.test] = 7.0
    first, second = (fit_heads(each, targets, fold, SMALL, FAST) for each in (features, other))
    assert first.curve == second.curve
    assert torch.equal(first.state["inner.weight"], second.state["inner.weight"])


def test_accumulated_batches_are_one_large_batch() -> None:
    features, targets, fold = task()
    large = fit_heads(features, targets, fold, SMALL, replace(FAST, batch=12))
    small = fit_heads(features, targets, fold, SMALL, replace(FAST, batch=4, accumulate=3))
    assert torch.equal(large.state["output.weight"], small.state["output.weight"])


# The choice ---------------------------------------------------------------------------------------------------------


def test_validation_chooses_rate_and_step_and_the_whole_curve_is_kept() -> None:
    features, targets, fold = task(count=120)
    training = Training(rates=(1e-6, 1e-2, 1e-5), steps=150, checks=6, seeds=(0, 1))
    fitted = fit_heads(features, targets, fold, SMALL, training)
    assert fitted.rates == (1e-2, 1e-2)
    assert len(fitted.curve) == 3 * 6 * 2
    assert sorted({check.step for check in fitted.curve}) == [25, 50, 75, 100, 125, 150]
    assert len(fitted.sweep) == 3 * 2
    for seed, value in enumerate(accuracy(fitted, features, targets, fold.valid)):
        best = max(check.valid or 0 for check in fitted.curve if check.seed == seed)
        assert value == best
    assert min(accuracy(fitted, features, targets, fold.test)) > 80
    assert fitted.layer_weights.shape == (2, LAYERS)
    torch.testing.assert_close(fitted.layer_weights.sum(1), torch.ones(2))
    assert fitted.layer_weights.argmax(1).tolist() == [1, 1]


def test_ties_go_to_the_earlier_look_then_to_the_earlier_rate() -> None:
    features, targets, fold = task(count=120)
    features[:, 1, :CLASSES] += 50 * targets.dense  # so easy that every look is at 100 %
    fitted = fit_heads(features, targets, fold, SMALL, Training(rates=(3e-2, 2e-2, 1e-2), steps=90, checks=3))
    assert {check.valid for check in fitted.curve} == {100.0}
    assert fitted.rates == (3e-2,)
    assert [check.step for check in fitted.sweep] == [30, 30, 30]
    first = fit_heads(features, targets, fold, SMALL, Training(rates=(3e-2,), steps=30, checks=1))
    torch.testing.assert_close(fitted.state["inner.weight"], first.state["inner.weight"])


def test_a_sweep_is_the_best_look_of_each_rate() -> None:
    checks = [
        SweepPoint(seed=0, rate=rate, step=step, valid=valid)
        for rate, values in ((0.1, (5.0, None, 3.0)), (0.2, (None, 4.0, 4.0)), (0.3, (None, None, None)))
        for step, valid in enumerate(values, 1)
    ]
    best = {check.rate: (check.step, check.valid) for check in sweep(checks, METRICS["accuracy"])}
    assert best == {0.1: (1, 5.0), 0.2: (2, 4.0), 0.3: (1, None)}
    best = {check.rate: (check.step, check.valid) for check in sweep(checks, METRICS["wer"])}
    assert best == {0.1: (3, 3.0), 0.2: (2, 4.0), 0.3: (1, None)}


def test_without_validation_clips_the_last_step_is_taken() -> None:
    features, targets, fold = task()
    alone = Fold(fold.train, NONE, fold.test)
    fitted = fit_heads(features, targets, alone, SMALL, replace(FAST, rates=(1e-2,)))
    watched = fit_heads(features, targets, fold, SMALL, replace(FAST, rates=(1e-2,), checks=1))
    assert torch.equal(fitted.state["inner.weight"], watched.state["inner.weight"])
    assert fitted.curve == (SweepPoint(seed=0, rate=1e-2, step=FAST.steps, valid=None),)
    with pytest.raises(InputError, match="2 learning rates and no validation clips to choose by"):
        fit_heads(features, targets, alone, SMALL, replace(FAST, rates=(1e-2, 1e-3)))


def test_heads_that_diverge_are_left_out() -> None:
    features, targets, fold = task()
    fitted = fit_heads(features, targets, fold, SMALL, replace(FAST, rates=(1e38, 1e-2)))
    assert fitted.rates == (1e-2,)
    assert {check.valid for check in fitted.curve if check.rate == 1e38} == {None}
    with pytest.raises(InputError, match=r"every head diverged \(learning rates 1e\+38\)"):
        fit_heads(features, targets, fold, SMALL, replace(FAST, rates=(1e38,)))
    with pytest.raises(InputError, match="every head diverged"):
        fit_heads(features, targets, Fold(fold.train, NONE, NONE), SMALL, replace(FAST, rates=(1e38,)))


# Balance ------------------------------------------------------------------------------------------------------------


def test_balance_draws_classes_equally_often() -> None:
    targets = encode_clips("classification", ["a"] * 90 + ["b"] * 10)
    features = torch.zeros(100, 1, 2)
    fold = Fold(torch.arange(100), NONE, NONE)
    one = replace(FAST, rates=(1e-2,), steps=200)
    odds = {
        balanced: fit_heads(features, targets, fold, HeadSettings(projection=None), replace(one, balanced=balanced))
        .scores(features[:1])[0, 0]
        .softmax(-1)[1]
        for balanced in (False, True)
    }
    assert odds[False] < 0.3
    assert odds[True] == pytest.approx(0.5, abs=0.1)
    slots = encode_clips("slots", [("a", "b")] * 5 + [("b", "a")] * 95)
    with pytest.raises(InputError, match="only a task of one class for each clip"):
        fit_heads(features, slots, fold, SMALL, replace(one, balanced=True))


# Kinds and settings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["slots", "tagging", "regression", "key"])
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_every_kind_is_learned(kind: Kind, head: Any) -> None:
    frames, labels = drawn(4, 160)
    numbers = [int(label[1]) for label in labels]
    made: dict[str, list[Any]] = {
        "slots": [(f"x{number}", f"y{number // 2}") for number in numbers],
        "tagging": [tuple(f"t{number}" for _ in range(number != 2)) for number in numbers],
        "regression": [(100 + number, float(number == 1)) for number in numbers],
        "key": [("C major", "G major", "A minor")[number] for number in numbers],
    }
    targets = encode_clips(kind, made[kind])
    fold = Fold(torch.arange(80), torch.arange(80, 120), torch.arange(120, 160))
    training = Training(rates=(1e-2, 3e-2), steps=150, checks=3, batch=16)
    fitted = fit_heads(means(frames), targets, fold, replace(SMALL, kind=head, hidden=16), training)
    metric = METRICS[DEFAULTS[kind][0]]
    value = metric.value(made[kind][120:], targets.decode(fitted.scores(means(frames)[120:])[0]))
    assert value > {"slots": 85, "tagging": 0.95, "regression": 0.6, "key": 85}[kind]


def test_verification_compares_pairs() -> None:
    """Speakers of the validation clips are in no training clip; their pairs choose."""
    generator = torch.Generator().manual_seed(0)
    speakers = torch.arange(240) // 12
    voices = torch.randn(20, LAYERS, 4, generator=generator) @ torch.randn(4, WIDTH, generator=generator)
    channel = torch.randn(240, 1, 1, generator=generator) * 4 * torch.randn(WIDTH, generator=generator)
    features = voices[speakers] + channel + 0.7 * torch.randn(240, LAYERS, WIDTH, generator=generator)
    labels = [f"s{speaker}" for speaker in speakers.tolist()]
    fold = Fold(torch.arange(144), torch.arange(144, 192), torch.arange(192, 240))
    targets = encode_clips("verification", labels, fold.train)
    fitted = fit_heads(features, targets, fold, SMALL, Training(rates=(1e-3, 1e-2), steps=200, checks=4))
    trials = [(a, b, labels[192 + a] == labels[192 + b]) for a in range(48) for b in range(a)]
    right = [same for _, _, same in trials]
    learned = METRICS["eer"].value(right, trial_scores(fitted.embeddings(features[192:])[0], trials))
    plain = METRICS["eer"].value(right, trial_scores(features[192:].mean(1), trials))
    assert learned < 0.7 * plain
    values = [check.valid for check in fitted.sweep]
    assert fitted.rates == ((1e-3, 1e-2)[values.index(min(values))],)
    with pytest.raises(InputError, match="expected two clips of one speaker and two of different ones"):
        fit_heads(features, targets, Fold(fold.train, torch.tensor([144, 156]), NONE), SMALL, FAST)


def test_layers_can_be_chosen() -> None:
    features, targets, fold = task()
    for layers, number in (("last", 2), (1, 1)):
        fitted = fit_heads(features, targets, fold, replace(SMALL, layers=layers), FAST)
        same = fit_heads(features[:, [number]], targets, fold, SMALL, FAST)
        assert fitted.layer_weights.tolist() == [[1.0]]
        torch.testing.assert_close(fitted.scores(features), same.scores(features[:, [number]]))
    with pytest.raises(InputError, match="layers = 3: expected 'weighted', 'last' or a number from 0 to 2"):
        fit_heads(features, targets, fold, replace(SMALL, layers=3), FAST)


def test_a_head_without_projection_is_one_linear_layer() -> None:
    features, targets, fold = task()
    fitted = fit_heads(features, targets, fold, HeadSettings(projection=None), FAST)
    assert {*fitted.state} == {"layers", "output.weight", "output.bias"}
    assert fitted.embeddings(features).shape == (1, 60, WIDTH)


def test_features_that_are_not_finite_are_refused() -> None:
    features, targets, fold = task()
    features[4, 0, 0], features[9, 1, 1] = float("nan"), float("inf")
    with pytest.raises(InputError, match="features of 2 of 60 clips hold NaN or Inf, those of clip 4 first"):
        fit_heads(features, targets, fold, SMALL, FAST)
    with pytest.raises(InputError, match="head blstm: expected linear or mlp"):
        fit_heads(features, targets, fold, HeadSettings("blstm"), FAST)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rates": ()}, "at least one learning rate"),
        ({"rates": (1e-3, -1.0)}, "each above 0"),
        ({"steps": 0}, "steps = 0: expected at least 1"),
        ({"batch": 0}, "batch = 0"),
        ({"checks": 0}, "checks = 0"),
        ({"accumulate": 0}, "accumulate = 0"),
        ({"seeds": ()}, "seeds: expected at least one"),
        ({"warmup": 1000}, "warmup = 1000: expected 0 or more, and less than the 1000 steps"),
        ({"mixup": -1.0}, "mixup = -1.0"),
    ],
)
def test_settings_out_of_range(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Training(**changed)
