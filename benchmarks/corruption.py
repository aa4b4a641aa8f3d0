"""Rooms and noise on 100 s of sound, beside one training step of a small student on as much, on one core each.

`python benchmarks/corruption.py [ROUNDS]` prints JSON: seconds of processor time, the least of the rounds, with every
clip corrupted; in training, a recipe's `chance` and `reverb` say for how many of them that is so.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from crossfade.audio.corruption import Corruption, MadeNoise, RecordedNoise, corrupt
from crossfade.audio.rooms import MadeRoom
from crossfade.audio.sources import AudioFile
from crossfade.distillation.recipe import Shape, Student
from crossfade.distillation.students import make_student

RATE, CLIPS, SECONDS = 16000, 10, 10
CHANNELS = (32, 64, 96, 128, 128, 128, 128)
SHAPE = Shape(width=192, layers=4, heads=4, feed_forward=768, conv_channels=CHANNELS, position_kernel=64)


def cpu_seconds(work: Callable[[], object], rounds: int) -> float:
    """The least of the rounds; the first warms up."""
    spent = []
    for _ in range(rounds + 1):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return min(spent[1:])


def recording(path: Path, rate: int, channels: int, seconds: int = 120) -> AudioFile:
    generator = torch.Generator().manual_seed(0)
    with soundfile.SoundFile(path, "w", rate, channels) as sound:
        for _ in range(seconds):
            sound.write(0.1 * torch.randn(rate, channels, generator=generator).numpy())
    return AudioFile(path.name, path)


def draws(folder: Path) -> dict[str, Callable[[int], Corruption]]:
    """What happens to the clip of a number."""
    alike = recording(folder / "alike.flac", RATE, 1)
    stereo = recording(folder / "stereo.flac", 44100, 2)
    return {
        "white": lambda clip: Corruption(MadeNoise("white", clip), 10.0),
        "pink": lambda clip: Corruption(MadeNoise("pink", clip), 10.0),
        "FLAC of 16 kHz": lambda clip: Corruption(RecordedNoise(alike, clip / CLIPS), 10.0),
        "FLAC of 44.1 kHz, stereo": lambda clip: Corruption(RecordedNoise(stereo, clip / CLIPS), 10.0),
        "room": lambda clip: Corruption(room=MadeRoom(0.5, 5.0, clip)),
        "room and pink": lambda clip: Corruption(MadeNoise("pink", clip), 10.0, MadeRoom(0.5, 5.0, clip)),
    }


def corrupt_all(clips: Tensor, draw: Callable[[int], Corruption]) -> None:
    for number, clip in enumerate(clips):
        assert not corrupt(clip, RATE, draw(number)).skipped


def main() -> None:
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    clips = 0.1 * torch.randn(CLIPS, SECONDS * RATE, generator=torch.Generator().manual_seed(1))
    model, *_ = make_student(Student(shape=SHAPE))
    step = cpu_seconds(lambda: model(clips).last_hidden_state.square().mean().backward(), rounds)
    found = {}
    with tempfile.TemporaryDirectory(prefix="crossfade-bench-") as folder:
        for name, draw in draws(Path(folder)).items():
            seconds = cpu_seconds(lambda draw=draw: corrupt_all(clips, draw), rounds)  # type: ignore[misc]
            found[name] = {"seconds": round(seconds, 4), "share_of_step": round(seconds / step, 4)}
    parameters = sum(weight.numel() for weight in model.parameters())
    print(json.dumps({"parameters": parameters, "step_seconds": round(step, 3), "corrupted": found}))


if __name__ == "__main__":
    main()
