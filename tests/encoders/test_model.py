"""Models in memory against transformers' own."""

import re

import pytest
import tiny
import torch
from transformers import AutoModel

from crossfade.encoders.encoder import open_encoder
from crossfade.encoders.model import build_model, load_model, load_tensors, model_tensors, resolve_device
from crossfade.errors import InputError


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_the_model_is_transformers_own(name: str, folders) -> None:
    theirs = AutoModel.from_pretrained(folders(name)).eval()
    ours = load_model(open_encoder(folders(name)))
    assert type(ours) is type(theirs)
    sound = tiny.waveform(samples=3000)
    with torch.no_grad():
        expected = theirs(sound, output_hidden_states=True)
    found = ours(sound, output_hidden_states=True)
    torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state, atol=1e-5, rtol=0)
    assert len(found.hidden_states) == len(expected.hidden_states)
    for mine, other in zip(found.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in tiny.CONFIGS if name.startswith("wavlm")])
@pytest.mark.parametrize("frames", [1, 2, 70])
def test_our_attention_is_that_of_wavlm(name: str, frames: int, folders) -> None:
    theirs = AutoModel.from_pretrained(folders(name)).eval().double()
    models = load_model(open_encoder(folders(name))).double(), theirs
    generator = torch.Generator().manual_seed(frames)
    stream = torch.randn(3, frames, theirs.config.hidden_size, generator=generator, dtype=torch.float64)
    biases: list[torch.Tensor | None] = [None, None]
    for layer in range(theirs.config.num_hidden_layers):
        with torch.no_grad():
            results = [
                model.encoder.layers[layer].attention(stream, position_bias=bias, index=layer)
                for model, bias in zip(models, biases, strict=True)
            ]
        biases = [result[2] for result in results]
        torch.testing.assert_close(results[0][0], results[1][0], atol=1e-10, rtol=0)


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")  # transformers' own
@pytest.mark.parametrize("name", ["wavlm", "wavlm-stable"])
def test_our_attention_keeps_to_a_mask(name: str, folders) -> None:
    models = load_model(open_encoder(folders(name))).double(), AutoModel.from_pretrained(folders(name)).eval().double()
    stream = torch.randn(3, 20, 96, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = torch.arange(20) < torch.tensor([20, 7, 1])[:, None]
    with torch.no_grad():
        ours, theirs = (model.encoder.layers[0].attention(stream, attention_mask=mask)[0] for model in models)
    torch.testing.assert_close(ours[mask], theirs[mask], atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", ["hubert", "hubert-batch-norm", "data2vec-audio"])
def test_a_model_for_reading_only(name: str, folders) -> None:
    model = load_model(open_encoder(folders(name)))
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(model(tiny.waveform())[0], model(tiny.waveform())[0])


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_tensors_come_out_as_they_went_in(name: str, folders) -> None:
    encoder = open_encoder(folders(name))
    tensors = {key: encoder.read(key) + (encoder.read(key).is_floating_point()) for key in encoder.layout.tensors}
    found = model_tensors(build_model(encoder, tensors), encoder)
    assert found.keys() == tensors.keys()
    for key, tensor in tensors.items():
        torch.testing.assert_close(found[key], tensor, atol=1e-5, rtol=1e-6)


def test_tensors_of_a_living_model_are_replaced_whole(folders) -> None:
    encoder = open_encoder(folders("hubert"))
    model = load_model(encoder)
    doubled = {key: 2 * encoder.read(key) for key in encoder.layout.tensors}
    load_tensors(model, doubled)
    for key, tensor in model_tensors(model, encoder).items():
        torch.testing.assert_close(tensor, doubled[key], atol=1e-6, rtol=1e-6)
    with pytest.raises(RuntimeError, match=r"Missing key.*encoder\.layer_norm\.bias"):
        load_tensors(model, {key: tensor for key, tensor in doubled.items() if key != "encoder.layer_norm.bias"})


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="this PyTorch sees no GPU; use --device cpu"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("device", ["tpu", "gpu", "cpux", "cuda:one", ""])
def test_devices_that_do_not_exist(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(InputError, match=re.escape(f"device {device!r}: expected auto, cpu or cuda[:number]")):
        resolve_device(device)
