"""What the taps read, which frames are sampled, and the correlations that come of it."""

from itertools import pairwise

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from crossfade.alignment.assignment import assign
from crossfade.alignment.correlation import CONV_SAMPLE, collect_moments, correlation_scores, sample_frames, wanted_taps
from crossfade.alignment.permutations import permute, random_permutations
from crossfade.alignment.taps import Taps
from crossfade.audio.batches import Batch
from crossfade.encoders.encoder import Encoder
from crossfade.encoders.families import POINTS, Tap
from crossfade.encoders.model import build_model, load_model
from crossfade.encoders.sidecars import Preprocessing, normalise

RAW = Preprocessing(do_normalize=False)


def batches(count: int = 6, samples: int = 3000) -> list[Batch]:
    sounds = [tiny.waveform(seed, 2, samples) for seed in range(count)]
    return [Batch(sound, torch.zeros(2, dtype=torch.int64), ("a", "b")) for sound in sounds]


def every_frame(frames: int) -> Tensor:
    return (torch.arange(frames) + 0.5) / frames


def flat(channels_last: Tensor) -> Tensor:
    return channels_last.reshape(-1, channels_last.shape[-1])


def tapped(model: torch.nn.Module, taps: tuple[Tap, ...], sound: Tensor, frames: Tensor) -> dict[Tap, Tensor]:
    with Taps(model, taps) as reading:
        reading.frames = frames
        model(sound)
        return reading.take()


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_every_permutation_has_taps_of_its_size(name: str, encoders) -> None:
    layout = encoders(name, 1).layout
    assert {tap.permutation for tap in layout.taps} == layout.permutations.keys()
    seen = tapped(load_model(encoders(name, 1)), layout.taps, tiny.waveform(), every_frame(7))
    assert set(seen) == set(layout.taps)
    for tap, activations in seen.items():
        assert activations.shape == (2 * 7, layout.permutations[tap.permutation].size)


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_a_tapped_channel_moves_as_its_permutation_says(name: str, encoders) -> None:
    encoder = encoders(name, 1)
    moved = random_permutations(encoder.layout, POINTS, torch.Generator().manual_seed(1))
    tensors = {n: permute(encoder.read(n), spec, moved) for n, spec in encoder.layout.tensors.items()}
    models = load_model(encoder), build_model(encoder, tensors)
    ours, theirs = (tapped(m, encoder.layout.taps, tiny.waveform(), every_frame(9)) for m in models)
    for tap in encoder.layout.taps:
        torch.testing.assert_close(ours[tap][:, moved[tap.permutation]], theirs[tap], atol=2e-5, rtol=1e-4)


def test_taps_read_the_named_places(encoders) -> None:
    encoder = encoders("hubert", 1)
    model, sound = load_model(encoder), tiny.waveform()
    hidden = model(sound, output_hidden_states=True).hidden_states
    at = {(t.permutation, t.module.rpartition(".")[2]): t for t in encoder.layout.taps if t.permutation != "residual"}
    stream = [tap for tap in encoder.layout.taps if tap.permutation == "residual"]
    seen = tapped(model, encoder.layout.taps, sound, every_frame(hidden[0].shape[1]))
    for layer, tap in enumerate(stream):
        torch.testing.assert_close(seen[tap], flat(hidden[layer + 1]))
    attention = model.encoder.layers[1].attention
    torch.testing.assert_close(seen[at["qk.1", "q_proj"]], flat(attention.q_proj(hidden[1])))
    torch.testing.assert_close(seen[at["qk.1", "k_proj"]], flat(attention.k_proj(hidden[1])))
    torch.testing.assert_close(attention.out_proj(seen[at["vo.1", "out_proj"]]), flat(attention(hidden[1])[0]))
    cnn = model.feature_extractor(sound).transpose(1, 2)
    torch.testing.assert_close(seen[at["conv.2", "2"]], flat(cnn))
    layer = model.encoder.layers[2]
    summed = layer.layer_norm(hidden[2] + layer.attention(hidden[2])[0])
    fed = layer.feed_forward.intermediate_act_fn(layer.feed_forward.intermediate_dense(summed))
    torch.testing.assert_close(seen[at["ff.2", "output_dense"]], flat(fed))


def test_taps_leave_the_model_as_it_was(encoders) -> None:
    model = load_model(encoders("hubert", 1))
    taps = Taps(model, encoders("hubert", 1).layout.taps)
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()) == len(taps.taps)
    with taps, pytest.raises(RuntimeError, match=r"nothing flowed through feature_extractor\.conv_layers\.0"):
        taps.take()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("share", [1.0, 0.5, 0.25, 1e-9])
def test_one_frame_is_drawn_of_every_stretch(share: float, encoders) -> None:
    layout = encoders("hubert", 1).layout
    samples = layout.receptive_field + 79 * layout.stride
    drawn = sample_frames(samples, layout, share, torch.Generator().manual_seed(0))
    assert len(drawn) == max(1, round(80 * share))
    assert torch.equal((drawn * len(drawn)).long(), torch.arange(len(drawn)))
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert torch.equal(drawn, sample_frames(samples, layout, share, torch.Generator().manual_seed(0)))


def test_the_shortest_clip_gives_one_frame(encoders) -> None:
    layout = encoders("hubert", 1).layout
    assert len(sample_frames(layout.receptive_field, layout, 0.25, torch.Generator())) == 1


