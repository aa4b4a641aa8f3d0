"""The folder of something tuned: what its method keeps, the head, and a record of how it came to be.

`adapter_config.json` and `adapter_model.safetensors` are prompts, or a LoRA in peft's layout; `config.json`,
`model.safetensors` and `preprocessor_config.json` are a whole encoder; `head.safetensors` is the CTC head.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from crossfade import __version__
from crossfade.distillation.export import table
from crossfade.documents import validated
from crossfade.encoders.sidecars import CARD, RECORD, read_json
from crossfade.errors import InputError
from crossfade.probing.ctc import TokenTable
from crossfade.probing.upstreams import Precision, Upstream
from crossfade.prompts.config import Noise
from crossfade.prompts.drift import Defence
from crossfade.prompts.listening import open_listener
from crossfade.prompts.methods import METHODS, require
from crossfade.prompts.recipe import PromptRecipe
from crossfade.prompts.recognizer import CtcHead, Recognizer

HEAD = "head.safetensors"


@dataclass(frozen=True)
class Tuned:
    """Something tuned, from its folder. `sha256` is of all the weights in it, `nbytes` their size."""

    path: Path
    recipe: PromptRecipe
    record: Mapping[str, Any]
    recognizer: Recognizer
    sha256: str
    nbytes: int

    @property
    def upstream(self) -> Upstream:
        """The encoder that it hears with."""
        return self.recognizer.upstream


def make_head(upstream: Upstream, recipe: PromptRecipe, tokens: TokenTable) -> CtcHead:
    """A new head; its weights are drawn from torch's own generator."""
    return CtcHead(upstream.layers, upstream.width, len(tokens), recipe.head).to(upstream.device)


def write_tuned(
    folder: Path, recognizer: Recognizer, recipe: PromptRecipe, record: Mapping[str, Any], noise: Noise | None
) -> int:
    """Write everything into a folder that exists, and give the bytes of weights."""
    METHODS[recipe.method].save(folder, recognizer, noise)
    save_file({name: value.contiguous() for name, value in recognizer.head.state_dict().items()}, folder / HEAD)
    size = sum(path.stat().st_size for path in _weights(folder))
    upstream, tokens = recognizer.upstream, recognizer.table
    told = {
        "crossfade": __version__,
        "recipe": recipe.model_dump(mode="json", by_alias=True),
        "model": {"name": upstream.name, "revision": upstream.revision, "sha256": upstream.sha256},
        "tokens": {"unit": tokens.unit, "tokens": list(tokens.tokens)},
        **record,
        "noise": noise.name if noise else None,
        "bytes": size,
    }
    (folder / RECORD).write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / CARD).write_text(_card(told), encoding="utf-8")
    return size


def open_tuned(
    folder: str | Path,
    device: str = "auto",
    model: str | None = None,
    defence: Defence = "refuse",
    precision: Precision = "float32",
) -> Tuned:
    """What `crossfade prompt-tune train` wrote. `model`: where the encoder is now, if not where it was.

    defence: what becomes of prompts that are not what was recorded, see `drift.defend`.

    Raises InputError for a folder that is none, damaged or changed files, and another encoder than it was tuned on.
    """
    folder = Path(folder)
    recipe, record = read_tuning(folder)
    way = METHODS[recipe.method]
    require(*way.needs)
    whole = recipe.method == "full"
    upstream = open_listener(str(folder) if whole else model or recipe.model, device, precision)
    if not whole and upstream.sha256 != (wanted := record["model"]["sha256"]):
        raise InputError(
            f"{upstream.name}: its weights have SHA-256 {str(upstream.sha256)[:12]}…, {folder} was tuned on "
            f"{wanted[:12]}…; give that encoder"
        )
    tokens = TokenTable(record["tokens"]["unit"], tuple(record["tokens"]["tokens"]))
    encoder, prompts = way.load(folder, upstream, defence)
    head = make_head(upstream, recipe, tokens)
    try:
        head.load_state_dict(load_file(folder / HEAD))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(
            f"{folder / HEAD}: cannot be read ({' '.join(str(error).split())[:120]}); tune it again"
        ) from None
    recognizer = Recognizer(upstream, encoder, prompts, head, tokens).eval()
    size = sum(path.stat().st_size for path in _weights(folder))
    return Tuned(folder, recipe, record, recognizer, _sha256(folder), size)


def read_tuning(folder: Path) -> tuple[PromptRecipe, Mapping[str, Any]]:
    """Recipe and record of something tuned. Raises InputError for a folder that is none."""
    if not (folder / RECORD).is_file() or "tokens" not in (record := read_json(folder / RECORD)):
        raise InputError(f"{folder}: no {RECORD} of a tuning; expected a folder of `crossfade prompt-tune train`")
    return validated(PromptRecipe, record["recipe"], folder / RECORD), record


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in _weights(folder):
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _card(told: Mapping[str, Any]) -> str:
    """README.md: what it is, what it was trained on, and the recipe."""
    recipe, training = told["recipe"], told["training"]
    front = {"library_name": "crossfade", "pipeline_tag": "automatic-speech-recognition",
             "tags": ["audio", "crossfade", "soft-prompts"]}  # fmt: skip
    looks = [
        {"step": look["step"], **{name: -score for name, score in look["scores"].items()}} for look in told["looks"]
    ]
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# {told['data']['task']} on {Path(told['model']['name']).name}: {recipe['method']}",
        f"Speech recognition by Crossfade {told['crossfade']}: {training['parameters']:,} trained parameters in "
        f"{told['bytes']:,} bytes, {training['steps']} steps, {training['sound_seconds'] / 3600:.2f} hours of sound, "
        f"seed {recipe['seed']}. Kept is step {training['chosen']}.",
        table([told["model"]], ("name", "revision", "sha256")),
        "## Validation",
        table(looks, tuple(looks[0])),
        "## Recipe",
        f"```yaml\n{yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True).strip()}\n```",
    ]
    return "\n\n".join(parts) + "\n"
