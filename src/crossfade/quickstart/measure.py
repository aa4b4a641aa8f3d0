"""What frozen features know of the embedded tasks: `crossfade.probe`, and intervals over several tasks together."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from crossfade.probing.cache import Cache
from crossfade.probing.exam import Exam
from crossfade.probing.results import Result
from crossfade.probing.run import sit
from crossfade.probing.upstreams import open_upstream
from crossfade.quickstart.pack import DOMAINS

RESAMPLES = 2000


def judge(encoder: Path, exam: Exam) -> list[Result]:
    """An encoder's results, speech first, then by task: as `crossfade probe` has them, on the processor, none kept."""
    with TemporaryDirectory(prefix="crossfade-quickstart-") as folder:
        results = sit(exam, open_upstream(str(encoder), "cpu"), Cache(folder))
    return sorted(results, key=lambda result: (DOMAINS.index(result.task.domain), result.task.name))


def correctness(result: Result) -> Tensor:
    """Whether each test clip was classified right, (clips,)."""
    return torch.tensor([float(item.predictions[0] == item.label) for item in result.items])


def resampled_accuracy(right: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Accuracy in percent of each task under RESAMPLES bootstrap draws of its clips, (RESAMPLES,).

    The draws depend on the task and the seed alone, so two models' draws are paired.
    """
    draws = {}
    for name, clips in right.items():
        generator = torch.Generator().manual_seed(seed + zlib.crc32(name.encode()))
        drawn = torch.randint(len(clips), (RESAMPLES, len(clips)), generator=generator)
        draws[name] = 100 * clips[drawn].mean(1)
    return draws


def interval(draws: Tensor) -> tuple[float, float]:
    """The middle 95 % of bootstrap draws."""
    low, high = torch.quantile(draws.double(), torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high
