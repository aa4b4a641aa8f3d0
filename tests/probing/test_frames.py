"""Heads over frames: against torch's modules, nothing bent by padding or memory, text and beats found again."""

from dataclasses import dataclass, replace
from itertools import islice
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import ctc_loss

from crossfade.errors import InputError
from crossfade.probing import frames as frames_module
from crossfade.probing.frames import Blstm, Linear, Recurrent, bucketed, fit_frames
from crossfade.probing.heads import HeadSettings, fresh, stacked
from crossfade.probing.kinds import FrameTargets, Text, encode_frames
from crossfade.probing.metrics import METRICS
from crossfade.probing.schema import Fold, Kind
from crossfade.probing.training import Training

LAYERS, WIDTH, RATE = 2, 6, 10.0
NONE = torch.tensor([], dtype=torch.int64)
LINEAR = HeadSettings("frame", projection=5)
BLSTM = HeadSettings("blstm", projection=5, hidden=4, depth=2, dropout=0.2)
FAST = Training(rates=(1e-2,), steps=6, batch=3, checks=2)


@dataclass(frozen=True)
class Held:
    """Frames in memory."""

    clips: list[Tensor]

    def frames(self, index: int) -> Tensor:
        return self.clips[index]


def spoken(count: int, seed: int = 0) -> tuple[Held, list[str]]:
    """Clips (layers, frames, width) float16 of letters, which layer 1 tells apart, and the letters."""
    generator = torch.Generator().manual_seed(seed)
    clips, texts = [], []
    for _ in range(count):
        letters = torch.randint(3, (int(torch.randint(1, 5, (1,), generator=generator)),), generator=generator)
        frames = torch.tensor([number for letter in letters.tolist() for number in (3, letter, letter)] + [3])
        clip = 0.3 * torch.randn(LAYERS, len(frames), WIDTH, generator=generator)
        clip[1] += 2 * nn.functional.one_hot(frames, WIDTH)
        clips.append(clip.half())
        texts.append("".join("abc"[letter] for letter in letters.tolist()))
    return Held(clips), texts


def folds(count: int) -> Fold:
    cut, end = count // 2, 3 * count // 4
    return Fold(torch.arange(cut), torch.arange(cut, end), torch.arange(end, count))


def sound(kind: Kind, count: int = 24) -> tuple[Held, FrameTargets, Fold]:
    held, texts = spoken(count)
    labels: dict[str, list[Any]] = {
        "ctc": texts,
        "frames": [tuple((0.3 * at + 0.1, 0.3 * at + 0.3, letter) for at, letter in enumerate(text)) for text in texts],
        "beat": [tuple(0.3 * at + 0.05 for at in range(len(text) + 1)) for text in texts],
    }
    return held, encode_frames(kind, labels[kind], RATE), folds(count)


