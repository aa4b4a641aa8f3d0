"""What prompts do inside an encoder, against what transformers itself tells."""

from collections.abc import Callable
from pathlib import Path

import prompted
import pytest
import tiny
import torch
import whispers
from prompted import COUNT
from torch import Tensor

from crossfade.encoders.sidecars import normalise
from crossfade.probing.padded import PaddedEncoder
from crossfade.probing.whisper import WhisperListener
from crossfade.prompts import SoftPrompts
from crossfade.prompts.analysis import inspection
from crossfade.prompts.attention import attention_mass, shift
from crossfade.report.figures import draw_prompts

Listeners = Callable[[str], PaddedEncoder]


def clip(samples: int = 1500) -> Tensor:
    return tiny.waveform(samples=samples)[0]


@pytest.mark.parametrize("place", ["after", "before"])
@pytest.mark.parametrize("name", ["hubert-stable", "wav2vec2", "data2vec-audio"])
def test_the_mass_is_that_of_the_weights(name: str, place: str, listeners: Listeners) -> None:
    listen = listeners(name)
    model, prompts = listen.model, prompted.prompts(listen.model, place=place, layers=2)
    found = attention_mass(listen, prompts, [clip()])
    model.set_attn_implementation("eager")
    with torch.inference_mode(), prompts.attached(model):
        weights = model(normalise(clip()[None], listen.preprocessing), output_attentions=True).attentions
    model.set_attn_implementation("sdpa")
    expected = torch.stack(weights)[:, 0, :, COUNT:, :COUNT].sum(-1).mean(-1)
    torch.testing.assert_close(found.mass, expected.double(), atol=1e-5, rtol=0)
    assert found.even == pytest.approx(COUNT / (COUNT + weights[0].shape[-1] - COUNT))


def test_the_mass_in_wavlm_and_whisper(listeners: Listeners) -> None:
    listen = listeners("wavlm")
    prompts = prompted.prompts(listen.model)
    found = attention_mass(listen, prompts, [clip()]).mass
    theirs = tiny.model("wavlm", seed=1)
    with torch.inference_mode(), prompts.attached(theirs):
        weights = theirs(normalise(clip()[None], listen.preprocessing), output_attentions=True).attentions
    means = torch.stack(weights)[:, 0, 0, COUNT:, :COUNT].sum(-1).mean(-1)  # WavLM tells the mean over heads
    torch.testing.assert_close(found.mean(1), means.double(), atol=1e-5, rtol=0)
    assert found.shape == (3, 8)

    whisper = whispers.encoder()
    for layer in whisper.layers:
        layer.self_attn.q_proj.weight.zero_()
        layer.self_attn.q_proj.bias.zero_()
    even = attention_mass(WhisperListener(whisper), prompted.prompts(whisper), [clip(8000), clip(3200)])
    frames = 25, 10
    assert even.even == pytest.approx(sum(count * COUNT / (COUNT + count) for count in frames) / sum(frames))
    torch.testing.assert_close(even.mass, torch.full((2, 3), even.even).double(), atol=1e-6, rtol=0)


def test_looking_leaves_nothing_behind(listeners: Listeners) -> None:
    listen = listeners("hubert")
    hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in listen.model.modules()]
    with torch.inference_mode():
        before = listen([clip()])[0]
        attention_mass(listen, prompted.prompts(listen.model), [clip()])
        shift(listen, prompted.prompts(listen.model), [clip()])
        assert torch.equal(listen([clip()])[0], before)
    assert hooks == [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in listen.model.modules()]


def test_a_shift_begins_where_the_prompts_do(listeners: Listeners) -> None:
    listen = listeners("hubert")
    found = shift(listen, prompted.prompts(listen.model), [clip(), clip(900)])
    assert len(found.cosine) == len(found.cka) == 4
    assert found.cosine[0] == pytest.approx(1.0, abs=1e-6)
    assert found.cka[0] == pytest.approx(1.0, abs=1e-6)
    assert max(found.cosine[1:]) < 0.99
    assert all(0 < value < 0.99 for value in found.cka[1:])
    before = shift(listen, prompted.prompts(listen.model, place="before"), [clip()])
    assert before.cosine[0] < 0.999


def test_an_inspection_is_json_and_a_figure(listeners: Listeners, tmp_path: Path) -> None:
    listen = listeners("hubert")
    prompted.prompts(listen.model).save_pretrained(tmp_path / "tuned")
    prompts = SoftPrompts.from_pretrained(tmp_path / "tuned")
    found = inspection(prompts, listen, [clip(), clip(900)], trusted=prompts)
    assert (found["count"], found["clips"], found["norms"]["distance"]) == (COUNT, 2, 0.0)
    assert found["norms"]["same"]
    assert [len(found[key]) for key in ("attention", "heads", "cosine", "cka")] == [3, 3, 4, 4]
    draw_prompts(tmp_path / "figure.png", found)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
