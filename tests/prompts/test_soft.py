"""Prompts as a module and as a folder."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import prompted
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import nn

from crossfade.errors import InputError
from crossfade.prompts import PromptConfig, SoftPrompts
from crossfade.prompts.soft import initial_vectors
from crossfade.prompts.store import CONFIG, VECTORS, WEIGHTS, write_prompts

Models = Callable[[str], nn.Module]


def config(**changes: object) -> PromptConfig:
    fitting = {"base_model_name_or_path": "speech", "family": "hubert", "count": 3, "width": 8}
    return PromptConfig.model_validate(fitting | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    SoftPrompts(config(layers=2), seed=7).save_pretrained(tmp_path / "tuned")
    return tmp_path / "tuned"


def test_prompts_start_from_the_seed() -> None:
    one, same, other = (SoftPrompts(config(count=40, width=256), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.vectors, same.vectors)
    assert not torch.equal(one.vectors, other.vectors)
    assert float(one.vectors.detach().std()) == pytest.approx(0.02, rel=0.02)
    assert [tuple(value.shape) for value in one.parameters()] == [(1, 40, 256)]


@given(seed=st.integers(0, 2**31), layers=st.integers(1, 3), count=st.integers(1, 7))
def test_prompts_may_start_as_frames_of_their_layers(seed: int, layers: int, count: int) -> None:
    heard = [torch.arange(40.0).view(4, 5, 2), 100 + torch.arange(16.0).view(4, 2, 2)]
    found = initial_vectors(config(init="frames", layers=layers, count=count, width=2), seed, heard)
    frames = torch.cat(heard, dim=1)
    places = [[row.tolist() for row in frames[layer]] for layer in range(4)]
    drawn = [places[0].index(vector.tolist()) for vector in found[0]]
    assert len({*drawn}) == count
    assert all(torch.equal(found[layer], frames[layer, drawn]) for layer in range(layers))


def test_too_few_frames_to_start_from() -> None:
    with pytest.raises(InputError, match="init 'frames': 2 frames for 3 prompts; give more or longer clips"):
        initial_vectors(config(init="frames", width=2), 0, [torch.zeros(4, 2, 2)])
    with pytest.raises(InputError, match="init 'frames': 0 frames for 3 prompts"):
        SoftPrompts(config(init="frames"))


def test_numbers_are_dropped_in_training_only() -> None:
    prompts = SoftPrompts(config(count=50, width=64, dropout=0.25), seed=0)
    torch.manual_seed(0)
    assert float((prompts.train()() == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(prompts.eval()(), prompts.vectors)


@pytest.mark.parametrize(
    ("changes", "line"),
    [({"count": 0}, "count"), ({"layers": 0}, "layers"), ({"place": "beside"}, "place"), ({"sort": 1}, "sort"),
     ({"dropout": 1.0}, "dropout"), ({"noise": {"name": "rain", "profile": [0.0]}}, "noise.profile")],
)  # fmt: skip
def test_configs_that_say_nothing_useful(changes: dict[str, object], line: str) -> None:
    with pytest.raises(ValidationError, match=line):
        config(**changes)


def test_vectors_of_another_shape() -> None:
    line = "config promises vectors of shape (1, 3, 8), received (1, 3, 9)"
    with pytest.raises(InputError, match=re.escape(line)):
        SoftPrompts(config(), torch.zeros(1, 3, 9))


def test_a_folder_gives_back_what_it_was_given(folder: Path) -> None:
    found = SoftPrompts.from_pretrained(folder)
    assert torch.equal(found.vectors, SoftPrompts(config(layers=2), seed=7).vectors)
    assert found.config.record is not None
    assert found.config == config(layers=2, record=found.config.record)
    told = json.loads((folder / CONFIG).read_text())
    assert (told["peft_type"], told["base_model_name_or_path"]) == ("CROSSFADE_SOFT_PROMPTS", "speech")
    assert load_file(folder / WEIGHTS)[VECTORS].shape == (2, 3, 8)
    # Changed and saved again they are their own record.
    found.vectors.data += 1
    found.save_pretrained(folder.with_name("more"))
    assert torch.equal(SoftPrompts.from_pretrained(folder.with_name("more")).vectors, found.vectors)
    with pytest.raises(InputError, match="already exists"):
        found.save_pretrained(folder)
    found.save_pretrained(folder, overwrite=True)
    assert torch.equal(SoftPrompts.from_pretrained(folder).vectors, found.vectors)


def test_a_folder_takes_kilobytes(tmp_path: Path) -> None:
    SoftPrompts(config(count=40, width=768)).save_pretrained(tmp_path / "tuned")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "tuned").iterdir()}
    assert sizes.keys() == {CONFIG, WEIGHTS}
    assert 40 * 768 * 4 < sum(sizes.values()) < 40 * 768 * 4 + 2000


def test_folders_that_hold_no_prompts(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing: no adapter_config.json; expected a folder of `crossfade prompt-"):
        SoftPrompts.from_pretrained(tmp_path / "nothing")
    told = json.loads((folder / CONFIG).read_text())
    for changes, line in (
        ({"peft_type": "LORA"}, "adapter_config.json: peft_type 'LORA', expected 'CROSSFADE_SOFT_PROMPTS'"),
        ({"rank": 8}, "adapter_config.json: unknown key 'rank'"),
        ({"count": 0}, "adapter_config.json: count: input should be greater than or equal to 1, received 0"),
        ({"count": 4}, r"expected finite prompt_embeddings of shape \(2, 4, 8\), received \(2, 3, 8\)"),
    ):
        (folder / CONFIG).write_text(json.dumps(told | changes))
        with pytest.raises(InputError, match=line):
            SoftPrompts.from_pretrained(folder)
    (folder / CONFIG).write_text(json.dumps(told))
    save_file({VECTORS: torch.full((2, 3, 8), torch.nan)}, folder / WEIGHTS)
    with pytest.raises(InputError, match="expected finite prompt_embeddings"):
        SoftPrompts.from_pretrained(folder, defence="off")
    for content in (b"", b"\x08\0\0\0\0\0\0\0{}      "):
        (folder / WEIGHTS).write_bytes(content)
        with pytest.raises(InputError, match=r"adapter_model.safetensors: cannot be read \("):
            SoftPrompts.from_pretrained(folder)


def test_prompts_of_another_encoder() -> None:
    prompts = SoftPrompts(config(base_sha256="ab" * 32))
    prompts.require_base("speech", "ab" * 32)
    SoftPrompts(config()).require_base("any", None)
    line = (
        "music: its weights have SHA-256 cdcdcdcdcdcd…, the prompts were tuned on speech (abababababab…); give that one"
    )
    with pytest.raises(InputError, match=re.escape(line)):
        prompts.require_base("music", "cd" * 32)


def test_prompts_of_a_folder_in_a_model(tmp_path: Path, models: Models) -> None:
    model = models("wav2vec2")
    tuned = prompted.prompts(model, layers=3)
    tuned.save_pretrained(tmp_path / "tuned")
    sound = torch.randn(1, 1500)
    outputs = []
    for prompts in (tuned, SoftPrompts.from_pretrained(tmp_path / "tuned")):
        with torch.inference_mode(), prompts.attached(model):
            outputs.append(model(sound)[0])
    assert torch.equal(*outputs)


def test_the_record_may_be_that_of_others(tmp_path: Path) -> None:
    tuned, changed = SoftPrompts(config(), seed=1), SoftPrompts(config(), seed=2)
    for name, keep in (("honest", False), ("silent", True)):
        (tmp_path / name).mkdir()
        tuned.save_pretrained(tmp_path / f"{name}-tuned")
        known = SoftPrompts.from_pretrained(tmp_path / f"{name}-tuned").config
        write_prompts(tmp_path / name, known, changed.vectors, keep_record=keep)
    assert torch.equal(SoftPrompts.from_pretrained(tmp_path / "honest").vectors, changed.vectors)
    with pytest.raises(InputError, match="silent: its vectors are not those that were saved"):
        SoftPrompts.from_pretrained(tmp_path / "silent")
    assert torch.equal(SoftPrompts.from_pretrained(tmp_path / "silent", defence="off").vectors, changed.vectors)
