"""The small files beside the weights: preprocessing, licence, vocabulary."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from crossfade.errors import InputError

CONFIG, PREPROCESSOR, CARD = "config.json", "preprocessor_config.json", "README.md"
RECORD = "crossfade.json"
"""How a folder that Crossfade wrote came to be."""
VOCABULARY = ("vocab.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


@dataclass(frozen=True)
class Preprocessing:
    """How a waveform becomes a model's input.

    `sampling_rate` in Hz; `do_normalize` scales each clip to zero mean and unit variance; `return_attention_mask` tells
    whether padded batches carry a mask. `stated` is False where the folder has no preprocessor_config.json and the
    values are those that transformers itself assumes.
    """

    sampling_rate: int = 16000
    do_normalize: bool = True
    return_attention_mask: bool = False
    stated: bool = True

    def to_json(self) -> dict[str, Any]:
        """The content of preprocessor_config.json for AutoFeatureExtractor."""
        values = asdict(self)
        del values["stated"]
        fixed = {"feature_size": 1, "padding_side": "right", "padding_value": 0.0}
        return {"feature_extractor_type": "Wav2Vec2FeatureExtractor", **fixed, **values}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from `path`; InputError when it is missing or malformed."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(
            f"{path.parent}: no {path.name} in this folder; expected a Hugging Face model folder"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); download the file again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, received {type(content).__name__}")
    return content


def read_preprocessing(folder: Path) -> Preprocessing:
    """The preprocessing a folder states, or what transformers assumes without one."""
    path = folder / PREPROCESSOR
    if not path.exists():
        return Preprocessing(stated=False)
    content = read_json(path)
    known = {key: content[key] for key in ("sampling_rate", "do_normalize", "return_attention_mask") if key in content}
    for key, value in known.items():
        expected = int if key == "sampling_rate" else bool
        if type(value) is not expected or (expected is int and value <= 0):
            raise InputError(
                f"{path}: {key} = {value!r}, expected {'a rate in Hz' if expected is int else 'true or false'}"
            )
    return Preprocessing(**known)


def normalise(samples: Any, preprocessing: Preprocessing) -> Any:
    """Clips (clips, samples), float32, as a model with this preprocessing expects them (Wav2Vec2FeatureExtractor)."""
    if not preprocessing.do_normalize:
        return samples
    centred = samples - samples.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-7).sqrt()


def read_licence(folder: Path) -> str | None:
    """The licence in the front matter of the model card, None when the card is missing or silent."""
    path = folder / CARD
    if not path.exists():
        return None
    parts = path.read_text(errors="replace").split("---", 2)
    if len(parts) < 3 or parts[0].strip():
        return None
    try:
        front = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return None
    licence = front.get("license") if isinstance(front, Mapping) else None
    return str(licence) if licence else None


def reconcile_vocabulary(reference: Path, other: Path) -> tuple[tuple[Path, ...], str | None]:
    """The tokenizer files the merged folder takes, and a note when it cannot take any.

    The merged encoder speaks REFERENCE's basis, so REFERENCE's vocabulary goes with it unless OTHER brings another one.
    """
    ours = tuple(reference / name for name in VOCABULARY if (reference / name).exists())
    theirs = other / "vocab.json"
    both = theirs.exists() and (reference / "vocab.json").exists()
    if both and read_json(theirs) != read_json(reference / "vocab.json"):
        return (), "the inputs' vocabularies differ, so neither was copied; a new head needs one of its own"
    return ours, None
