"""Encoders on disk: any spelling in, one spelling out, and a clear no to weights that are amiss."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from crossfade.encoders.encoder import (
    LEGACY,
    PARAMETRIZED,
    Encoder,
    EncoderWriter,
    effective_weight,
    open_encoder,
    weight_norm,
)
from crossfade.encoders.families import POSITIONAL_WEIGHT
from crossfade.encoders.model import load_model
from crossfade.errors import InputError

SMALL_HEADS = {
    "vocab_size": 5,
    "classifier_proj_size": 6,
    "codevector_dim": 8,
    "proj_codevector_dim": 8,
    "num_codevectors_per_group": 4,
    "tdnn_dim": [6, 6],
    "tdnn_kernel": [3, 1],
    "tdnn_dilation": [1, 1],
    "xvector_output_dim": 7,
    "use_weighted_layer_sum": True,
}
TASKS = [
    ("hubert", "HubertForCTC"),
    ("hubert-stable", "HubertForSequenceClassification"),
    ("wav2vec2", "Wav2Vec2ForPreTraining"),
    ("wav2vec2", "Wav2Vec2ForXVector"),
    ("wav2vec2-stable", "Wav2Vec2ForCTC"),
    ("wav2vec2", "Wav2Vec2ForAudioFrameClassification"),
    ("wavlm", "WavLMForXVector"),
    ("wavlm", "WavLMForSequenceClassification"),
    ("data2vec-audio", "Data2VecAudioForCTC"),
    ("data2vec-audio", "Data2VecAudioForXVector"),
]


def canonical(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A model's state under the names of the layout; torch itself says what the weight-normed weight is."""
    state = dict(state)
    if PARAMETRIZED[0] in state:
        magnitude, direction = (state.pop(name) for name in PARAMETRIZED)
        state[POSITIONAL_WEIGHT] = torch._weight_norm(direction, magnitude, 2)
    return state


def assert_reads(encoder: Encoder, expected: dict[str, Tensor]) -> None:
    assert encoder.layout.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(encoder.read(name), tensor, atol=1e-6, rtol=0)


