"""Every kind of upstream against what transformers says of the clip alone, and what is refused."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import whispers
from folders import loaded
from torch import Tensor
from transformers import (
    ASTConfig,
    ASTModel,
    AutoConfig,
    AutoModel,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from crossfade.encoders.encoder import open_encoder
from crossfade.encoders.sidecars import Preprocessing, normalise
from crossfade.errors import InputError
from crossfade.features import spectral
from crossfade.probing.upstreams import Upstream, open_upstream

LENGTHS = (2000, 800, 3111, 2000)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`folders(name)`: a tiny encoder of tiny.CONFIGS, one of another type, or "whisper"."""
    root = tmp_path_factory.mktemp("upstreams")

    def make(name: str) -> Path:
        if name == "whisper":
            return whispers.folder(root / name, seed=3)[0]
        return tiny.folder(root / name, name, 1) if name in tiny.CONFIGS else other(root / name, name)

    return cache(make)


def other(path: Path, kind: str) -> Path:
    """A model of transformers that is no family of ours."""
    torch.manual_seed(0)
    layers = {"num_feat_extract_layers": len(tiny.CNN["conv_dim"])}
    AutoModel.from_config(AutoConfig.for_model(kind, **tiny.CNN, **tiny.TRANSFORMER, **layers)).save_pretrained(path)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(path)
    return path


def clips(*lengths: int) -> list[Tensor]:
    return [tiny.waveform(number, 1, length)[0] for number, length in enumerate(lengths)]


def hidden_states(model: Any, clip: Tensor) -> Tensor:
    with torch.no_grad():
        heard = normalise(clip, Preprocessing())[None]
        return torch.stack(model(heard, output_hidden_states=True).hidden_states)[:, 0]


def assert_close(found: Tensor, expected: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, atol=atol, rtol=1e-5)


@pytest.mark.parametrize("name", ["hubert", "wavlm-stable"])
def test_a_family_of_ours(name: str, folders) -> None:
    upstream, encoder = open_upstream(str(folders(name))), open_encoder(folders(name))
    theirs = loaded(folders(name))
    for clip, found in zip(clips(*LENGTHS), upstream.features(clips(*LENGTHS)), strict=True):
        assert_close(found, hidden_states(theirs, clip), 3e-5)
        assert found.shape[::2] == (upstream.layers, upstream.width)
    assert (upstream.sha256, upstream.parameters) == (encoder.sha256, encoder.layout.parameters)
    assert (upstream.rate, upstream.frames_per_second, upstream.minimum_samples) == (16000, 400.0, 40)
    assert [len(layers[0]) for layers in upstream.features(clips(40, 79, 80))] == [1, 1, 2]
    assert repr(upstream) == f"Upstream({str(folders(name))!r}, 4 x {upstream.width} at 400 Hz, cpu)"


@pytest.mark.parametrize(("kind", "frames_per_second"), [("unispeech-sat", 400.0), ("sew", 200.0)])
def test_another_model_of_transformers(kind: str, frames_per_second: float, folders) -> None:
    upstream, theirs = open_upstream(str(folders(kind))), loaded(folders(kind))
    heard = clips(*LENGTHS, upstream.minimum_samples)
    for clip, found in zip(heard, upstream.features(heard), strict=True):
        assert_close(found, hidden_states(theirs, clip))
    assert found.shape == (upstream.layers, 1, upstream.width)
    assert upstream.frames_per_second == frames_per_second
    assert upstream.parameters == sum(value.numel() for value in theirs.parameters())


