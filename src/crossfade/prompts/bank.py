"""Prompts tuned under known noises, put together for a noise that nobody tuned for.

How noise prompts are combined is our reading: the paper (2309.09413) says that they are modified, not how. Vectors of
two tunings can be mixed number by number where both started from the same vectors, as a recipe's seed makes them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path

import soxr
import torch
from torch import Tensor

from crossfade import __version__
from crossfade.encoders.sidecars import RECORD
from crossfade.encoders.writer import output_folder
from crossfade.errors import InputError
from crossfade.features.spectral import RATE, WINDOW, log_mel
from crossfade.prompts.config import Noise
from crossfade.prompts.drift import Defence
from crossfade.prompts.soft import SoftPrompts
from crossfade.prompts.store import CONFIG, write_prompts

QUIETEST = 0.1
"""Share of a clip's frames in which little but noise is heard: our choice."""

ALIKE = ("family", "layers", "count", "width", "place")
"""What prompts of one bank have in common."""


def noise_profile(samples: Tensor, rate: int) -> Tensor:
    """What a clip (samples,) sounds like where nobody speaks: (80,) natural logs of energies in 80 mel bands.

    The mean of the tenth of its frames (25 ms every 10 ms) that is quietest, relative to the clip's mean energy over
    all bands: so it knows the noise's colour and its level under the speech, and not how loud the recording is. Raises
    InputError for a clip shorter than a frame.
    """
    heard = samples if rate == RATE else torch.from_numpy(soxr.resample(samples.numpy(), rate, RATE, quality="HQ"))
    if len(heard) < WINDOW:
        raise InputError(f"noise profile: {len(samples)} samples at {rate} Hz; expected 25 ms or more")
    energies = log_mel(heard)
    quiet = energies.mean(1).topk(max(1, round(QUIETEST * len(energies))), largest=False).indices
    return energies[quiet].mean(0) - energies.logsumexp(1).logsumexp(0) + log(len(energies))


def noise_of(name: str, profiles: Sequence[Tensor]) -> Noise:
    """A noise by its name and the profiles (80,) of clips heard under it, for `PromptConfig.noise`."""
    return Noise(name=name, profile=tuple(torch.stack(list(profiles)).mean(0).tolist()))


@dataclass(frozen=True)
class PromptBank:
    """Prompts of one encoder and one shape, each tuned under a noise that its config tells.

    Every way to combine them gives vectors (layers, count, width). Raises InputError for prompts that do not fit
    together, and for some that were tuned under no noise.
    """

    prompts: tuple[SoftPrompts, ...]
    names: tuple[str, ...] = ()
    """What to call them in an error; none: by their numbers."""

    def __post_init__(self) -> None:
        if not self.prompts:
            raise InputError("bank: no prompts; expected at least one")
        names = self.names or tuple(f"prompts {number + 1}" for number in range(len(self.prompts)))
        first = self.prompts[0]
        for number, (name, prompts) in enumerate(zip(names, self.prompts, strict=True)):
            config = prompts.config
            if config.noise is None:
                raise InputError(f"bank: {name}: tuned under no noise; expected prompts of a recipe with `noise`")
            if config.base_sha256 != first.config.base_sha256:
                raise InputError(
                    f"bank: {name} is for {config.base_model_name_or_path}, {names[0]} for "
                    f"{first.config.base_model_name_or_path}; expected prompts of one encoder"
                )
            for key in ALIKE:
                if (own := getattr(config, key)) != (wanted := getattr(first.config, key)):
                    raise InputError(f"bank: {name} has {key} {own}, {names[0]} {wanted}; expected the same")
            for other, known in zip(names[:number], self.prompts, strict=False):
                if torch.equal(prompts.vectors, known.vectors):
                    raise InputError(f"bank: {name} holds the same vectors as {other}; leave one out")

    @property
    def noises(self) -> tuple[Noise, ...]:
        return tuple(prompts.config.noise for prompts in self.prompts if prompts.config.noise)

    @property
    def vectors(self) -> Tensor:
        """Of all prompts, (prompts, layers, count, width)."""
        return torch.stack([prompts.vectors.detach() for prompts in self.prompts])

    def distances(self, profile: Tensor) -> Tensor:
        """From a profile (80,) to that of each noise, (prompts,): root mean square over bands, in nepers of energy."""
        known = torch.tensor([noise.profile for noise in self.noises])
        return (known - profile).square().mean(1).sqrt()

    def weights(self, profile: Tensor, temperature: float = 1.0) -> Tensor:
        """How much of each noise is in a profile (80,): softmax of -(distance / temperature)^2, (prompts,)."""
        if not temperature > 0:
            raise InputError(f"temperature: expected a number above 0, received {temperature}")
        return (-(self.distances(profile) / temperature).square()).softmax(0)

    def nearest(self, profile: Tensor) -> Tensor:
        """The prompts whose noise is the least far from a profile (80,)."""
        return self.vectors[int(self.distances(profile).argmin())]

    def weighted(self, profile: Tensor, temperature: float = 1.0) -> Tensor:
        """All prompts, each by its weight. A low temperature: the nearest; a high one: their average."""
        return (self.weights(profile, temperature)[:, None, None, None] * self.vectors).sum(0)

    def averaged(self) -> Tensor:
        """All prompts, equal parts, whatever is heard."""
        return self.vectors.mean(0)

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write `folder`, whole or not at all: one folder of prompts in it for each, and crossfade.json."""
        told = {"crossfade": __version__, "bank": [noise.name for noise in self.noises]}
        with output_folder(Path(folder), overwrite=overwrite) as draft:
            (draft / RECORD).write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            for number, prompts in enumerate(self.prompts):
                (own := draft / f"{number:03d}").mkdir()
                write_prompts(own, prompts.config, prompts.vectors)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, defence: Defence = "refuse") -> "PromptBank":
        """The bank in a folder. Raises InputError for a folder that holds none, and as `SoftPrompts` does."""
        folders = sorted(path.parent for path in Path(folder).glob(f"*/{CONFIG}"))
        if not folders:
            raise InputError(f"{folder}: no folders of prompts; expected what `crossfade prompt-tune bank` writes")
        opened = tuple(SoftPrompts.from_pretrained(path, defence=defence) for path in folders)
        return cls(opened, tuple(map(str, folders)))