@pytest.fixture
def copy(folders, tmp_path: Path) -> Path:
    """A folder of a HuBERT that a test may spoil."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in folders("hubert").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def respell(folder: Path, **changes: Tensor | str | None) -> Path:
    """Change tensors of a folder (`__` stands for a dot): a tensor replaces, a name renames, None removes."""
    state = load_file(folder / "model.safetensors")
    for key, change in changes.items():
        name = key.replace("__", ".")
        tensor = state.pop(name, None)
        if isinstance(change, str) and tensor is not None:
            state[change] = tensor
        elif isinstance(change, Tensor):
            state[name] = change
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_an_encoder_is_read_under_the_family_s_names(name: str, folders) -> None:
    encoder = open_encoder(folders(name))
    assert_reads(encoder, canonical(tiny.model(name, 1).state_dict()))
    assert encoder.dropped == ()
    assert encoder.dtype == torch.float32
    assert encoder.weight_normed == (name not in ("hubert-batch-norm", "data2vec-audio"))
    million = encoder.layout.parameters / 1e6
    family = tiny.CONFIGS[name]["model_type"]
    assert repr(encoder) == f"Encoder({str(folders(name))!r}, {family}, {million:.2f} M, 16000 Hz)"


@pytest.mark.parametrize(("name", "task"), TASKS, ids=[task for _, task in TASKS])
def test_task_models_leave_their_heads_behind(name: str, task: str, tmp_path: Path) -> None:
    config = tiny.model(name, 1).config
    for key, value in SMALL_HEADS.items():
        setattr(config, key, value)
    torch.manual_seed(0)
    model = getattr(transformers, task)(config)
    model.save_pretrained(tmp_path)
    encoder = open_encoder(tmp_path)
    prefix = encoder.family.prefix
    heads = {key for key in model.state_dict() if not key.startswith(prefix)}
    assert set(encoder.dropped) == heads
    assert heads
    assert_reads(encoder, canonical(model.base_model.state_dict()))


@pytest.mark.parametrize("prefix", ["", "hubert."])
def test_both_spellings_of_a_weight_norm(copy: Path, prefix: str) -> None:
    expected = canonical(load_file(copy / "model.safetensors"))
    state = load_file(copy / "model.safetensors")
    renamed = dict(zip(PARAMETRIZED, LEGACY, strict=True))
    state = {prefix + renamed.get(name, name): tensor for name, tensor in state.items()}
    save_file(state, copy / "model.safetensors", {"format": "pt"})
    encoder = open_encoder(copy)
    assert encoder.stored[POSITIONAL_WEIGHT] == tuple(prefix + name for name in LEGACY)
    assert_reads(encoder, expected)


def test_a_weight_stored_whole_is_written_as_the_model_keeps_it(copy: Path, tmp_path: Path) -> None:
    expected = canonical(load_file(copy / "model.safetensors"))
    save_file(expected, copy / "model.safetensors", {"format": "pt"})
    encoder = open_encoder(copy)
    assert encoder.stored[POSITIONAL_WEIGHT] == (POSITIONAL_WEIGHT,)
    assert_reads(encoder, expected)
    written = write(encoder, tmp_path / "written")
    assert set(load_file(written / "model.safetensors")) == expected.keys() - {POSITIONAL_WEIGHT} | set(PARAMETRIZED)
    with torch.no_grad():
        assert_loads(written, tiny.model("hubert", 1)(tiny.waveform()).last_hidden_state)


def as_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def as_shards(folder: Path) -> None:
    transformers.AutoModel.from_pretrained(folder).save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 3


@pytest.mark.parametrize("save", [as_pickle, as_shards])
def test_other_files_hold_the_same(copy: Path, save) -> None:
    before = open_encoder(copy)
    expected = {name: before.read(name) for name in before.layout.tensors}
    save(copy)
    assert_reads(open_encoder(copy), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    model = tiny.model("hubert", 1).to(dtype)
    model.save_pretrained(tmp_path / "half")
    encoder = open_encoder(tmp_path / "half")
    assert encoder.dtype == dtype
    assert encoder.read("masked_spec_embed").dtype == dtype
    assert encoder.read(POSITIONAL_WEIGHT).dtype == torch.float32
    loaded = load_model(encoder)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    expected = model.float()(tiny.waveform()).last_hidden_state
    torch.testing.assert_close(loaded(tiny.waveform()).last_hidden_state, expected, atol=1e-5, rtol=0)
    write(encoder, tmp_path / "written")
    first, again = (load_file(tmp_path / folder / "model.safetensors") for folder in ("half", "written"))
    assert first.keys() == again.keys()
    for name in first:
        assert again[name].dtype == dtype
        torch.testing.assert_close(again[name], first[name], atol=0, rtol=torch.finfo(dtype).eps)


def write(encoder: Encoder, folder: Path, **options: Any) -> Path:
    folder.mkdir()
    writer = EncoderWriter(folder, encoder, options.pop("dtype", encoder.dtype), **options)
    writer.write_all((name, encoder.read(name)) for name in encoder.layout.tensors)
    return folder


@contextmanager
def no_word_from_transformers() -> Iterator[None]:
    """Nothing of level warning or above may be logged: missing and unexpected keys are."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert [record.getMessage() for record in records] == []


def assert_loads(folder: Path, expected: Tensor) -> None:
    """AutoModel and AutoFeatureExtractor take the folder without a word, and it computes `expected`."""
    with no_word_from_transformers():
        model, told = transformers.AutoModel.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    assert not any(told.values()), told
    assert extractor.sampling_rate == 16000
    with torch.no_grad():
        found = model.eval()(tiny.waveform()).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_watch_over_transformers_sees_a_missing_key(copy: Path) -> None:
    respell(copy, encoder__layer_norm__bias=None)
    with pytest.raises(AssertionError, match="LOAD REPORT"), no_word_from_transformers():
        transformers.AutoModel.from_pretrained(copy)


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_what_is_written_loads_and_computes_the_same(name: str, folders, tmp_path: Path) -> None:
    encoder = open_encoder(folders(name))
    written = write(encoder, tmp_path / "written")
    with torch.no_grad():
        assert_loads(written, tiny.model(name, 1)(tiny.waveform()).last_hidden_state)
    again = open_encoder(written)
    assert again.preprocessing == encoder.preprocessing
    for key in encoder.layout.tensors:
        torch.testing.assert_close(again.read(key), encoder.read(key), atol=1e-7, rtol=0)


