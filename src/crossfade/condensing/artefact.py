"""The folder that a generator travels in: config, weights of 8 bits, a record of how it was made, a card."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from crossfade.condensing.gan import Generator
from crossfade.condensing.matching import SMALLEST
from crossfade.condensing.material import Material
from crossfade.condensing.noise import even_noise
from crossfade.condensing.points import Points, Prior, budget
from crossfade.encoders.sidecars import CONFIG, RECORD, read_json
from crossfade.errors import InputError
from crossfade.memory import require_memory

KIND = "crossfade-feature-generator"
WEIGHTS = "model.safetensors"
BLOCK = 8192
"""Points that are made at a time: they stay in the processor's cache."""

BYTES_OF_NOISE = 28
"""That a channel of a point's noise takes at most, while it is evened out in float64."""

SIZES = ("noise", "hidden", "width", "classes")


@dataclass(frozen=True)
class Distilled:
    """A generator with what turns its points into features: `mean` and `deviation` (width,) of the real ones.

    `names` are the classes, `counts` the real training clips of each; `record` is all that is known of how it was made.
    """

    path: Path
    generator: Generator
    mean: Tensor
    deviation: Tensor
    names: tuple[str, ...]
    counts: tuple[int, ...]
    record: Mapping[str, Any]

    @property
    def nbytes(self) -> int:
        """What its weights take on disk."""
        return (self.path / WEIGHTS).stat().st_size

    @property
    def point_bytes(self) -> int:
        """What a point and its class take."""
        return 4 * self.generator.width + 8

    def sample(self, per_class: int, prior: Prior = "balanced", *, seed: int = 0) -> Points:
        """Points of every class in the encoder's own units, class after class; the same seed gives the same points.

        Of a larger budget the first points of all are not those of a smaller one. Raises InputError for less than one
        point, and, before any is made, for more than memory has room for.
        """
        count, noise = per_class * len(self.names), self.generator.noise
        require_memory(
            count * (2 * self.point_bytes + BYTES_OF_NOISE * noise),
            f"--per-class {per_class}: {count:,} points need",
        )
        sizes = budget(per_class, self.counts, prior)
        classes = torch.arange(len(self.names)).repeat_interleave(sizes)
        about = {
            "encoder": self.record["encoder"],
            "layer": self.record["layer"],
            "damping": self.record["training"]["damping"],
            "licence": self.record["licence"],
            "generator": self.record["sha256"],
            "prior": prior,
            "per_class": per_class,
            "seed": seed,
        }
        return Points(self.features(classes, seed), classes, self.names, about)

    @torch.no_grad()
    def features(self, classes: Tensor, seed: int) -> Tensor:
        """A point (rows, width) for each of `classes` (rows,)."""
        random = torch.Generator().manual_seed(seed)
        made = torch.empty(len(classes), self.generator.width)
        noise = even_noise(classes, self.generator.noise, random)
        for place, *own in zip(*(torch.split(rows, BLOCK) for rows in (made, noise, classes)), strict=True):
            torch.addcmul(self.mean, self.generator(*own), self.deviation, out=place)
        return made


def rounded(generator: Generator) -> Generator:
    """The generator as it is stored, computing in float32: what was rounded once is not changed by rounding again."""
    generator.load_state_dict(_unpacked(_packed(generator)))
    return generator.eval().requires_grad_(False)


def write_weights(folder: Path, generator: Generator, material: Material) -> None:
    """Write config.json and model.safetensors. The generator must be one of `rounded`."""
    config = {"model_type": KIND} | {name: getattr(generator, name) for name in SIZES}
    config["names"], config["counts"] = list(material.names), material.sizes.tolist()
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    tensors = _packed(generator) | {"mean": material.mean.contiguous(), "deviation": material.deviation.contiguous()}
    (folder / WEIGHTS).write_bytes(save(tensors, {"format": "pt"}))


