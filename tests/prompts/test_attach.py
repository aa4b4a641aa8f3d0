"""Prompts in models of every family: what they change, and that nothing else does."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import prompted
import pytest
import tiny
import torch
import whispers
from hypothesis import given, settings
from hypothesis import strategies as st
from prompted import COUNT
from torch import Tensor, nn
from transformers import HubertConfig, HubertForCTC, WhisperForConditionalGeneration

from crossfade.encoders.sidecars import normalise
from crossfade.errors import InputError
from crossfade.probing.padded import PaddedEncoder
from crossfade.probing.whisper import WhisperListener
from crossfade.prompts.attach import Handle, longer_mask

PLACES = ("after", "before")
FAMILIES = ("hubert", "hubert-stable", "wav2vec2", "wavlm", "wavlm-stable", "data2vec-audio")
FIELD = 40
"""Samples of one frame of the tiny CNN."""

Models = Callable[[str], nn.Module]
Listeners = Callable[[str], PaddedEncoder]


def clips(lengths: Sequence[int], seed: int = 0) -> list[Tensor]:
    return [(place + 1) * tiny.waveform(seed + place, 1, length)[0] for place, length in enumerate(lengths)]


def by_hand(model: Any, sound: Tensor, vectors: Tensor, place: str) -> Tensor:
    """The encoder's output with prompts, by running its parts on the longer stream."""
    projected = model.feature_projection(model.feature_extractor(sound).transpose(1, 2))
    stream = projected[0] if isinstance(projected, tuple) else projected
    encoder, stable = model.encoder, getattr(model.config, "do_stable_layer_norm", False)
    first = vectors[0].expand(len(sound), -1, -1)
    if place == "before":
        stream = torch.cat([first, stream], dim=1)
    stream = stream + encoder.pos_conv_embed(stream)
    stream = stream if stable else encoder.layer_norm(stream)
    if place == "after":
        stream = torch.cat([first, stream], dim=1)
    more: dict[str, Any] = {}
    for number, layer in enumerate(encoder.layers):
        if 0 < number < len(vectors):
            stream = torch.cat([vectors[number].expand(len(sound), -1, -1), stream[:, vectors.shape[1] :]], dim=1)
        output = layer(stream, **more)
        stream = output[0] if isinstance(output, tuple) else output
        more = {"position_bias": output[1]} if isinstance(output, tuple) else {}
    return (encoder.layer_norm(stream) if stable else stream)[:, vectors.shape[1] :]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", [*tiny.CONFIGS])
def test_prompts_are_heard_where_they_are_placed(name: str, layers: int, place: str, models: Models) -> None:
    model = models(name)
    prompts = prompted.prompts(model, layers=layers, place=place)
    sound = tiny.waveform(samples=1500)
    with torch.inference_mode():
        expected = by_hand(model, sound, prompts.vectors, place)
        plain = model(sound)[0]
        with prompts.attached(model):
            found = model(sound)[0]
    assert found.shape == plain.shape
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert float((found - plain).abs().mean()) > 0.01


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", [*tiny.CONFIGS, "whisper"])
def test_a_model_is_left_as_it_was(name: str, place: str, models: Models) -> None:
    model = whispers.encoder() if name == "whisper" else models(name)
    sound = torch.randn(1, 80, 3000) if name == "whisper" else tiny.waveform(samples=1500)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    before = model(sound, output_hidden_states=True)
    hooks = hooks_of(model)
    prompts = prompted.prompts(model, place=place, layers=2)
    with prompts.attached(model):
        if (name, place) != ("whisper", "before"):
            assert not torch.equal(model(sound)[0], before[0])
        assert hooks_of(model) > hooks
        assert model.state_dict().keys() == weights.keys()
    with pytest.raises((TypeError, AttributeError)), prompts.attached(model):
        model(None)
    after = model(sound, output_hidden_states=True)
    assert hooks_of(model) == hooks
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert all(torch.equal(*pair) for pair in zip(after.hidden_states, before.hidden_states, strict=True))


