"""`crossfade.merge` from folder to folder, on a tiny pair of every family."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import tiny
import torch
from folders import assert_equal_weights, loaded, mixed, weights
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor, AutoModel

import crossfade
from crossfade.alignment import align
from crossfade.encoders.encoder import open_encoder
from crossfade.errors import InputError
from crossfade.merging import input_statistics, merge

Pairs = Callable[[str], tuple[Path, Path]]


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_every_family_merges_into_an_ordinary_folder(name: str, pair: Pairs, tmp_path: Path) -> None:
    made = crossfade.merge(*pair(name), tmp_path / "out", weight=0.3, align="none")
    model = loaded(tmp_path / "out")
    assert_equal_weights(weights(model), mixed(pair(name), lambda _: 0.3))
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "out")
    heard = extractor(tiny.waveform(clips=1)[0].numpy(), sampling_rate=16000, return_tensors="pt")
    assert model(**heard).last_hidden_state.isfinite().all()
    assert made.parameters == sum(value.numel() for value in mixed(pair(name), lambda _: 1.0).values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_positional_weights_are_averaged_as_they_convolve(hubert: tuple[Path, Path], tmp_path: Path) -> None:
    merge(*hubert, tmp_path / "out", weight=0.5, align="none")
    stored = [load_file(folder / "model.safetensors") for folder in (*hubert, tmp_path / "out")]
    key = "encoder.pos_conv_embed.conv.parametrizations.weight.original{}"
    effective = [torch._weight_norm(file[key.format(1)], file[key.format(0)], 2) for file in stored]
    torch.testing.assert_close(effective[2], (effective[0] + effective[1]) / 2)
    apart = [(stored[0][key.format(part)] + stored[1][key.format(part)]) / 2 for part in (0, 1)]
    assert (torch._weight_norm(apart[1], apart[0], 2) - effective[2]).abs().max() > 0.01


SHARES: list[tuple[Any, Callable[[str], float]]] = [
    ({"default": 0.5, "conv": 1.0}, lambda key: 1.0 if key.startswith("feature_extractor.") else 0.5),
    (
        {"default": 0.0, "layers": {"1-2": 1.0, "0": {"attention": 0.25}}},
        lambda key: 1.0 if ".layers.1." in key or ".layers.2." in key else 0.25 if "layers.0.attention" in key else 0.0,
    ),
    ({"positions": 0.2, "norm": 0.4}, lambda key: 0.2 if "pos_conv" in key else 0.4 if _is_norm(key) else 0.9),
]


def _is_norm(key: str) -> bool:
    return key.startswith("encoder.") and "layer_norm" in key


@pytest.mark.parametrize(("weight", "share"), SHARES)
def test_weights_by_part_and_layer(
    weight: Any, share: Callable[[str], float], hubert: tuple[Path, Path], tmp_path: Path
) -> None:
    merge(*hubert, tmp_path / "out", weight=weight, align="none")
    assert_equal_weights(weights(loaded(tmp_path / "out")), mixed(hubert, share))


@pytest.mark.parametrize(
    ("method", "parameters"),
    [("task-arithmetic", {"scale": 0.5}), ("ties", {"density": 0.5}), ("ties", {}), ("dare", {"drop": 0.5})],
)
def test_methods_with_a_base(
    method: str, parameters: dict[str, float], hubert: tuple[Path, Path], tmp_path: Path
) -> None:
    base = tiny.folder(tmp_path / "base", "hubert", 3)
    made = merge(*hubert, tmp_path / "out", weight=0.6, method=method, parameters=parameters, base=base)
    assert made.recipe["align"] == "none"
    assert made.recipe["base"] == str(base)
    a, b, c = (weights(AutoModel.from_pretrained(folder)) for folder in (*hubert, base))
    merged = weights(loaded(tmp_path / "out"))
    if method == "task-arithmetic":
        expected = {key: c[key] + 0.5 * (0.6 * a[key] + 0.4 * b[key] - c[key]) for key in a}
        assert_equal_weights(merged, expected, atol=1e-5)
        return
    moved = {key: (merged[key] - c[key]).abs() > 1e-6 for key in a}
    share = float(torch.cat([value.flatten() for value in moved.values()]).float().mean())
    kept = made.recipe["parameters"]["density" if method == "ties" else "drop"]
    assert share == pytest.approx(1 - (1 - kept) ** 2, abs=0.08)


def test_a_base_without_the_mask_embedding(hubert: tuple[Path, Path], tmp_path: Path) -> None:
    base = tiny.folder(tmp_path / "base", "hubert", 3, mask_time_prob=0.0)
    merge(*hubert, tmp_path / "out", method="task-arithmetic", base=base, weight=0.5)
    key = "masked_spec_embed"
    assert torch.equal(weights(loaded(tmp_path / "out"))[key], weights(loaded(hubert[0]))[key])


def test_a_method_of_ones_own(hubert: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def larger(reference, other, *, gain=1.0):\n    return gain * reference.max(other)\n"
    )
    made = merge(
        *hubert, tmp_path / "out", method=f"{tmp_path / 'mine.py'}:larger", parameters={"gain": 2.0}, align="none"
    )
    a, b = (weights(AutoModel.from_pretrained(folder)) for folder in hubert)
    assert_equal_weights(weights(loaded(made.path)), {key: 2 * a[key].maximum(b[key]) for key in a}, atol=1e-5)


@pytest.mark.parametrize("returned", ["reference[:1]", "None", "reference.sum()"])
def test_a_method_that_returns_another_shape(returned: str, hubert: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"def odd(reference, other):\n    return {returned}\n")
    with pytest.raises(
        InputError, match=r"^method .*mine\.py:odd: expected \(48,\) for masked_spec_embed, received \("
    ):
        merge(*hubert, tmp_path / "out", method=f"{tmp_path / 'mine.py'}:odd", align="none")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("dtype", "stored", "atol"),
    [(None, torch.float32, 1e-6), ("float16", torch.float16, 2e-3), ("bfloat16", torch.bfloat16, 2e-2)],
)
def test_dtype(dtype: str | None, stored: torch.dtype, atol: float, pair: Pairs, tmp_path: Path) -> None:
    pairs = pair("hubert-batch-norm")
    merge(*pairs, tmp_path / "out", dtype=dtype, align="none", weight=0.5)
    dtypes = {value.dtype for value in load_file(tmp_path / "out" / "model.safetensors").values()}
    assert dtypes == {stored, torch.int64}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == str(stored).removeprefix("torch.")
    assert_equal_weights(weights(loaded(tmp_path / "out")), mixed(pairs, lambda _: 0.5), atol=atol)


def test_a_half_precision_reference_is_merged_in_single_precision(hubert: tuple[Path, Path], tmp_path: Path) -> None:
    AutoModel.from_pretrained(hubert[0]).half().save_pretrained(tmp_path / "half")
    made = merge(tmp_path / "half", hubert[1], tmp_path / "out", align="none", weight=0.5)
    assert made.recipe["dtype"] == "float16"
    merge(tmp_path / "half", hubert[1], tmp_path / "single", align="none", weight=0.5, dtype="float32")
    halves, singles = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "single"))
    assert all(torch.equal(halves[key], singles[key].half()) for key in singles)


def test_a_large_output_is_sharded(hubert: tuple[Path, Path], tmp_path: Path) -> None:
    merge(*hubert, tmp_path / "out", align="none", weight=0.5, max_shard_size=60_000)
    shards = sorted((tmp_path / "out").glob("model-*.safetensors"))
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert len(shards) == len(set(index["weight_map"].values())) > 3
    assert all(sum(t.nbytes for t in load_file(shard).values()) <= 60_000 for shard in shards)
    assert not (tmp_path / "out" / "model.safetensors").exists()
    assert_equal_weights(weights(loaded(tmp_path / "out")), mixed(hubert, lambda _: 0.5))
    again = merge(tmp_path / "out", hubert[1], tmp_path / "again", align="none", weight=1.0)
    assert_equal_weights(weights(loaded(again.path)), mixed(hubert, lambda _: 0.5))


def test_regression_listens_to_both_domains(
    hubert: tuple[Path, Path], sounds: tuple[Path, Path], tmp_path: Path
) -> None:
    """On the clips it heard it is closer to both parents than the linear merge."""
    audio = {"reference_audio": sounds[0], "other_audio": sounds[1], "align": "none", "weight": 0.5}
    linear = merge(*hubert, tmp_path / "linear", **audio)
    climbing = {"sequential": True, "convolutions": True}
    fitted = merge(*hubert, tmp_path / "fitted", method="regression", parameters=climbing, **audio)
    once = merge(*hubert, tmp_path / "once", method="regression", **audio)
    assert once.recipe["parameters"] == {"ridge": 0.1, "sequential": False, "convolutions": False}
    parents = [loaded(folder) for folder in hubert]
    models = [loaded(made.path) for made in (linear, once, fitted)]
    for domain, folder in enumerate(sounds):
        wave = torch.from_numpy(soundfile.read(folder / "0.wav", dtype="float32")[0])
        wave = ((wave - wave.mean()) / wave.std())[None]
        wanted = parents[domain](wave).last_hidden_state
        errors = [float((model(wave).last_hidden_state - wanted).square().mean() / wanted.var()) for model in models]
        assert errors[2] < 0.5 * errors[0]
        assert errors[2] < errors[1]


def test_statistics_heard_once_serve_every_weight(
    hubert: tuple[Path, Path], sounds: tuple[Path, Path], tmp_path: Path
) -> None:
    audio = {"reference_audio": sounds[0], "other_audio": sounds[1]}
    found = align(*hubert, [*sounds], seed=3)
    statistics = input_statistics(*hubert, *sounds, alignment=found)
    for weight in (0.2, 0.9):
        way = {"method": "regression", "alignment": found, "weight": weight, **audio}
        fresh = merge(*hubert, tmp_path / f"fresh-{weight}", **way)
        quick = merge(*hubert, tmp_path / f"quick-{weight}", statistics=statistics, **way)
        assert_equal_weights(weights(loaded(quick.path)), weights(loaded(fresh.path)))
        assert quick.recipe == fresh.recipe


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"clips": 1}, "statistics: clips: expected 1, received None; listen again for this merge"),
        ({"align": "weights"}, "statistics: permutations: expected .*, received {}; listen again"),
        ({"parameters": {"convolutions": True}}, "statistics: convolutions: expected True, received False"),
        ({"parameters": {"sequential": True}}, "statistics serve regression in one pass, received regression with"),
        ({"method": "linear"}, "statistics serve regression in one pass, received linear"),
    ],
)
def test_statistics_of_something_else_are_refused(
    hubert: tuple[Path, Path], sounds: tuple[Path, Path], tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    statistics = input_statistics(*hubert, *sounds)
    way = {"method": "regression", "align": "none", "reference_audio": sounds[0], "other_audio": sounds[1], **changed}
    with pytest.raises(InputError, match=message):
        merge(*hubert, tmp_path / "out", statistics=statistics, **way)
    assert not (tmp_path / "out").exists()


def test_an_encoder_may_be_given_open(hubert: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = map(open_encoder, hubert)
    made = merge(a, replace(b, name="renamed"), tmp_path / "out", align="none", weight=0.5)
    assert made.recipe["other"] == "renamed"
    assert_equal_weights(weights(loaded(made.path)), mixed(hubert, lambda _: 0.5))