def _packed(generator: Generator) -> dict[str, Tensor]:
    """Every tensor as whole numbers of 8 bits, and under `steps` what one of them stands for, tensor by tensor.

    A step is a power of two, so products with it are exact: the smallest at which the largest weight fits.
    """
    weights = generator.state_dict()
    largest = torch.stack([tensor.abs().max() for tensor in weights.values()])
    steps = torch.exp2((largest.clamp_min(SMALLEST) / 127).log2().ceil())
    pairs = zip(weights.items(), steps, strict=True)
    return {name: (tensor / step).round().to(torch.int8).contiguous() for (name, tensor), step in pairs} | {
        "steps": steps
    }


def _unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of what `_packed` made; `steps` are in the order of the other names."""
    packed = {name: tensor for name, tensor in tensors.items() if name != "steps"}
    return {name: tensor * step for (name, tensor), step in zip(packed.items(), tensors["steps"], strict=True)}


def read_generator(path: str | Path) -> Distilled:
    """The generator in a folder. Raises InputError for a folder that is none, and for a file that is not as written."""
    folder = Path(path)
    wanted = "expected a folder of `crossfade distill-data fit`"
    if folder.is_file():
        raise InputError(f"{folder}: is a file; expected a generator's folder, as `crossfade distill-data fit` writes")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; {wanted}")
    config = read_document(folder, CONFIG, wanted)
    if config.get("model_type") != KIND:
        raise InputError(f"{folder / CONFIG}: model_type {config.get('model_type')!r} is no generator; {wanted}")
    record = read_document(folder, RECORD, wanted)
    tensors = _weights(folder, record, wanted)
    mean, deviation = tensors.pop("mean"), tensors.pop("deviation")
    _require_sizes(folder / CONFIG, config, tensors)
    generator = Generator(*(config[name] for name in SIZES))
    generator.load_state_dict(_unpacked({name: tensors[name] for name in (*generator.state_dict(), "steps")}))
    return Distilled(
        path=folder,
        generator=generator.eval().requires_grad_(False),
        mean=mean,
        deviation=deviation,
        names=tuple(config["names"]),
        counts=tuple(config["counts"]),
        record=record,
    )


def _weights(folder: Path, record: Mapping[str, Any], wanted: str) -> dict[str, Tensor]:
    """The tensors of a generator. InputError unless they are, to the byte, those that its record is about."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise InputError(f"{folder}: no {WEIGHTS} in it; {wanted}")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != record.get("sha256"):
        raise InputError(
            f"{path}: damaged or replaced: expected SHA-256 {record.get('sha256')} ({RECORD} has it), received {found} "
            f"of {len(content):,} bytes; copy the folder again, or fit again"
        )
    return load(content)


def _require_sizes(path: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """InputError where a config names other sizes than the weights have, or other than one name and count a class."""
    (width, noise), (classes, hidden) = tensors["linear.weight"].shape, tensors["condition.weight"].shape
    held = {"noise": noise, "hidden": hidden, "width": width, "classes": classes}
    told = {name: config.get(name) for name in SIZES}
    for name, kind in (("names", str), ("counts", int)):
        entries: Any = config.get(name)
        held[name] = classes
        right = isinstance(entries, list) and all(type(entry) is kind for entry in entries)
        told[name] = len(entries) if right else entries
    for name, value in told.items():
        if type(value) is not int or value != held[name]:
            unit = "" if name in SIZES else " entries"
            raise InputError(
                f"{path}: {name}: expected {held[name]}{unit}, as in {WEIGHTS}, received {value!r:.60}; copy the "
                "folder again, or fit again"
            )


def read_document(folder: Path, name: str, wanted: str) -> dict[str, Any]:
    """The JSON object `name` in a folder. Raises InputError where there is none, which says what was `wanted`."""
    if not (folder / name).is_file():
        raise InputError(f"{folder}: no {name} in it; {wanted}")
    return read_json(folder / name)
