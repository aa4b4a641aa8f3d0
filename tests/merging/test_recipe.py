"""Recipes: what they may say, and how a slip in one is told."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from crossfade.errors import InputError
from crossfade.merging.recipe import Recipe, read_recipe

MODELS = {"reference": "speech", "other": "music"}


def written(folder: Path, content: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    "content",
    [
        MODELS,
        MODELS | {"weight": 0.5, "method": "ties", "parameters": {"density": 0.2}, "base": "ancestor"},
        MODELS | {"weight": {"default": 0.9, "conv": 1.0, "layers": {"0-1": {"attention": 0.5}, 2: 0.7}}},
        MODELS | {"align": "correlation", "points": ["conv", "residual"], "audio": ["a", "b"], "clips": 8},
        MODELS | {"method": "regression", "reference_audio": "a", "other_audio": ["b"], "seconds": 2.5, "seed": 3},
        MODELS | {"alignment": "done", "dtype": "float16", "repair": True},
    ],
)
def test_a_recipe_says_what_it_says_and_no_more(tmp_path: Path, content: dict[str, Any]) -> None:
    assert read_recipe(written(tmp_path, content)) == content


def test_every_key_is_an_argument_of_merge() -> None:
    from inspect import signature

    from crossfade.merging import merge

    arguments = signature(merge).parameters
    assert Recipe.model_fields.keys() <= arguments.keys()
    for key, field in Recipe.model_fields.items():
        if not field.is_required():
            default = field.get_default(call_default_factory=True)
            assert default in (arguments[key].default, {}), key


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (MODELS | {"wieght": 0.5}, "unknown key 'wieght'; did you mean 'weight'? known: align, alignment, audio"),
        (MODELS | {"referenceaudio": "x"}, "unknown key 'referenceaudio'; did you mean 'reference_audio'?"),
        (MODELS | {3: "x"}, "unknown key '3'; known: align"),
        ({"reference": "speech"}, "other: field required"),
        (MODELS | {"method": 3}, "method: input should be a valid string, received 3"),
        (MODELS | {"seed": "soon"}, "seed: input should be a valid integer"),
        (MODELS | {"align": "corelation"}, "align: input should be 'none', 'weights' or 'correlation', received"),
        (MODELS | {"dtype": "int8"}, "dtype: input should be 'float32', 'float16' or 'bfloat16', received 'int8'"),
        ("- speech\n- music\n", "expected keys and values, received list"),
        ("", "reference: field required"),
        ("a: [1\nb: }", "not valid YAML ("),
        ("a: \x00", "not valid YAML ("),
    ],
)
def test_a_slip_is_one_line_that_names_the_recipe(tmp_path: Path, content: Any, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InputError) as raised:
        read_recipe(path)
    assert str(raised.value).startswith(f"{path}: {message}")
    assert "\n" not in str(raised.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match="not valid YAML"):
        read_recipe(tmp_path / "recipe.yaml")


def test_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_recipe(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(tmp_path)
