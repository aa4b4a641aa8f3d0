"""A labelled folder of tones: the smallest task that a tiny encoder can be asked."""

import json
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


def tones(folder: Path, domain: str, seed: int, *, clips: int = 40) -> Path:
    """Low and high tones by five players in noise, a ridge head; `seed` decides pitches and noise."""
    random, rows = np.random.default_rng(seed), []
    folder.mkdir(parents=True)
    for number in range(clips):
        pitch = ((300, 1500), (700, 900))[seed % 2][number % 2] * random.uniform(0.9, 1.1)
        sound = 0.2 * np.sin(2 * np.pi * pitch * np.arange(3000) / RATE) + 0.1 * random.standard_normal(3000)
        soundfile.write(folder / f"{number}.wav", sound, RATE)
        rows.append({"path": f"{number}.wav", "label": ["high", "low"][number % 2], "group": str(number // 2 % 5)})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "task.yaml").write_text(f"domain: {domain}\nprotocol: {{head: ridge}}\n")
    return folder