def test_a_task_model_becomes_a_plain_encoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = transformers.HubertForCTC(tiny.model("hubert", 1).config).eval()
    model.save_pretrained(tmp_path / "ctc")
    written = write(open_encoder(tmp_path / "ctc"), tmp_path / "written")
    with torch.no_grad():
        assert_loads(written, model.hubert(tiny.waveform()).last_hidden_state)
    config = transformers.AutoConfig.from_pretrained(written)
    assert config.architectures == ["HubertModel"]


def test_a_mert_becomes_a_hubert_without_remote_code(copy: Path, tmp_path: Path) -> None:
    remote = {"AutoConfig": "configuration_MERT.MERTConfig", "AutoModel": "modeling_MERT.MERTModel"}
    tiny.edit_config(copy, model_type="mert_model", auto_map=remote, architectures=["MERTModel"], deepnorm=False)
    tiny.edit_config(copy, attention_relax=-1.0, feature_extractor_cqt=False, feature_extractor_cqt_bins=336)
    (copy / "modeling_MERT.py").write_text("raise SystemExit('remote code ran')\n")
    encoder = open_encoder(copy)
    with torch.no_grad():
        expected = tiny.model("hubert", 1)(tiny.waveform()).last_hidden_state
    torch.testing.assert_close(load_model(encoder)(tiny.waveform()).last_hidden_state, expected, atol=1e-5, rtol=0)
    written = write(encoder, tmp_path / "written")
    assert_loads(written, expected)
    assert open_encoder(written).config["model_type"] == "hubert"
    assert "auto_map" not in (written / "config.json").read_text()
    assert not (written / "modeling_MERT.py").exists()


def test_a_large_model_is_written_in_shards(folders, tmp_path: Path) -> None:
    encoder = open_encoder(folders("wav2vec2-stable"))
    written = write(encoder, tmp_path / "written", max_shard_bytes=30_000)
    assert (written / "model.safetensors.index.json").exists()
    assert not (written / "model.safetensors").exists()
    with torch.no_grad():
        assert_loads(written, tiny.model("wav2vec2-stable", 1)(tiny.waveform()).last_hidden_state)


def test_written_in_another_dtype(folders, tmp_path: Path) -> None:
    written = open_encoder(write(open_encoder(folders("hubert")), tmp_path / "half", dtype=torch.bfloat16))
    assert written.dtype == torch.bfloat16
    assert {info.dtype for info in written.checkpoint.infos.values()} == {torch.bfloat16}
    assert written.config["dtype"] == "bfloat16"


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_the_config_s_dtype_outlives_the_files(copy: Path, key: str, tmp_path: Path) -> None:
    half = {name: tensor.half() for name, tensor in load_file(copy / "model.safetensors").items()}
    save_file(half, copy / "model.safetensors", {"format": "pt"})
    tiny.edit_config(copy, **{"dtype": None, key: "float32"})
    kept = open_encoder(write(open_encoder(copy), tmp_path / "kept"))
    assert (kept.dtype, kept.config["dtype"]) == (torch.float16, "float32")
    other = open_encoder(write(open_encoder(copy), tmp_path / "other", dtype=torch.bfloat16))
    assert (other.dtype, other.config["dtype"]) == (torch.bfloat16, "bfloat16")


def test_counters_stay_whole_numbers(tmp_path: Path, folders) -> None:
    written = open_encoder(write(open_encoder(folders("hubert-batch-norm")), tmp_path / "half", dtype=torch.float16))
    counter = "encoder.pos_conv_embed.batch_norm.num_batches_tracked"
    assert written.checkpoint.infos[counter].dtype == torch.int64
    assert written.read(counter).item() == 0