def test_a_linear_head_is_torchs_on_padded_frames() -> None:
    """SUPERB's phoneme head with torch's modules, Adam and mean CTC loss over padded batches: weights to 1e-5."""
    held, targets, fold = sound("ctc")
    assert isinstance(targets, Text)
    generator = torch.Generator().manual_seed(0)
    start = fresh(LINEAR, LAYERS, WIDTH, targets.outputs, generator)
    layers, linears = nn.Parameter(start["layers"]), [nn.Linear(WIDTH, 5), nn.Linear(5, targets.outputs)]
    for name, linear in zip(("inner", "output"), linears, strict=True):
        linear.weight.data, linear.bias.data = start[f"{name}.weight"].T.contiguous(), start[f"{name}.bias"][0]
    parameters = [layers, *(value for linear in linears for value in linear.parameters())]
    optimiser = torch.optim.Adam(parameters, lr=1e-2)
    lengths = [held.clips[clip].shape[1] for clip in fold.train.tolist()]
    batches = bucketed(fold.train, lengths, 3, generator)
    for _ in range(6):
        clips = next(batches)
        padded = nn.utils.rnn.pad_sequence([held.clips[clip].float().transpose(0, 1) for clip in clips])
        mixed = (layers.softmax(0)[:, None] * padded).sum(-2)
        scores = linears[1](linears[0](mixed)).log_softmax(-1)
        ids = [targets.ids[clip] for clip in clips]
        sizes = [torch.tensor([len(part) for part in parts]) for parts in ([held.clips[c][0] for c in clips], ids)]
        loss = ctc_loss(scores, nn.utils.rnn.pad_sequence(ids, batch_first=True), *sizes, zero_infinity=True)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
    fitted = fit_frames(held, targets, replace_valid(fold), LINEAR, FAST)
    torch.testing.assert_close(fitted.state["layers"][0], layers.detach(), atol=1e-5, rtol=1e-5)
    for name, linear in zip(("inner", "output"), linears, strict=True):
        torch.testing.assert_close(fitted.state[f"{name}.weight"][0].T, linear.weight.detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "exact"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_a_composed_head_is_the_head(dtype: torch.dtype, exact: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three heads of 16 between and 4 outputs: scores and every gradient, with what lies between and without it."""
    _, targets, _ = sound("ctc")
    generator = torch.Generator().manual_seed(0)
    clips = [torch.randn(LAYERS, frames, WIDTH, generator=generator, dtype=dtype) for frames in (12, 17, 20)]
    settings = replace(LINEAR, projection=16)
    parts = [fresh(settings, LAYERS, WIDTH, targets.outputs, generator) for _ in range(3)]
    stacks = {name: torch.stack([part[name] for part in parts]).to(dtype) for name in parts[0]}
    found, ways = [], [Mock(side_effect=frames_module.composed), Mock(side_effect=dict)]
    for way in ways:
        monkeypatch.setattr(frames_module, "composed", way)
        state = {name: value.clone().requires_grad_() for name, value in stacks.items()}
        scores = Linear(settings, state).scores(clips, None)
        targets.loss(scores, [0, 1, 2]).sum().backward()
        found.append([*scores, *(value.grad for value in state.values())])
    for short, plain in zip(*found, strict=True):
        torch.testing.assert_close(short, plain, atol=exact, rtol=exact)
    assert [way.call_count for way in ways] == [1, 1]


def test_dropout_and_few_frames_go_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    _, targets, _ = sound("ctc")
    way = Mock(side_effect=frames_module.composed)
    monkeypatch.setattr(frames_module, "composed", way)
    generator = torch.Generator().manual_seed(0)
    settings = replace(LINEAR, projection=16, dropout=0.5)
    state = stacked(fresh(settings, LAYERS, WIDTH, targets.outputs, generator), 2, "cpu")
    Linear(settings, state).scores([torch.randn(LAYERS, 50, WIDTH)], generator)
    Linear(settings, state).scores([torch.randn(LAYERS, 2, WIDTH)], None)
    Linear(replace(settings, kind="mlp", hidden=16), state).scores([torch.randn(LAYERS, 50, WIDTH)], None)
    assert not way.called
    Linear(settings, state).scores([torch.randn(LAYERS, 50, WIDTH)], None)
    assert way.called


@pytest.mark.parametrize("head", ["frame", "mlp"])
def test_a_head_that_diverged_is_trained_no_further(head: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its looks end, and the others are as without it."""
    held, targets, fold = sound("ctc")
    settings, many = HeadSettings(head, projection=5, hidden=5), replace(FAST, rates=(1e-3, 1e38, 1e-2), checks=3)
    trained, plain = [], frames_module.Linear.scores

    def scores(self: Linear, *arguments: Any) -> list[Tensor]:
        trained.append(self.heads)
        return plain(self, *arguments)

    monkeypatch.setattr(frames_module.Linear, "scores", scores)
    with_it = fit_frames(held, targets, fold, settings, many)
    assert (trained[0], trained[-1]) == (3, 2)
    without = fit_frames(held, targets, fold, settings, replace(many, rates=(1e-3, 1e-2)))
    assert [(look.step, look.valid) for look in with_it.curve if look.rate == 1e38] == [(2, None)]
    for name, value in without.state.items():
        torch.testing.assert_close(with_it.state[name], value, atol=1e-5, rtol=1e-5)
    assert [look.rate for look in with_it.sweep if look.chosen] == [*with_it.rates] == [*without.rates]


def replace_valid(fold: Fold) -> Fold:
    return Fold(fold.train, NONE, fold.test)


@pytest.mark.parametrize("settings", [LINEAR, BLSTM, replace(LINEAR, kind="mlp", hidden=7)])
def test_what_is_heard_together_changes_nothing(settings: HeadSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of a clip alone, and weights when memory holds one clip at a time (without dropout)."""
    held, targets, fold = sound("ctc")
    settings = replace(settings, dropout=0.0)
    fitted = fit_frames(held, targets, fold, settings, FAST)
    together = fitted.scores(held, [3, 8, 5])[0]
    for clip, scores in zip((3, 8, 5), together, strict=True):
        assert scores.shape == (held.clips[clip].shape[1], targets.outputs)
        torch.testing.assert_close(fitted.scores(held, [clip])[0][0], scores, atol=1e-5, rtol=1e-5)
    monkeypatch.setattr(frames_module, "_PORTION", 1)
    one_by_one = fit_frames(held, targets, fold, settings, FAST)
    for name, value in fitted.state.items():
        torch.testing.assert_close(one_by_one.state[name], value, atol=1e-5, rtol=1e-5)


def test_accumulated_batches_are_averaged() -> None:
    held, targets, fold = sound("ctc")
    fold = Fold(torch.arange(4), NONE, NONE)
    whole = fit_frames(held, targets, fold, LINEAR, replace(FAST, batch=4))
    halves = fit_frames(held, targets, fold, LINEAR, replace(FAST, batch=2, accumulate=2))
    torch.testing.assert_close(halves.state["inner.weight"], whole.state["inner.weight"], atol=1e-5, rtol=1e-5)


def test_the_blstm_is_superbs() -> None:
    """Projection, bidirectional LSTMs with dropout after each, output: packed, so a clip's end is its own."""
    net = Blstm(BLSTM, LAYERS, WIDTH, 4)
    net.reset(torch.Generator().manual_seed(0))
    clips = [torch.randn(LAYERS, frames, WIDTH) for frames in (3, 7)]
    for clip, found in zip(clips, net(clips, None), strict=True):
        rows = net.projection((net.layers.softmax(0)[:, None, None] * clip).sum(0))
        for lstm in net.lstms:
            rows, _ = lstm(rows)
        torch.testing.assert_close(found[0], net.output(rows))
    bounds = {"projection.weight": WIDTH**-0.5, "lstms.0.weight_ih_l0": 0.5, "output.weight": 8**-0.5}
    for name, bound in bounds.items():
        assert bound / 2 < net.get_parameter(name).abs().max() < bound
    first, again, other = (net(clips, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("kind", ["ctc", "frames", "beat"])
@pytest.mark.parametrize("head", ["frame", "mlp", "blstm"])
def test_every_kind_is_learned(kind: Kind, head: Any) -> None:
    held, targets, fold = sound(kind, 48)
    settings = HeadSettings(head, projection=12, hidden=12, depth=1)
    metric = METRICS[{"ctc": "cer", "frames": "frame_accuracy", "beat": "beat_f_untrimmed"}[kind]]
    training = Training(rates=(1e-4, 3e-2), steps=60, batch=8, checks=2, seeds=(0, 1)[: 1 if head == "blstm" else 2])
    fitted = fit_frames(held, targets, fold, settings, training, metric=metric)
    assert {*fitted.rates} == {3e-2}
    assert len(fitted.curve) == 2 * 2 * len(training.seeds)
    assert fitted.layer_weights.shape == (len(training.seeds), LAYERS)
    labels = [targets.labels[clip] for clip in fold.test.tolist()]
    for scores in fitted.scores(held, fold.test.tolist()):
        value = metric.value(labels, [targets.decode(clip) for clip in scores])
        assert value < 15 if metric.better == "lower" else value > 85


@pytest.mark.parametrize("settings", [LINEAR, BLSTM])
def test_a_seed_is_the_same_alone_and_among_others(settings: HeadSettings) -> None:
    held, targets, fold = sound("ctc")
    settings = replace(settings, dropout=0.3)
    many = fit_frames(held, targets, fold, settings, replace(FAST, rates=(1e-4, 1e-2), seeds=(0, 1)))
    again = fit_frames(held, targets, fold, settings, replace(FAST, rates=(1e-4, 1e-2), seeds=(0, 1)))
    assert all(torch.equal(value, again.state[name]) for name, value in many.state.items())
    for seed in (0, 1):
        alone = fit_frames(held, targets, fold, settings, replace(FAST, rates=(many.rates[seed],), seeds=(seed,)))
        for name, value in alone.state.items():
            torch.testing.assert_close(value[0], many.state[name][seed], atol=1e-5, rtol=1e-5)


def test_clips_of_like_length_share_a_batch() -> None:
    clips, lengths = torch.tensor([5, 6, 7, 8, 9]), [30, 10, 20, 11, 29]
    batches = bucketed(clips, lengths, 2, torch.Generator().manual_seed(0))
    for _ in range(3):
        epoch = [*islice(batches, 3)]
        assert sorted(map(sorted, epoch)) == [[5], [6, 8], [7, 9]]


def test_layers_can_be_chosen() -> None:
    held, targets, fold = sound("ctc")
    for layers, number in (("last", 1), (0, 0)):
        fitted = fit_frames(held, targets, fold, replace(LINEAR, layers=layers), FAST)
        same = fit_frames(Held([clip[[number]] for clip in held.clips]), targets, fold, LINEAR, FAST)
        torch.testing.assert_close(fitted.state["inner.weight"], same.state["inner.weight"])


def test_what_cannot_be_learned_is_refused() -> None:
    held, targets, fold = sound("ctc")
    texts = [*targets.labels]
    texts[2] = "aabbcc"
    long = encode_frames("ctc", texts, RATE)
    names = [f"{clip}.wav" for clip in range(24)]
    frames = held.clips[2].shape[1]
    assert frames < 9
    with pytest.raises(
        InputError, match=rf"2\.wav: its transcript of 6 characters needs 9 frames, the clip has {frames}"
    ):
        fit_frames(held, long, fold, LINEAR, FAST, names=names)
    with pytest.raises(InputError, match="mixup and balanced: expected neither"):
        fit_frames(held, targets, fold, LINEAR, replace(FAST, mixup=0.5))
    with pytest.raises(InputError, match="2 learning rates and no validation clips"):
        fit_frames(held, targets, replace_valid(fold), LINEAR, replace(FAST, rates=(1e-2, 1e-3)))
    with pytest.raises(InputError, match="every head diverged"):
        fit_frames(held, targets, fold, LINEAR, replace(FAST, rates=(1e38,)))
    with pytest.raises(InputError, match="every head diverged"):
        fit_frames(held, targets, replace_valid(fold), LINEAR, replace(FAST, rates=(1e38,)))


def test_one_head_at_a_time_is_a_head() -> None:
    """A BLSTM's leaves are its own parameters, so that gradients reach them."""
    net = Blstm(BLSTM, LAYERS, WIDTH, 4)
    model = Recurrent(net)
    assert [id(value) for value in model.parameters] == [id(value) for value in net.parameters()]
    state = model.state(0)
    assert {*state} == {name for name, _ in net.named_parameters()}
    net.layers.data += 1
    assert not torch.equal(state["layers"], net.layers)
