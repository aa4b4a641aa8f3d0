"""Repair: the merged channels get their parents' mean and deviation back."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from crossfade.encoders.encoder import open_encoder
from crossfade.encoders.model import load_model
from crossfade.errors import InputError
from crossfade.merging import merge
from crossfade.merging.layerwise import STAGES, Clips, Listening, draw_clips

Pairs = Callable[[str], tuple[Path, Path]]
INSIDE = [name for stage in STAGES for name in stage]
SHARE = 0.7


def channels(model: nn.Module, wave: Tensor, names: list[str]) -> dict[str, Tensor]:
    """What every one of the modules returns, (frames, channels)."""
    kept: dict[str, Tensor] = {}
    modules = {name: model.get_submodule(name) for name in names}
    handles = [
        module.register_forward_hook(lambda _, __, y, name=name: kept.update({name: y.flatten(0, -2)}))
        for name, module in modules.items()
    ]
    model(wave)
    for handle in handles:
        handle.remove()
    return kept


def moments(
    models: tuple[nn.Module, nn.Module], clips: list[Clips], names: list[str], *, merged: bool
) -> dict[str, Tensor]:
    """Mean and deviation (2, channels) of each module's outputs, both domains weighted by their share."""
    outputs: list[dict[str, list[Tensor]]] = [{name: [] for name in names} for _ in (0, 1)]
    for clip in clips:
        for name, values in channels(models[clip.domain], clip.merged if merged else clip.parent, names).items():
            outputs[clip.domain][name].append(values)
    found = {}
    for name in names:
        domains = [torch.cat(domain[name]).double() for domain in outputs]
        mean, square = (
            sum(share * values.mean(0) for share, values in zip((SHARE, 1 - SHARE), powers, strict=True))
            for powers in (domains, [values.square() for values in domains])
        )
        found[name] = torch.stack([mean, (square - mean.square()).sqrt()])
    return found


def layers(count: int) -> list[str]:
    return ["feature_projection.projection", *(f"encoder.layers.{i}.{name}" for i in range(count) for name in INSIDE)]


@pytest.mark.parametrize("name", ["hubert", "wavlm-stable", "data2vec-audio"])
def test_every_channel_has_its_parents_mean_and_deviation(
    name: str, pair: Pairs, sounds: tuple[Path, Path], tmp_path: Path
) -> None:
    a, b = pair(name)
    audio = {"reference_audio": sounds[0], "other_audio": sounds[1], "align": "none", "weight": SHARE}
    merge(a, b, tmp_path / "plain", **audio)
    merge(a, b, tmp_path / "repaired", **audio, repair=True)
    reference, other = open_encoder(a), open_encoder(b)
    clips = draw_clips(reference, other, Listening([sounds[0]], [sounds[1]], None, 5.0, 0, torch.device("cpu")))
    names = layers(reference.layout.settings["num_hidden_layers"])
    wanted = moments((load_model(reference), load_model(other)), clips, names, merged=False)
    plain, repaired = (load_model(open_encoder(tmp_path / folder)) for folder in ("plain", "repaired"))
    before, after = (moments((model, model), clips, names, merged=True) for model in (plain, repaired))
    for layer in names:
        torch.testing.assert_close(after[layer], wanted[layer], atol=2e-3, rtol=2e-3)
    assert max(float((before[layer] - wanted[layer]).abs().max()) for layer in names) > 0.5


@pytest.mark.parametrize("method", ["slerp", "regression"])
def test_any_method_can_be_repaired(method: str, pair: Pairs, sounds: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = pair("hubert")
    audio = {"reference_audio": sounds[0], "other_audio": sounds[1], "align": "none", "method": method, "weight": SHARE}
    made = [merge(a, b, tmp_path / str(repair), **audio, repair=repair) for repair in (False, True)]
    assert [merged.recipe["repair"] for merged in made] == [False, True]
    ratios = []
    for key in (name + ".weight" for name in layers(3)):
        before, after = (open_encoder(merged.path).read(key).double() for merged in made)
        ratio = after / before
        torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), atol=1e-3, rtol=1e-3)
        ratios.append(ratio[:, 0])
    assert torch.cat(ratios).min() > 0
    assert (torch.cat(ratios) - 1).abs().max() > 0.1


def test_a_model_merged_with_itself_needs_no_repair(pair: Pairs, sounds: tuple[Path, Path], tmp_path: Path) -> None:
    a, _ = pair("wav2vec2-stable")
    merge(a, a, tmp_path / "m", align="none", repair=True, reference_audio=sounds[0], other_audio=sounds[1])
    original, merged = open_encoder(a), open_encoder(tmp_path / "m")
    for key in original.layout.tensors:
        torch.testing.assert_close(merged.read(key), original.read(key), atol=1e-5, rtol=0)


@pytest.mark.parametrize("missing", ["reference", "other"])
def test_repair_must_hear_both_domains(missing: str, pair: Pairs, sounds: tuple[Path, Path], tmp_path: Path) -> None:
    audio = {"reference_audio": sounds[0], "other_audio": sounds[1]} | {f"{missing}_audio": None}
    with pytest.raises(InputError, match=f"^repair needs --{missing}-audio: clips of what {missing.upper()} is for"):
        merge(*pair("hubert"), tmp_path / "m", align="none", repair=True, **audio)
    assert not list(tmp_path.iterdir())