def test_weight_norm_there_and_back() -> None:
    torch.manual_seed(0)
    direction, magnitude = torch.randn(6, 2, 5), torch.rand(1, 1, 5) + 0.5
    weight = effective_weight(magnitude, direction)
    torch.testing.assert_close(weight, torch._weight_norm(direction, magnitude, 2))
    again = weight_norm(weight, like=direction)
    torch.testing.assert_close(again, (magnitude, direction))
    torch.testing.assert_close(effective_weight(*weight_norm(weight)), weight)
    assert effective_weight(*weight_norm(torch.zeros(6, 2, 5))).abs().max() == 0


LAYER_NORM = "encoder__layer_norm__weight"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({LAYER_NORM: None}, "tensor encoder.layer_norm.weight is missing from the weights; config.json promises it"),
        ({"masked_spec_embed": None}, "tensor masked_spec_embed is missing from the weights"),
        ({PARAMETRIZED[0].replace(".", "__"): None}, f"tensor {POSITIONAL_WEIGHT} is missing from the weights"),
        ({"encoder__extra": torch.zeros(2)}, "tensor encoder.extra is not part of the hubert of config.json"),
        ({"a": torch.zeros(2), "b": torch.zeros(2)}, "tensor a and 1 more is not part of the hubert of config.json"),
        ({"feature_extractor__proj__weight": torch.zeros(2)}, "tensor feature_extractor.proj.weight is not part of"),
        (
            {LAYER_NORM: torch.zeros(47)},
            "tensor encoder.layer_norm.weight has shape (47,), config.json promises (48,)",
        ),
        (
            {PARAMETRIZED[1].replace(".", "__"): torch.zeros(48, 16, 7)},
            f"tensor {PARAMETRIZED[1]} has shape (48, 16, 7), config.json promises (48, 16, 8)",
        ),
        (
            {PARAMETRIZED[0].replace(".", "__"): torch.ones(48, 1, 1)},
            f"tensor {PARAMETRIZED[0]} has shape (48, 1, 1), config.json promises (1, 1, 8)",
        ),
    ],
)
def test_tensors_that_are_amiss(copy: Path, changes: dict[str, Any], message: str) -> None:
    respell(copy, **changes)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        open_encoder(copy)
    assert str(caught.value).startswith(f"{copy}: ")
    assert str(caught.value).endswith("check that config.json and weights belong together")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("stored", "read"),
    [("encoder.layer_norm.weight", "encoder.layer_norm.weight"), (PARAMETRIZED[1], POSITIONAL_WEIGHT)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_that_are_not_finite(copy: Path, dtype, stored: str, read: str, value: float) -> None:
    tensor = load_file(copy / "model.safetensors")[stored].to(dtype)
    tensor.view(-1)[[0, 5]] = value
    respell(copy, **{stored.replace(".", "__"): tensor})
    encoder = open_encoder(copy)
    message = f"{copy}: tensor {stored} holds 2 NaN or Inf of {tensor.numel()} values; expected finite weights"
    with pytest.raises(InputError, match=re.escape(message)):
        encoder.read(read)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_largest_finite_weights_are_read(copy: Path, dtype: torch.dtype) -> None:
    largest = torch.full((48,), torch.finfo(dtype).max, dtype=dtype)
    respell(copy, **{LAYER_NORM: largest})
    assert torch.equal(open_encoder(copy).read("encoder.layer_norm.weight"), largest)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no config.json in this folder; expected a Hugging Face model folder"),
        ("{", "config.json: not valid JSON"),
        ("[1]", "config.json: expected a JSON object, received list"),
        ('{"model_type": "hubrt"}', "did you mean 'hubert'?"),
    ],
)
def test_configs_that_are_amiss(copy: Path, content: str | None, message: str) -> None:
    (copy / "config.json").unlink()
    if content is not None:
        (copy / "config.json").write_text(content)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        open_encoder(copy)
    assert str(caught.value).startswith(str(copy))
    assert "\n" not in str(caught.value)