def hooks_of(model: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", [*tiny.CONFIGS])
@settings(max_examples=4)
@given(lengths=st.lists(st.integers(FIELD, 3000), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_a_batch_is_its_clips_alone(name: str, place: str, lengths: list[int], seed: int, listeners: Listeners) -> None:
    listen, heard = listeners(name), clips(lengths, seed)
    prompts = prompted.prompts(listen.model, seed, place=place, layers=1 + seed % 3 % 2)
    with torch.inference_mode():
        plain = listen(heard)
        with prompts.attached(listen.model):
            together = listen(heard)
            alone = [listen([clip])[0] for clip in heard]
            first = normalise(heard[0][None], listen.preprocessing)
            theirs = listen.model(first, output_hidden_states=True).hidden_states
    for one, other, without in zip(together, alone, plain, strict=True):
        assert one.shape == other.shape == without.shape
        assert float((one - other).abs().max()) <= 1e-5 * max(1.0, float(other.abs().max()))
    torch.testing.assert_close(torch.stack(theirs)[:, 0], together[0], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("window", ["clip", "30"])
def test_a_batch_is_its_clips_alone_in_whisper(place: str, window: Any) -> None:
    model = whispers.encoder(max_source_positions=60)
    prompts = prompted.prompts(model, place=place, layers=2)
    listen = WhisperListener(model, window, taken=COUNT if place == "before" else 0)
    heard = clips([7000, 12000, 2 * 55 * 160, 30000, 401])
    with torch.inference_mode():
        plain = listen(heard)
        with prompts.attached(model):
            together, alone = listen(heard), [listen([clip])[0] for clip in heard]
    for one, other, without in zip(together, alone, plain, strict=True):
        assert one.shape == other.shape == without.shape
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
        assert float((one - without)[-1].abs().mean()) > 1e-3


def test_prompts_before_frames_take_their_positions() -> None:
    """Whisper's table of positions goes on where the prompts end."""
    model = whispers.encoder(max_source_positions=60)
    prompts = prompted.prompts(model, place="before")
    clip = clips([8000])[0]
    with torch.inference_mode():
        plain = WhisperListener(model)([clip])[0]
        with prompts.attached(model):
            found = WhisperListener(model)([clip])[0]
        table = model.embed_positions.weight
        frames = plain.shape[1]
        stream = torch.cat([prompts.vectors[0] + table[:COUNT],
                            plain[0] - table[:frames] + table[COUNT : COUNT + frames]])[None]  # fmt: skip
        for layer in model.layers:
            stream = layer(stream, None)
        torch.testing.assert_close(found[-1], model.layer_norm(stream)[0, COUNT:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["hubert-stable", "wav2vec2-stable", "wavlm-stable"])
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")  # transformers' own
def test_padding_stays_masked(name: str, attention: str, place: str) -> None:
    """These CNNs hear each frame alone: so a padded batch is its clips alone, in transformers' own hands."""
    model = tiny.model(name, seed=2).requires_grad_(False)
    if not name.startswith("wavlm"):
        model.set_attn_implementation(attention)
    short, long = tiny.waveform(samples=2000)
    mask = torch.ones(2, 2000, dtype=torch.long)
    mask[0, 900:] = 0
    prompts = prompted.prompts(model, place=place, layers=2)
    with torch.inference_mode(), prompts.attached(model):
        alone = model(short[None, :900])[0][0]
        silent, loud = short * mask[0], torch.where(mask[0] == 1, short, 9.0)
        for padded in (silent, loud):
            found = model(torch.stack([padded, long]), attention_mask=mask)[0]
            torch.testing.assert_close(found[0, : len(alone)], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("place", PLACES)
def test_attention_weights_show_the_prompts_first(place: str) -> None:
    model = tiny.model("hubert", seed=1).requires_grad_(False)
    model.set_attn_implementation("eager")
    prompts = prompted.prompts(model, place=place)
    with torch.inference_mode(), prompts.attached(model):
        found = model(tiny.waveform(samples=1500), output_attentions=True, output_hidden_states=True)
    frames = found.last_hidden_state.shape[1]
    assert [tuple(one.shape[1:]) for one in found.hidden_states] == [(frames, 48)] * 4
    assert [tuple(one.shape[2:]) for one in found.attentions] == [(COUNT + frames, COUNT + frames)] * 3
    with torch.inference_mode(), prompts.attached(model):
        told = model(tiny.waveform(samples=1500), output_attentions=True, output_hidden_states=True, return_dict=False)
    assert all(torch.equal(*pair) for pair in zip(told[1], found.hidden_states, strict=True))


@pytest.mark.parametrize("name", [*FAMILIES])
def test_order_is_heard_only_through_positions(name: str, listeners: Listeners) -> None:
    listen = listeners(name)
    clip = clips([2500])
    orders: dict[str, float] = {}
    for place in PLACES:
        prompts = prompted.prompts(listen.model, place=place)
        turned = prompted.prompts(listen.model, place=place)
        turned.vectors.data = prompts.vectors.detach().flip(1)
        with torch.inference_mode():
            with prompts.attached(listen.model):
                one = listen(clip)[0]
            with turned.attached(listen.model):
                other = listen(clip)[0]
        orders[place] = float((one - other)[-1].abs().max())
    assert orders["before"] > 1e-3
    assert (orders["after"] > 1e-3) == name.startswith("wavlm")  # whose attention knows how far apart frames are
    assert name.startswith("wavlm") or orders["after"] < 1e-4


def test_clips_of_a_batch_may_hear_different_prompts(listeners: Listeners) -> None:
    for name in ("hubert", "wavlm", "data2vec-audio"):
        listen, heard = listeners(name), clips([900, 2500, 1600])
        for place in PLACES:
            config = prompted.settings(listen.model, place=place, layers=2)
            own = torch.stack([prompted.vectors(config, seed) for seed in range(3)])
            with torch.inference_mode():
                handle = Handle(listen.model, config, lambda own=own: own)
                together = listen(heard)
                handle.detach()
                for number, clip in enumerate(heard):
                    handle = Handle(listen.model, config, lambda own=own[number]: own)
                    torch.testing.assert_close(listen([clip])[0], together[number], atol=1e-4, rtol=1e-5)
                    handle.detach()


@pytest.mark.parametrize("place", PLACES)
def test_no_module_runs_more_often(place: str, models: Models) -> None:
    model, sound = models("hubert"), tiny.waveform(samples=1500)
    counts: list[Counter[str]] = []
    for prompts in (None, prompted.prompts(model, place=place, layers=3)):
        ran: Counter[str] = Counter()
        hooks = [
            part.register_forward_hook(lambda *_, ran=ran, key=key: ran.update([key]))
            for key, part in model.named_modules()
        ]
        if prompts is None:
            model(sound)
        else:
            with prompts.attached(model):
                model(sound)
        for hook in hooks:
            hook.remove()
        counts.append(ran)
    assert counts[0] == counts[1]


def test_gradients_reach_the_prompts_and_nothing_else(listeners: Listeners) -> None:
    for name in ("hubert-stable", "wavlm"):
        listen = listeners(name)
        for place in PLACES:
            prompts = prompted.prompts(listen.model, place=place, layers=3)
            with prompts.attached(listen.model):
                listen(clips([900, 1500]))[0].square().sum().backward()
            assert prompts.vectors.grad is not None
            assert bool((prompts.vectors.grad.abs().sum(-1) > 0).all())
            assert all(value.grad is None for value in listen.model.parameters())


def test_layers_may_be_dropped_in_training() -> None:
    model = tiny.model("hubert", seed=1, layerdrop=0.5, mask_time_prob=0.0).requires_grad_(False).train()
    prompts = prompted.prompts(model, layers=2)
    with prompts.attached(model):
        for seed in range(6):
            torch.manual_seed(seed)
            sound = tiny.waveform(samples=1500, clips=1 + seed % 2)
            assert model(sound)[0].shape == (1 + seed % 2, 37, 48)


def test_prompts_go_along_with_the_precision_of_a_model() -> None:
    model = tiny.model("wav2vec2", seed=1).to(torch.bfloat16)
    prompts = prompted.prompts(model)
    with torch.inference_mode(), prompts.attached(model):
        assert model(tiny.waveform(samples=1500).bfloat16())[0].dtype == torch.bfloat16
    assert prompts.vectors.dtype == torch.float32


def test_threads_may_share_a_model_with_prompts(listeners: Listeners) -> None:
    listen = listeners("wavlm")
    batches = [clips([100 + 37 * number, 2000, 900 - number], seed=number) for number in range(12)]

    @torch.inference_mode()
    def hear(heard: list[Tensor]) -> list[Tensor]:
        return listen(heard)

    with prompted.prompts(listen.model, place="before").attached(listen.model):
        expected = [hear(heard) for heard in batches]
        with ThreadPoolExecutor(4) as pool:
            for found, wanted in zip(pool.map(hear, batches), expected, strict=True):
                assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


def test_task_models_keep_their_lengths() -> None:
    settings = tiny.CNN | tiny.TRANSFORMER
    model = HubertForCTC(HubertConfig(**settings, vocab_size=9)).eval().requires_grad_(False)
    sound = tiny.waveform(samples=1500)
    prompts = prompted.prompts(model)
    plain = model(sound, output_hidden_states=True)
    with prompts.attached(model) as same:
        found = same(sound, output_hidden_states=True)
    assert found.logits.shape == plain.logits.shape
    assert [one.shape for one in found.hidden_states] == [one.shape for one in plain.hidden_states]
    assert not torch.equal(found.logits, plain.logits)


def test_whisper_writes_with_prompts_in_its_encoder() -> None:
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(whispers.config(max_source_positions=50)).eval().requires_grad_(False)
    sound, ids = torch.randn(2, 80, 100), torch.tensor([[1, 5], [1, 7]])
    plain = model(sound, decoder_input_ids=ids)
    with prompted.prompts(model).attached(model):
        found = model(sound, decoder_input_ids=ids)
    assert found.encoder_last_hidden_state.shape == plain.encoder_last_hidden_state.shape
    assert not torch.equal(found.logits, plain.logits)
    assert torch.equal(model(sound, decoder_input_ids=ids).logits, plain.logits)


def test_models_that_prompts_are_not_for(models: Models) -> None:
    model, whisper = models("hubert"), whispers.encoder(max_source_positions=60)
    for changes, line in (
        ({"width": 64}, "prompts for tiny: are 64 wide, this encoder is 48 wide; give theirs"),
        ({"layers": 4}, "prompts for tiny: are for 4 layers, this encoder has 3; give theirs"),
        ({"family": "wavlm"}, "prompts for tiny: expected an encoder of family wavlm, received hubert"),
    ):
        with pytest.raises(InputError) as caught:
            prompted.prompts(model, **changes).attach(model)
        assert str(caught.value) == line
    with pytest.raises(InputError, match="60 prompts, but the longest window of this encoder has 60 frames"):
        prompted.prompts(whisper, count=60).attach(whisper)
    with (
        pytest.raises(InputError, match="5 prompts before 60 frames need 65 positions, this Whisper has 60"),
        prompted.prompts(whisper, place="before").attached(whisper),
    ):
        whisper(torch.randn(1, 80, 120))
    with pytest.raises(InputError, match="Linear: no encoder that takes prompts; known: data2vec-audio, hubert"):
        prompted.prompts(model).attach(nn.Linear(3, 3))
    with prompted.prompts(model).attached(model), pytest.raises(InputError, match="has prompts attached already"):
        prompted.prompts(model).attach(model)
    handle = prompted.prompts(model).attach(model)
    handle.detach()
    handle.detach()
    prompted.prompts(model).attach(model).detach()


def test_longer_masks() -> None:
    assert longer_mask(None, 2) is None
    flat = torch.tensor([[True, True, False]])
    assert longer_mask(flat, 2).tolist() == [[True, True, True, True, False]]
    assert longer_mask(flat.long(), 1).tolist() == [[1, 1, 1, 0]]
    assert longer_mask(flat[:, None, None], 1).tolist() == [[[[True, True, True, False]]]]
    summands = torch.tensor([0.0, 0.0, -9.0]).expand(1, 1, 3, 3)
    assert longer_mask(summands, 1).tolist() == [[[[0.0, 0.0, 0.0, -9.0]] * 4]]
