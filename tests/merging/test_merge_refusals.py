"""A merge appears whole or not at all, and says in one line why not."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from folders import assert_equal_weights, contents, loaded, mixed, weights
from safetensors.torch import load_file, save_file

from crossfade.errors import InputError
from crossfade.merging import merge


def test_an_existing_output_is_kept_unless_it_may_be_replaced(hubert: tuple[Path, Path], tmp_path: Path) -> None:
    merge(*hubert, tmp_path / "out", align="none", weight=0.9)
    (tmp_path / "out" / "mine.txt").write_text("of the old one")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"out: already exists; pass --overwrite"):
        merge(*hubert, tmp_path / "out", align="none", weight=0.1)
    assert contents(tmp_path) == before
    merge(*hubert, tmp_path / "out", align="none", weight=0.1, overwrite=True)
    assert not (tmp_path / "out" / "mine.txt").exists()
    assert_equal_weights(weights(loaded(tmp_path / "out")), mixed(hubert, lambda _: 0.1))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("role", [0, 1])
def test_a_failure_half_way_leaves_everything_as_it_was(
    role: int, value: float, hubert: tuple[Path, Path], tmp_path: Path
) -> None:
    bad = shutil.copytree(hubert[role], tmp_path / "bad")
    tensors = load_file(bad / "model.safetensors")
    key = "encoder.layers.2.final_layer_norm.weight"
    tensors[key][3:5] = value
    save_file(tensors, bad / "model.safetensors", {"format": "pt"})
    models = (bad, hubert[1]) if role == 0 else (hubert[0], bad)
    merge(*hubert, tmp_path / "old", align="none")
    before = contents(tmp_path)
    for output in ("old", "new", "deep/er/new"):
        with pytest.raises(InputError, match=rf"bad: tensor {key} holds 2 NaN or Inf of 48 values"):
            merge(*models, tmp_path / output, align="none", overwrite=True)
    assert contents(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "old"]


def test_an_interrupted_merge_leaves_nothing(hubert: tuple[Path, Path], tmp_path: Path) -> None:
    class Impatient:
        def track(self, iterable: Any, **about: Any) -> Iterator[Any]:
            for count, item in enumerate(iterable):
                if count == 7:
                    raise KeyboardInterrupt
                yield item

    with pytest.raises(KeyboardInterrupt):
        merge(*hubert, tmp_path / "out", align="none", progress=Impatient())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("role", ["reference", "other", "base"])
def test_an_input_is_never_replaced(role: str, hubert: tuple[Path, Path], tmp_path: Path) -> None:
    models = {"reference": hubert[0], "other": hubert[1], "base": hubert[0]}
    models[role] = shutil.copytree(models[role], tmp_path / "mine")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="mine: is one of the inputs; choose another output folder"):
        merge(**models, output=tmp_path / "elsewhere" / ".." / "mine", method="ties", overwrite=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"align": "corelation"}, "align: 'corelation' is no way to align; did you mean 'correlation'?"),
        ({}, "correlation alignment needs audio that both models hear: add --audio DIR, or say --align weights"),
        (
            {"align": "weights", "alignment": "x"},
            "align 'weights' and an alignment are both given; leave one of them out",
        ),
        ({"align": "none", "alignment": "x"}, "align 'none' and an alignment are both given; leave one of them out"),
        (
            {"alignment": "x", "points": ["conv"]},
            "points and an alignment are both given; the alignment has its points",
        ),
        ({"align": "weights", "audio": "x"}, "align 'weights' hears no audio; leave --audio out"),
        (
            {"align": "weights", "points": ["feedforward"]},
            "points: 'feedforward' is no point to align; did you mean 'feed",
        ),
        ({"align": "weights", "points": []}, "points: none received, expected some of conv, feed_forward, attention"),
        ({"align": "none", "dtype": "float8"}, "dtype: 'float8' cannot be written; did you mean 'float32'?"),
        ({"align": "none", "method": "ties"}, "method ties needs the common ancestor of both models: add --base MODEL"),
        (
            {"align": "none", "base": "REFERENCE"},
            "method linear knows no base; leave --base out, or choose one of dare, ",
        ),
        ({"align": "none", "weight": 1.01}, "weight = 1.01, expected a number from 0 (all OTHER) to 1 (all REFERENCE)"),
        (
            {"align": "none", "weight": {"layers": {3: 1}}},
            "weight: layers: 3, expected a layer or a span of layers from 0 ",
        ),
        ({"align": "none", "parameters": {"density": 1}}, "method linear has no setting 'density'; it has no settings"),
        (
            {"align": "none", "method": "regression"},
            "method regression needs --reference-audio: clips of what REFERENCE",
        ),
        ({"align": "none", "device": "tpu"}, "device 'tpu': expected auto, cpu or cuda"),
        ({"alignment": "absent"}, "absent: no alignment.json in this folder; make one with: crossfade align"),
        (
            {"align": "none", "method": "ties", "base": "REFERENCE", "parameters": {"density": 0}},
            "density = 0, expected",
        ),
    ],
)
def test_words_that_do_not_fit(words: dict[str, Any], message: str, hubert: tuple[Path, Path], tmp_path: Path) -> None:
    if words.get("base") == "REFERENCE":
        words = words | {"base": hubert[0]}
    with pytest.raises(InputError) as raised:
        merge(*hubert, tmp_path / "out", **words)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())