@pytest.mark.parametrize(
    ("points", "names"),
    [
        (("conv",), {"conv.0", "conv.1", "conv.2", "pos.0", "pos.1"}),
        (("feed_forward",), {"ff.0", "ff.1", "ff.2"}),
        (("attention",), {"qk.0", "qk.1", "qk.2", "vo.0", "vo.1", "vo.2"}),
        (("residual",), {"residual", "pos.0", "pos.1"}),  # their groups move with the stream's
    ],
)
def test_only_what_may_move_is_listened_to(points: tuple[str, ...], names: set[str], encoders) -> None:
    taps = wanted_taps(encoders("data2vec-audio", 1).layout, points)
    assert {tap.permutation for tap in taps} == names


def heard(encoders: tuple[Encoder, Encoder], preprocessing: tuple[Preprocessing, Preprocessing], **options):
    models, layout = tuple(load_model(encoder) for encoder in encoders), encoders[0].layout
    return collect_moments(models, preprocessing, layout, layout.taps, batches(), **options)


def test_scores_are_numpy_s_correlations(encoders) -> None:
    pair = encoders("hubert", 1), encoders("hubert", 2)
    moments = heard(pair, (RAW, RAW), share=1.0, seed=4)
    generator = torch.Generator().manual_seed(4)
    kept: list[dict[Tap, list[Tensor]]] = [{tap: [] for tap in pair[0].layout.taps} for _ in pair]
    for batch in batches():
        frames = sample_frames(3000, pair[0].layout, 1.0, generator)
        for encoder, into in zip(pair, kept, strict=True):
            for tap, rows in tapped(load_model(encoder), encoder.layout.taps, batch.samples, frames).items():
                into[tap].append(rows)
    correlations: dict[str, list[np.ndarray]] = {}
    for tap in pair[0].layout.taps:
        a, b = (torch.cat(into[tap]).double().numpy() for into in kept)
        assert moments[tap].frames == len(a)
        correlations.setdefault(tap.permutation, []).append(np.corrcoef(a.T, b.T)[: a.shape[1], a.shape[1] :])
    scores = correlation_scores(moments)
    assert scores.keys() == correlations.keys()
    assert len(correlations["qk.0"]) == 2
    assert len(correlations["residual"]) == 3
    for name, score in scores.items():
        np.testing.assert_allclose(score, np.mean(correlations[name], 0), atol=1e-4)


def test_each_model_hears_what_it_expects(encoders) -> None:
    encoder = encoders("hubert-stable", 1)
    normalised = [normalise(b.samples, Preprocessing()) for b in batches()]
    again = [Batch(sound, b.source, b.names) for sound, b in zip(normalised, batches(), strict=True)]
    models = load_model(encoder), load_model(encoder)
    taps = encoder.layout.taps
    same = collect_moments(models, (RAW, Preprocessing()), encoder.layout, taps, again, share=1.0)
    differing = heard((encoder, encoder), (RAW, Preprocessing()), share=1.0)
    means = [np.mean([float(s.diagonal().mean()) for s in correlation_scores(m).values()]) for m in (same, differing)]
    assert means[0] == pytest.approx(1.0, abs=1e-4)
    assert means[1] < 0.9999


def test_a_scramble_correlates_fully_with_its_origin(encoders) -> None:
    encoder = encoders("wavlm", 1)
    moved = random_permutations(encoder.layout, POINTS, torch.Generator().manual_seed(6))
    tensors = {n: permute(encoder.read(n), spec, moved) for n, spec in encoder.layout.tensors.items()}
    models = build_model(encoder, tensors), load_model(encoder)
    scores = correlation_scores(collect_moments(models, (RAW, RAW), encoder.layout, encoder.layout.taps, batches()))
    for name, index in assign(scores, encoder.layout, POINTS).items():
        assert torch.equal(index, moved[name])
        torch.testing.assert_close(
            scores[name][torch.arange(len(index)), index], torch.ones(len(index)), atol=1e-4, rtol=0, check_dtype=False
        )


def test_a_sample_of_frames_assigns_as_well_as_all(encoders) -> None:
    pair = encoders("hubert", 1), encoders("hubert", 2)
    every, some = (correlation_scores(heard(pair, (RAW, RAW), share=share)) for share in (1.0, 0.25))
    layout = pair[0].layout
    reached = [
        sum(float(every[n][torch.arange(len(i)), i].sum()) for n, i in assign(scores, layout, POINTS).items())
        for scores in (some, every)
    ]
    assert reached[0] / reached[1] > 0.9


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_convolutions_give_more_of_their_frames(share: float, encoders) -> None:
    pair = encoders("data2vec-audio", 1), encoders("data2vec-audio", 2)
    layout = pair[0].layout
    frames, clips = (3000 - layout.receptive_field) // layout.stride + 1, 2 * len(batches())
    for tap, moment in heard(pair, (RAW, RAW), share=share).items():
        part = min(1.0, CONV_SAMPLE * share) if layout.permutations[tap.permutation].point == "conv" else share
        assert moment.frames == clips * round(frames * part)


def test_frames_are_drawn_by_the_seed(encoders) -> None:
    pair = encoders("hubert-student", 1), encoders("hubert-student", 2)
    runs = [correlation_scores(heard(pair, (RAW, RAW), seed=seed)) for seed in (0, 0, 1)]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert not all(torch.equal(a[name], b[name]) for a, b in pairwise(runs[1:]) for name in a)
