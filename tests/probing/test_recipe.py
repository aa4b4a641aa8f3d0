"""Probe recipes: what they may say, and how a slip is told."""

from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import yaml

import crossfade
from crossfade.errors import InputError
from crossfade.probing.recipe import ProbeRecipe, read_recipe

LEAST = {"models": ("fbank",), "tasks": ("embedded",)}


def written(folder: Path, content: Any) -> Path:
    path = folder / "recipe.yaml"
    if not isinstance(content, str):
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in content.items()}
        content = yaml.safe_dump(plain)
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        LEAST,
        {"models": ("fbank", "a/b@main"), "tasks": ("ks", "er"), "data": {"ks": "hf:a/b:test", "er": "/er"}},
        LEAST | {"protocol": "published", "head": "blstm", "layers": 3, "seeds": 3, "beam": 8, "precision": "bfloat16"},
        LEAST | {"head": "knn", "layers": "last", "shots": 5, "draws": 2, "seed": 3, "window": "30"},
        LEAST | {"noise": ("/musan",), "snr": (20.0, -5.0), "data": "/data"},
    ],
)
def test_a_recipe_says_what_it_says_and_no_more(tmp_path: Path, content: dict[str, Any]) -> None:
    assert read_recipe(written(tmp_path, content)) == content


def test_one_thing_needs_no_list(tmp_path: Path) -> None:
    content = {"models": "fbank", "tasks": "embedded", "noise": "/musan", "snr": 5}
    listed = LEAST | {"noise": ("/musan",), "snr": (5.0,)}
    assert read_recipe(written(tmp_path, content)) == listed


def test_every_key_is_an_argument_of_probe() -> None:
    arguments = signature(crossfade.probe).parameters
    for key, field in ProbeRecipe.model_fields.items():
        assert field.is_required() or field.default == arguments[key].default, key
    about_the_machine = {"output", "overwrite", "cache", "cache_bytes", "device", "progress"}
    assert arguments.keys() - ProbeRecipe.model_fields.keys() == about_the_machine


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LEAST | {"model": "a"}, "unknown key 'model'; did you mean 'models'? known: beam, data, draws"),
        (LEAST | {"cache": "a"}, "unknown key 'cache'; known: beam"),
        ({"tasks": "ks"}, "models: field required"),
        (LEAST | {"models": []}, "models: tuple should have at least 1 item"),
        (LEAST | {"tasks": ["ks", 3]}, "tasks[1]: input should be a valid string, received 3"),
        (LEAST | {"head": "rigde"}, "head: input should be 'linear', 'mlp', 'ridge', 'knn', 'blstm' or 'frame', rec"),
        (LEAST | {"shots": 0}, "shots: input should be greater than or equal to 1, received 0"),
        (LEAST | {"draws": "many"}, "draws: input should be a valid integer"),
        ("[models]", "expected keys and values, received list"),
        ("", "models: field required"),
        ("a: [", "not valid YAML ("),
    ],
)
def test_a_slip_is_one_line_that_names_the_recipe(tmp_path: Path, content: Any, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InputError) as raised:
        read_recipe(path)
    assert str(raised.value).startswith(f"{path}: {message}")
    assert "\n" not in str(raised.value)


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent.yaml: no such file; expected a YAML file"):
        read_recipe(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(tmp_path)
    (tmp_path / "recipe.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match="not valid YAML"):
        read_recipe(tmp_path / "recipe.yaml")