def test_whisper_hears_a_window_as_transformers_does(folders) -> None:
    upstream = open_upstream(str(folders("whisper")), window="30")
    heard = clips(16000, 5003, 47999)
    inputs = WhisperFeatureExtractor()([clip.numpy() for clip in heard], sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        states = whispers.encoder(3)(inputs.input_features, output_hidden_states=True).hidden_states
    for number, found in enumerate(upstream.features(heard)):
        assert_close(found, torch.stack(states)[:, number, : found.shape[1]], 2e-5)
    assert [layers.shape[1] for layers in upstream.features(heard)] == [50, 16, 150]
    assert (upstream.layers, upstream.width, upstream.frames_per_second) == (3, 24, 50.0)


def test_whisper_hears_a_clip_at_its_own_length(folders) -> None:
    upstream = open_upstream(str(folders("whisper")))
    heard = clips(16000, 400, 5003, 47999)
    found = upstream.features(heard)
    assert [layers.shape for layers in found] == [(3, frames, 24) for frames in (50, 1, 16, 150)]
    for clip, layers in zip(heard, found, strict=True):
        assert_close(layers, upstream.features([clip])[0])
    # Positions and spectrum are those of the window; what differs is that nobody attends to silence.
    padded = open_upstream(str(folders("whisper")), window="30").features(heard)
    assert_close(found[0][0, :-1], padded[0][0, :-1])
    assert float((found[0][-1] - padded[0][-1]).abs().mean()) > 0.01


def test_whisper_hears_long_sound_a_window_at_a_time(folders) -> None:
    upstream = open_upstream(str(folders("whisper")))
    long = clips(30 * 16000 + 8000)[0]
    parts = upstream.features([long[: 30 * 16000], long[30 * 16000 :]])
    assert_close(upstream.features([long])[0], torch.cat(parts, dim=1), 2e-5)
    assert upstream.features([long[: 30 * 16000 + 300]])[0].shape == (3, 1500, 24)


def test_whisper_by_ctranslate2_is_the_same_whisper(folders, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(whispers.model_bin(whispers.variables(whispers.encoder(3))))
    converted, original = open_upstream(str(tmp_path)), open_upstream(str(folders("whisper")))
    heard = clips(3000, 9000)
    for found, expected in zip(converted.features(heard), original.features(heard), strict=True):
        assert_close(found, expected)
    assert converted.parameters == original.parameters
    assert converted.key != original.key


def test_log_mel_is_kaldis() -> None:
    sound = tiny.waveform(samples=16123)[0]
    bands = mel_filter_bank(257, 80, 20.0, 8000.0, 16000, None, "kaldi", True)
    expected = spectrogram(
        sound.numpy(), window_function(400, "povey", periodic=False), 400, 160, fft_length=512, power=2.0, center=False,
        preemphasis=0.97, mel_filters=bands, log_mel="log", mel_floor=spectral.FLOOR, remove_dc_offset=True,
    )  # fmt: skip
    upstream = open_upstream("logmel")
    found = upstream.features([sound])[0]
    np.testing.assert_allclose(found[0], expected.T, atol=1e-3)
    assert found.shape == (1, (16123 - 400) // 160 + 1, 80)
    assert (upstream.layers, upstream.width, upstream.frames_per_second, upstream.sha256) == (1, 80, 100.0, None)


def test_whisper_mel_is_transformers() -> None:
    sound = tiny.waveform(samples=9999)[0]
    expected = WhisperFeatureExtractor()._torch_extract_fbank_features(sound.numpy())
    torch.testing.assert_close(spectral.whisper_mel(sound, 80), torch.from_numpy(expected))


def test_fbank_leaves_nothing_to_its_mean() -> None:
    upstream = open_upstream("fbank")
    found = upstream.features(clips(9000, 560))
    assert [layers.shape for layers in found] == [(1, 54, 240), (1, 2, 240)]
    for layers in found:
        torch.testing.assert_close(layers.mean(1), torch.zeros(1, 240), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[0].std(1), torch.ones(1, 240))
    static = spectral.log_mel(clips(9000)[0])
    slope = (static[3] - static[1] + 2 * (static[4] - static[0])) / 10
    delta = spectral._deltas(static)
    torch.testing.assert_close(delta[2], slope, atol=1e-4, rtol=1e-4)
    scaled = (delta - delta.mean(0)) / delta.std(0)
    torch.testing.assert_close(found[0][0, :, 80:160], scaled, atol=1e-4, rtol=1e-4)


def test_a_key_stands_for_all_that_features_depend_on(folders, tmp_path: Path) -> None:
    folder = folders("hubert")
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    raw, again = tmp_path / "raw", tmp_path / "again"
    tiny.folder(raw, "hubert", 1, preprocessor={"do_normalize": False})
    tiny.folder(again, "hubert", 2)
    other_eps = Path(shutil.copytree(folder, tmp_path / "eps"))
    tiny.edit_config(other_eps, layer_norm_eps=1e-3)
    assert open_upstream(str(folder)).key == open_upstream(str(copy)).key
    keys = [open_upstream(str(path)).key for path in (folder, raw, again, other_eps, folders("unispeech-sat"))]
    keys += [open_upstream(str(folder), precision=precision).key for precision in ("bfloat16", "float16")]
    keys += [open_upstream(str(folders("whisper")), window=window).key for window in ("clip", "30")]
    keys += [open_upstream(name).key for name in ("fbank", "logmel")]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {32}


@pytest.mark.parametrize("name", ["wavlm", "whisper"])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision(name: str, precision: Any, folders) -> None:
    exact = open_upstream(str(folders(name))).features(clips(3000, 1900))
    for found, expected in zip(open_upstream(str(folders(name)), precision=precision).features(clips(3000, 1900)),
                               exact, strict=True):  # fmt: skip
        assert found.dtype == torch.float32
        assert float(torch.cosine_similarity(found.flatten(), expected.flatten(), dim=0)) > 0.999
        assert not torch.equal(found, expected)


# Refusals -----------------------------------------------------------------------------------------------------------


def edited(folder: Path, copy: Path, **changes: Any) -> Path:
    shutil.copytree(folder, copy)
    tiny.edit_config(copy, **changes)
    return copy


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "quartz"}, "model_type 'quartz': transformers has none such; expected HuBERT, MERT, wav2vec"),
        ({"model_type": "quartz", "auto_map": {"AutoModel": "quartz.Quartz"}},
         "model_type 'quartz': it brings code of its own, which is never run"),
        ({"model_type": "speech_to_text", "is_encoder_decoder": True}, "has a decoder; of those only Whisper's"),
        ({"model_type": "bert"}, "(tensor .* is missing from its weights|transformers cannot load it)"),
        ({"num_hidden_layers": 4}, "tensor encoder.layers.3.* is missing from its weights"),
    ],
)  # fmt: skip
def test_models_that_cannot_be_probed(changes: dict[str, Any], says: str, folders, tmp_path: Path) -> None:
    folder = edited(folders("unispeech-sat"), tmp_path / "m", **changes)
    with pytest.raises(InputError, match=says) as error:
        open_upstream(str(folder))
    assert str(error.value).startswith(f"{folder}: cannot be probed: ")
    assert "\n" not in str(error.value)


