"""A recognition task small enough for a test: tones that stand for letters, a random encoder, a recipe."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import tiny

from crossfade.prompts.recipe import PromptRecipe

RATE = 16_000
PITCHES = {"A": 300, "b": 900, "c": 2700, " ": 0}
WORDS = ("A b", "b c", "c A b", "Ab c", "cc b", "b Ac")
SPLITS = ("train", "train", "train", "valid", "test", "test")


def letters(folder: Path, *, rounds: int = 3) -> Path:
    """Clips in which every letter is a tone of 40 ms; some test text has a letter that training lacks."""
    random, rows = np.random.default_rng(0), []
    folder.mkdir(parents=True)
    for number, (said, split) in enumerate(list(zip(WORDS, SPLITS, strict=True)) * rounds):
        time = np.arange(640) / RATE
        tones = [np.sin(2 * np.pi * PITCHES[sign] * time) for sign in said for _ in range(2)]
        sound = 0.3 * np.concatenate(tones) + 0.02 * random.standard_normal(1280 * len(said))
        soundfile.write(folder / f"{number}.wav", sound, RATE)
        text = f"{said}, é!" if number == 4 else f"{said}."
        rows.append({"path": f"{number}.wav", "text": text, "split": split, "group": f"{split}{number}"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "task.yaml").write_text("domain: speech\nkind: ctc\nlabel: text\nmetric: cer\n")
    return folder


def materials(home: Path) -> Path:
    """Folders `letters`, a task, `encoder`, a model, and `noise`, recordings."""
    letters(home / "letters")
    tiny.folder(home / "encoder", "hubert", 1)
    tiny.sounds(home / "noise", 1, clips=2)
    return home


def told(home: Path, **changes: Any) -> dict[str, Any]:
    """What a recipe's file says; `training` is added to what is here, other keys replace it."""
    said: dict[str, Any] = {
        "model": str(home / "encoder"),
        "data": {"task": str(home / "letters")},
        "prompts": {"count": 3},
    }
    training = {"steps": 4, "batch_seconds": 1.0, "save_steps": 2, "valid_steps": 2}
    return said | changes | {"training": training | changes.get("training", {})}


def recipe(home: Path, **changes: Any) -> PromptRecipe:
    return PromptRecipe.model_validate(told(home, **changes))
