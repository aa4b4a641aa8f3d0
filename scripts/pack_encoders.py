"""Packs the quickstart's two encoders: float32 checkpoints to half-precision files with a model card.

    python scripts/pack_encoders.py --speech FOLDER --music FOLDER --output src/crossfade/quickstart/data/encoders

Each FOLDER holds config.json, preprocessor_config.json and model.safetensors. The weights are stored as float16; the
config asks for float32, so AutoModel computes in float32 on any machine.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: feature-extraction
tags: [audio, {domain}, hubert]
---

# Crossfade starter encoder: {domain}

A small HuBERT encoder for trying Crossfade out: {million:.2f} million parameters, convolutions
32-64-96-128-128-128-128, 4 post-norm transformer layers of 192 with 4 heads and 768 in between. 16 kHz mono in, zero
mean and unit variance, 50 frames a second out. The weights are stored as float16 and computed in float32.

Trained from a random initialisation for 20 minutes on one processor core by distillation (L1 and cosine distance of
the last layer to the targets; AdamW at 0.001), without any label.

- targets: {targets}
- audio: {audio}

It shares its shape, and nothing else, with the {other} encoder beside it: another initialisation, other targets, other
audio.

## Limits
{limits}
- Small and briefly trained: far from what an encoder of full size hears. For demonstrations and tests.
- Which recordings it was trained on was not written down one by one: they may include unlabelled audio from the same
  packages as the audio pack's.
"""

FACTS = {
    "speech": {
        "targets": "the encoder of Whisper base (MIT), layers 3 and 6",
        "audio": "3 hours of Czech, Dutch, Russian, English, Spanish, French and Italian speech",
        "limits": "- Tells words apart well above chance for unheard voices; pitch class no better than chance.",
        "other": "music",
    },
    "music": {
        "targets": "constant-Q spectrogram (24 bins an octave), log-frequency spectrogram and chroma",
        "audio": "3 hours of game music and rendered notes",
        "limits": "- It lost pitch: a linear head on it tells pitch class no better than chance, where the same\n"
        "  network untrained does. What it keeps is envelope, rhythm, timbre and coarse melodic movement.",
        "other": "speech",
    },
}


def pack(source: Path, target: Path, domain: str) -> None:
    """`target` becomes the half-precision folder with its card; what was there goes."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    weights = load_file(source / "model.safetensors")
    save_file({name: half(tensor) for name, tensor in weights.items()}, target / "model.safetensors", {"format": "pt"})
    (target / "model.safetensors").chmod(0o644)  # safetensors leaves it to its owner alone
    config = json.loads((source / "config.json").read_text()) | {"dtype": "float32"}
    (target / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    shutil.copyfile(source / "preprocessor_config.json", target / "preprocessor_config.json")
    million = sum(tensor.numel() for tensor in weights.values()) / 1e6
    (target / "README.md").write_text(CARD.format(domain=domain, million=million, **FACTS[domain]))


def half(tensor: torch.Tensor) -> torch.Tensor:
    """In float16; a value too large for it is an error, not an infinity."""
    packed = tensor.to(torch.float16)
    if not bool(packed.isfinite().all()):
        raise OverflowError(f"a value up to {tensor.abs().max():.3g} does not fit float16")
    return packed.contiguous()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True, help="the float32 speech encoder")
    parser.add_argument("--music", type=Path, required=True, help="the float32 music encoder")
    parser.add_argument("--output", type=Path, required=True, help="gets the folders speech and music")
    options = parser.parse_args()
    for domain in FACTS:
        pack(getattr(options, domain), options.output / domain, domain)


if __name__ == "__main__":
    main()
