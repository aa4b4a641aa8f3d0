"""Fitting a merged encoder layer by layer, on tiny models of every kind."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor, nn

from crossfade.encoders.encoder import Encoder, open_encoder
from crossfade.encoders.model import build_model, load_model
from crossfade.errors import InputError
from crossfade.merging.engine import Inputs, merged_tensors
from crossfade.merging.layerwise import CONV_FRAMES, Clips, Listening, as_linear, draw_clips, fit_layers, reach
from crossfade.merging.methods import METHODS
from crossfade.merging.regression import Solver, regression, rescale
from crossfade.merging.shares import Shares
from crossfade.merging.statistics import InputStatistics, fit_at_once, hear
from crossfade.progress import SILENT

Pairs = Callable[[str], tuple[Path, Path]]
FAMILIES = [
    "hubert",
    "hubert-student",
    "hubert-batch-norm",
    "wav2vec2-stable",
    "wavlm",
    "wavlm-stable",
    "data2vec-audio",
]
CPU = torch.device("cpu")


def opened(pair: tuple[Path, Path]) -> tuple[Encoder, Encoder]:
    return open_encoder(pair[0]), open_encoder(pair[1])


def weights(encoder: Encoder) -> dict[str, Tensor]:
    return {name: encoder.read(name) for name in encoder.layout.tensors}


def averaged(a: Encoder, b: Encoder, share: float = 0.5) -> nn.Module:
    """The linear merge in memory."""
    tensors = dict(merged_tensors(Inputs(a, b), {}, Shares(share), METHODS["linear"], {}, 0))
    return build_model(a, tensors)


def waves(seed: int = 0, clips: int = 3) -> list[Clips]:
    """Clips of both domains: the same noise, but for pitch and colour."""
    speech, music = tiny.waveform(seed, clips, 3000), tiny.waveform(seed + 50, clips, 3000).cumsum(1)
    return [Clips(domain, wave, wave) for domain, wave in enumerate((speech, music / music.std()))]


def fit(
    a: Encoder, b: Encoder, merged: nn.Module, solver: Solver = regression, share: float = 0.5, **way: bool
) -> None:
    fit_layers((load_model(a), load_model(b)), merged, a.layout, waves(), Shares(share), solver, SILENT, **way)


def fitted_at_once(a: Encoder, b: Encoder, solver: Solver = regression, share: float = 0.5) -> nn.Module:
    """The same from statistics of the inputs."""
    parents = load_model(a), load_model(b)
    tensors = dict(merged_tensors(Inputs(a, b), {}, Shares(share), METHODS["linear"], {}, 0))
    heard = InputStatistics(*hear(parents, a.layout, waves(), True, SILENT), {}, ())
    fit_at_once(tensors, tuple(map(weights, (a, b))), heard, Shares(share), solver, SILENT)
    return build_model(a, tensors)


def error(merged: nn.Module, parents: tuple[nn.Module, nn.Module], clips: list[Clips]) -> list[float]:
    """Relative squared error of the hidden states of all layers, domain by domain."""
    errors = []
    for clip in clips:
        wanted = parents[clip.domain](clip.parent, output_hidden_states=True).hidden_states
        found = merged(clip.merged, output_hidden_states=True).hidden_states
        rows = [(x - y).square().mean() / y.var() for x, y in zip(found, wanted, strict=True)]
        errors.append(float(torch.stack(rows).mean()))
    return errors


@pytest.mark.parametrize(("name", "solver"), [*((name, regression) for name in FAMILIES), ("hubert", rescale)])
def test_a_model_merged_with_itself_stays(pair: Pairs, name: str, solver: Solver) -> None:
    a, _ = opened(pair(name))
    merged = averaged(a, a)
    before = {key: value.clone() for key, value in merged.state_dict().items()}
    fit(a, a, merged, solver)
    for key, value in merged.state_dict().items():
        torch.testing.assert_close(value, before[key], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_at_once_a_model_merged_with_itself_stays_to_the_last_bit(pair: Pairs, name: str) -> None:
    a, _ = opened(pair(name))
    for key, value in fitted_at_once(a, a).state_dict().items():
        assert torch.equal(value, load_model(a).state_dict()[key]), key


@pytest.mark.parametrize("name", FAMILIES)
def test_regression_is_closer_to_both_parents_on_sound_it_never_heard(pair: Pairs, name: str) -> None:
    a, b = opened(pair(name))
    parents = load_model(a), load_model(b)
    plain, climbed = averaged(a, b), averaged(a, b)
    solver = partial(regression, ridge=0.01)
    fit(a, b, climbed, solver)
    errors = [error(model, parents, waves(seed=7)) for model in (plain, fitted_at_once(a, b, solver), climbed)]
    for domain in (0, 1):
        assert errors[2][domain] < 0.5 * errors[0][domain]
        assert errors[2][domain] < 0.75 * errors[1][domain]
    assert sum(errors[1]) < 0.8 * sum(errors[0])


def test_the_weight_says_whose_sound_matters(pair: Pairs) -> None:
    a, b = opened(pair("hubert-student"))
    errors = []
    for share in (0.1, 0.5, 0.9):
        merged = averaged(a, b)
        fit(a, b, merged, share=share)
        errors.append(error(merged, (load_model(a), load_model(b)), waves()))
    assert errors[0][0] > errors[1][0] > errors[2][0]
    assert errors[0][1] < errors[1][1] < errors[2][1]


def test_a_domain_that_is_heard_more_counts_no_more(pair: Pairs) -> None:
    a, b = opened(pair("hubert-student"))
    fitted = []
    for times in (1, 3):
        merged = averaged(a, b)
        speech, music = waves()
        clips = [*(replace(speech) for _ in range(times)), music]
        fit_layers((load_model(a), load_model(b)), merged, a.layout, clips, Shares(0.5), regression, SILENT)
        fitted.append(merged.state_dict())
    for key, value in fitted[0].items():
        torch.testing.assert_close(fitted[1][key], value, atol=1e-4, rtol=1e-4)


def test_all_for_the_reference_leaves_the_reference(pair: Pairs) -> None:
    a, b = opened(pair("hubert"))
    merged = averaged(a, b, share=1.0)
    fit(a, b, merged, share=1.0)
    for key, value in load_model(a).state_dict().items():
        torch.testing.assert_close(merged.state_dict()[key], value, atol=1e-6, rtol=0)


def test_only_linear_layers_and_convolutions_change(pair: Pairs) -> None:
    a, b = opened(pair("wavlm"))
    changed = {}
    for convolutions in (True, False):
        merged = averaged(a, b)
        before = {key: value.clone() for key, value in merged.state_dict().items()}
        fit(a, b, merged, convolutions=convolutions)
        changed[convolutions] = {
            key for key, value in merged.state_dict().items() if not torch.equal(value, before[key])
        }
    fitted = ("_proj.", "_dense.", "projection.projection.")
    assert changed[False] == {key for key in before if any(part in key for part in fitted)}
    assert changed[True] - changed[False] == {f"feature_extractor.conv_layers.{i}.conv.weight" for i in range(3)}


@pytest.mark.parametrize("sequential", [True, False])
def test_the_first_layer_is_least_squares_on_both_domains(pair: Pairs, sequential: bool) -> None:
    """The first layer receives the same from everyone, so that both ways must give the one solution."""
    a, b = opened(pair("hubert"))
    parents, merged = (load_model(a), load_model(b)), averaged(a, b, share=0.3)
    start = merged.feature_extractor.conv_layers[0].conv.weight.flatten(1).clone()
    solver = partial(regression, ridge=1e-6)
    if sequential:
        fit(a, b, merged, solver, share=0.3)
    else:
        merged = fitted_at_once(a, b, solver, share=0.3)
    gram, cross = 0.0, 0.0
    for clip, share in zip(waves(), (0.3, 0.7), strict=True):
        x = clip.parent.unfold(1, 10, 5).flatten(0, 1).double()
        y = x @ parents[clip.domain].feature_extractor.conv_layers[0].conv.weight.flatten(1).double().T
        gram, cross = gram + share * x.T @ x / len(x), cross + share * x.T @ y / len(x)
    pull = 1e-6 * gram.diagonal().mean() * torch.eye(10).double()
    expected = torch.linalg.solve(gram + pull, cross + pull @ start.T.double()).T
    found = merged.feature_extractor.conv_layers[0].conv.weight.flatten(1)
    torch.testing.assert_close(found, expected.float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("into", "kernel", "stride", "samples"), [(1, 10, 5, 250), (5, 3, 2, 61), (4, 2, 2, 900)])
def test_a_convolution_is_a_linear_layer(into: int, kernel: int, stride: int, samples: int, bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    convolution = nn.Conv1d(into, 7, kernel, stride, bias=bias).requires_grad_(False)
    sound = torch.randn(3, into, samples, generator=generator)
    output = convolution(sound)
    inputs, wanted, stands_for = as_linear(convolution, sound, output)
    offset = convolution.bias if bias else 0.0
    torch.testing.assert_close(inputs @ convolution.weight.flatten(1).T + offset, wanted, atol=1e-5, rtol=1e-5)
    positions = (samples - kernel) // stride + 1
    assert len(inputs) == 3 * min(positions, CONV_FRAMES)
    assert len(inputs) * stands_for == pytest.approx(3 * positions)
    if positions <= CONV_FRAMES:
        assert torch.equal(wanted, output.transpose(1, 2).flatten(0, 1))


def test_a_linear_layer_is_itself() -> None:
    x, y = torch.randn(2, 5, 3), torch.randn(2, 5, 4)
    inputs, wanted, stands_for = as_linear(nn.Linear(3, 4), x, y)
    assert torch.equal(inputs, x.view(10, 3))
    assert torch.equal(wanted, y.view(10, 4))
    assert stands_for == 1.0


def test_reach_stops_when_it_has_seen_enough() -> None:
    seen: list[str] = []

    class Stage(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, x: Tensor) -> Tensor:
            seen.append(self.name)
            return x + 1

    stages = nn.Sequential(*map(Stage, "abc"))
    flows = reach(lambda: stages(torch.zeros(2)), [stages[1], stages[0]])
    assert [(x.tolist(), y.tolist()) for x, y in flows] == [([1, 1], [2, 2]), ([0, 0], [1, 1])]
    assert seen == ["a", "b"]
    assert not any(stage._forward_hooks for stage in stages)
    with pytest.raises(RuntimeError, match="nothing flowed through a module"):
        reach(lambda: stages[0](torch.zeros(2)), [stages[1]])
    assert not stages[1]._forward_hooks


def listening(reference: list[Any], other: list[Any], **changes: Any) -> Listening:
    return Listening(
        **({"clips": None, "seconds": 5.0, "seed": 0, "device": CPU} | changes), reference=reference, other=other
    )


@pytest.mark.parametrize(
    ("reference", "other", "message"),
    [
        ([], ["x"], "method regression needs --reference-audio: clips of what REFERENCE is for; received none"),
        (["x"], [], "method regression needs --other-audio: clips of what OTHER is for; received none"),
        ([], [], "method regression needs --reference-audio"),
    ],
)
def test_both_domains_must_be_heard(reference: list[str], other: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        listening(reference, other).require("method regression")


def test_clips_are_normalised_as_each_model_expects(tmp_path: Path, sounds: tuple[Path, Path]) -> None:
    a = open_encoder(tiny.folder(tmp_path / "a", "hubert", 1))
    b = open_encoder(tiny.folder(tmp_path / "b", "hubert", 2, preprocessor={"do_normalize": False}))
    clips = draw_clips(a, b, listening([sounds[0]], [sounds[1]], clips=3))
    assert [sum(len(clip.parent) for clip in clips if clip.domain == domain) for domain in (0, 1)] == [3, 3]
    for clip in clips:
        assert clip.merged.shape == clip.parent.shape
        torch.testing.assert_close(clip.merged.std(1, correction=0), torch.ones(len(clip.merged)))
        assert torch.equal(clip.parent, clip.merged) == (clip.domain == 0)
    assert all(float(clip.parent.abs().max()) <= 0.31 for clip in clips if clip.domain == 1)


def test_a_silent_domain_is_told(tmp_path: Path, pair: Pairs, sounds: tuple[Path, Path]) -> None:
    import soundfile

    soundfile.write(tmp_path / "silence.wav", torch.zeros(8000).numpy(), 16000)
    a, b = opened(pair("hubert"))
    with pytest.raises(InputError, match=r"all 1 clips were skipped \(1 silent\)"):
        draw_clips(a, b, listening([sounds[0]], [tmp_path / "silence.wav"]))
