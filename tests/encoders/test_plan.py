"""The plan: yes, or every reason why not, and the numbers, from configs and headers alone."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tiny

import crossfade
from crossfade.encoders import checkpoint
from crossfade.encoders.encoder import open_encoder
from crossfade.encoders.plan import Plan, describe, require_compatible
from crossfade.errors import InputError


def planned(path: Path, name: str, **changes: Any) -> Plan:
    """The plan of merging a changed encoder, OTHER, into an unchanged one, REFERENCE."""
    tiny.folder(path / "reference", name.partition("+")[0], 1)
    other = tiny.folder(path / "other", name.rpartition("+")[2], 2, **changes)
    return crossfade.plan(str(path / "reference"), str(other))


def told(plan: Plan, path: Path) -> list[str]:
    """The reasons, with short names."""
    return [reason.replace(f"{path}/", "") for reason in plan.reasons]


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_yes(name: str, folders, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("a plan reads no weights")

    monkeypatch.setattr(checkpoint.Checkpoint, "read", forbidden)
    folder = str(folders(name))
    found = crossfade.plan(folder, folder)
    assert found.ok
    assert found.reasons == ()
    assert repr(found) == f"Plan({folder} + {folder}: yes)"
    model = found.models[0]
    encoder = open_encoder(folder)
    assert model["family"] == tiny.CONFIGS[name]["model_type"]
    assert model["layers"] == encoder.config["num_hidden_layers"]
    assert model["width"] == encoder.config["hidden_size"]
    assert model["norm"] == ("pre-norm" if "stable" in name else "post-norm")
    assert model["parameters"] == found.parameters == encoder.layout.parameters
    assert (model["sampling_rate"], model["frames_per_second"], model["dtype"]) == (16000, 400.0, "float32")
    assert (model["input_normalised"], model["licence"], model["heads_left_out"]) == (True, None, [])


@pytest.mark.parametrize(
    ("name", "changes", "reasons"),
    [
        ("hubert+wav2vec2", {}, ["reference is a hubert and other a wav2vec2; expected two encoders of one family"]),
        (
            "hubert",
            {"num_hidden_layers": 2},
            ["num_hidden_layers is 3 in reference and 2 in other; expected the same"],
        ),
        ("hubert", {"hidden_size": 96}, ["hidden_size is 48 in reference and 96 in other; expected the same"]),
        (
            "wav2vec2",
            {"intermediate_size": 44},
            ["intermediate_size is 40 in reference and 44 in other; expected the same"],
        ),
        (
            "hubert",
            {"num_attention_heads": 2},
            ["num_attention_heads is 4 in reference and 2 in other: it decides the attention heads"],
        ),
        (
            "hubert",
            {"preprocessor": {"sampling_rate": 24000}},
            ["reference hears 16000 Hz and other 24000 Hz; expected one sampling rate"],
        ),
        (
            "wavlm",
            {"conv_stride": [5, 2, 2]},
            ["conv_stride is [5, 4, 2] in reference and [5, 2, 2] in other: it decides the frame rate"],
        ),
        (
            "wavlm",
            {"conv_kernel": [10, 3, 3]},
            [
                "conv_kernel is [10, 3, 2] in reference and [10, 3, 3] in other: it decides the CNN's kernels",
                "tensor feature_extractor.conv_layers.2.conv.weight is (16, 16, 2) in reference and (16, 16, 3) in "
                "other; expected the same shape",
            ],
        ),
        (
            "hubert",
            {"conv_dim": [12, 16, 20]},
            ["conv_dim is [12, 16, 16] in reference and [12, 16, 20] in other; expected the same"],
        ),
        (
            "hubert",
            {"do_stable_layer_norm": True},
            [
                "do_stable_layer_norm is False in reference and True in other: it decides where the transformer "
                "normalises (before or after each sum)"
            ],
        ),
        (
            "wavlm-stable",
            {"conv_bias": False},
            [
                f"tensor feature_extractor.conv_layers.{i}.conv.bias is only in reference; expected it in both"
                for i in range(3)
            ],
        ),
        (
            "data2vec-audio",
            {"num_conv_pos_embedding_groups": 6},
            [
                "num_conv_pos_embedding_groups is 3 in reference and 6 in other: it decides the groups of the "
                "positional convolution",
                *(
                    f"tensor encoder.pos_conv_embed.layers.{p}.conv.weight is (48, 16, 5) in reference and (48, 8, 5) "
                    "in other; expected the same shape"
                    for p in range(3)
                ),
            ],
        ),
        (
            "wavlm",
            {"num_buckets": 64},
            [
                "tensor encoder.layers.0.attention.rel_attn_embed.weight is (320, 8) in reference and (64, 8) in "
                "other; expected the same shape"
            ],
        ),
        (
            "hubert",
            {"hidden_act": "relu", "feat_extract_activation": "relu"},
            [
                "hidden_act is 'gelu' in reference and 'relu' in other: it decides the activation of the feed-forward "
                "layers",
                "feat_extract_activation is 'gelu' in reference and 'relu' in other: it decides the activation of the "
                "CNN",
            ],
        ),
        (
            "hubert",
            {"num_hidden_layers": 2, "num_attention_heads": 2, "preprocessor": {"sampling_rate": 8000}},
            [
                "reference hears 16000 Hz and other 8000 Hz; expected one sampling rate",
                "num_attention_heads is 4 in reference and 2 in other: it decides the attention heads",
                "num_hidden_layers is 3 in reference and 2 in other; expected the same",
            ],
        ),
    ],
)
def test_every_reason_why_not(name: str, changes: dict[str, Any], reasons: list[str], tmp_path: Path) -> None:
    found = planned(tmp_path, name, **changes)
    assert not found.ok
    assert told(found, tmp_path) == reasons
    assert repr(found).endswith(f": no, {'; '.join(found.reasons)})")
    pair = [open_encoder(tmp_path / side) for side in ("reference", "other")]
    message = f"cannot merge {pair[1].name} into {pair[0].name}: {'; '.join(found.reasons)}"
    with pytest.raises(InputError, match="^" + re.escape(message) + "$"):
        require_compatible(*pair)


def test_norm_styles_of_whole_families(folders) -> None:
    found = crossfade.plan(str(folders("wav2vec2")), str(folders("wav2vec2-stable")))
    assert not found.ok
    assert any("where the transformer normalises" in reason for reason in found.reasons)
    assert any("feat_extract_norm is 'group'" in reason for reason in found.reasons)


def test_a_mask_that_only_one_has_is_no_reason(tmp_path: Path) -> None:
    assert planned(tmp_path, "hubert", mask_time_prob=0.0).ok


def test_a_mert_joins_a_hubert(tmp_path: Path) -> None:
    tiny.folder(tmp_path / "speech", "hubert", 1)
    tiny.folder(tmp_path / "music", "hubert", 2, preprocessor={"do_normalize": False})
    tiny.edit_config(tmp_path / "music", model_type="mert_model", feature_extractor_cqt=False, attention_relax=-1.0)
    found = crossfade.plan(str(tmp_path / "speech"), str(tmp_path / "music"))
    assert found.ok
    assert [model["family"] for model in found.models] == ["hubert", "hubert"]
    note = f"input normalisation differs; the merged encoder hears normalised waveforms, as {tmp_path}/speech does"
    assert note in found.notes


def licensed(folder: Path, licence: str | None) -> str:
    if licence:
        (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n")
    return str(folder)


@pytest.mark.parametrize(
    ("licences", "notes"),
    [
        (("mit", "mit"), []),
        (("mit", "cc-by-nc-4.0"), ["licences differ (mit, cc-by-nc-4.0): the merged encoder is bound by both"]),
        (("mit", None), ["other states no licence"]),
        ((None, None), ["reference states no licence", "other states no licence"]),
    ],
)
def test_licences_are_told(licences: tuple[str | None, str | None], notes: list[str], tmp_path: Path) -> None:
    pair = [
        licensed(tiny.folder(tmp_path / side, "hubert-student", 1), licence)
        for side, licence in zip(("reference", "other"), licences, strict=True)
    ]
    found = crossfade.plan(*pair)
    assert [note.replace(f"{tmp_path}/", "") for note in found.notes] == notes
    assert tuple(model["licence"] for model in found.models) == licences


def test_what_is_assumed_is_told(tmp_path: Path) -> None:
    reference = tiny.folder(tmp_path / "reference", "hubert-student", 1, preprocessor={"do_normalize": False})
    other = tiny.folder(tmp_path / "other", "hubert-student", 1)
    (other / "preprocessor_config.json").unlink()
    found = crossfade.plan(licensed(reference, "mit"), licensed(other, "mit"))
    assert found.ok
    assert list(found.notes) == [
        f"input normalisation differs; the merged encoder hears raw waveforms, as {reference} does",
        f"{other} has no preprocessor_config.json; 16000 Hz, normalised input is assumed",
    ]


def test_the_numbers_grow_with_the_models(tmp_path: Path) -> None:
    plans = []
    for layers, size in ((2, 40), (4, 400)):
        folder = str(tiny.folder(tmp_path / str(layers), "hubert", 1, num_hidden_layers=layers, intermediate_size=size))
        plans.append(crossfade.plan(folder, folder))
    small, large = plans
    grown = ("parameters", "output_bytes", "merge_memory_bytes", "align_memory_bytes", "merge_seconds")
    assert all(getattr(large, name) > getattr(small, name) for name in grown)
    assert small.output_bytes == 4 * (small.parameters + 8)  # float32, and the positional convolution's magnitudes
    assert small.align_seconds_per_audio_minute > 0
    assert json.loads(json.dumps(large.to_dict()))["parameters"] == large.parameters


def test_half_precision_and_heads_count_for_what_they_are(tmp_path: Path) -> None:
    model = tiny.model("hubert", 1).half()
    model.lm_head = model.encoder.layers[0].feed_forward.output_dense
    model.save_pretrained(tmp_path, state_dict={k: v.clone() for k, v in model.state_dict().items()})
    header = describe(str(tmp_path))
    assert header.dropped == ("lm_head.bias", "lm_head.weight")
    assert header.dtype == "float16"
    assert header.bytes == 2 * (header.layout.parameters + 8)
    assert header.fetched == 0
    assert crossfade.plan(str(tmp_path), str(tmp_path)).models[0]["heads_left_out"] == [
        "lm_head.bias",
        "lm_head.weight",
    ]


def test_a_model_that_is_no_encoder_is_refused(tmp_path: Path, folders) -> None:
    with pytest.raises(InputError, match="no such folder"):
        crossfade.plan(str(folders("hubert")), str(tmp_path / "nowhere"))
    broken = tiny.folder(tmp_path / "broken", "hubert", 1)
    tiny.edit_config(broken, num_hidden_layers=4)
    with pytest.raises(InputError, match=r"tensor encoder\.layers\.3\..* is missing from the weights"):
        crossfade.plan(str(broken), str(folders("hubert")))