def test_a_model_that_hears_spectra_is_refused(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ASTModel(ASTConfig(**sizes, max_length=32)).save_pretrained(tmp_path)
    extractor = {"feature_extractor_type": "ASTFeatureExtractor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(extractor))
    says = r"it does not hear waveforms \(preprocessor_config\.json names ASTFeatureExtractor, not Wav2Vec2"
    with pytest.raises(InputError, match=says):
        open_upstream(str(tmp_path))
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match="model_type 'audio-spectrogram-transformer' has no conv_kernel"):
        open_upstream(str(tmp_path))


def test_a_family_of_ours_that_brings_another_branch_is_refused(folders, tmp_path: Path) -> None:
    folder = edited(folders("hubert"), tmp_path / "m", model_type="mert_model", feature_extractor_cqt=True)
    with pytest.raises(InputError, match="it has a CQT branch beside the CNN"):
        open_upstream(str(folder))


def test_whispers_that_cannot_be_used(folders, tmp_path: Path) -> None:
    folder = edited(folders("whisper"), tmp_path / "wide", encoder_ffn_dim=48)
    with pytest.raises(InputError, match=r"tensor layers\.0\.fc1\.bias has shape \(40,\), expected \(48,\)"):
        open_upstream(str(folder))
    (folder / "preprocessor_config.json").write_text(json.dumps({"hop_length": 320}))
    with pytest.raises(InputError, match=r"preprocessor_config\.json: hop_length = 320, expected 160 as in"):
        open_upstream(str(folder))
    folder = edited(folders("hubert"), tmp_path / "hubert", model_type="whisper")
    with pytest.raises(InputError, match=r"no tensor encoder\.conv1\.weight; expected the weights of a Whisper"):
        open_upstream(str(folder))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"precision": "int8"}, "precision 'int8': expected one of float32, bfloat16, float16"),
        ({"window": "20"}, "window '20': expected one of clip, 30"),
        ({"device": "tpu"}, "device 'tpu': expected auto, cpu or cuda"),
        ({"name": "./no/such/folder"}, "no such folder; pass a model's folder or a hub id"),
    ],
)
def test_settings_that_do_not_exist(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        open_upstream(**({"name": "fbank"} | changes))


def test_an_upstream_of_ones_own() -> None:
    own = Upstream(
        "own", "0" * 32, None, None, 8000, 1, 2, 0, 1.0, 1, lambda clips: [clip[None, :, None] for clip in clips]
    )
    assert own.features([torch.ones(3)])[0].shape == (1, 3, 1)
