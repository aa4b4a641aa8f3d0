"""Whether prompts are still what was saved: what a check at load can see, and what it cannot.

The hash sees every change, whoever made it, as long as adapter_config.json itself comes from where it should: who can
write both files can write a hash that fits. Norms see vectors that grew and need no hash, but a change of direction
leaves them as they were; so bounding norms bounds what long vectors do and nothing else.
"""

import hashlib
from typing import Any, Literal

import torch
from torch import Tensor

from crossfade.errors import InputError
from crossfade.prompts.config import Record

Defence = Literal["refuse", "bound", "off"]

SLACK = 1e-5
"""Share of a norm that float32 may add to it."""


def record_of(vectors: Tensor) -> Record:
    """What `PromptConfig.record` says of vectors (layers, count, width)."""
    lengths = vectors.detach().double().norm(dim=-1)
    mean, most = lengths.mean(-1).tolist(), lengths.amax(-1).tolist()
    return Record(sha256=vectors_sha256(vectors), mean=tuple(mean), most=tuple(most))


def vectors_sha256(vectors: Tensor) -> str:
    """Hash of the values as float32, little endian."""
    return hashlib.sha256(vectors.detach().cpu().contiguous().numpy().astype("<f4").tobytes()).hexdigest()


def bounded(vectors: Tensor, record: Record) -> Tensor:
    """Vectors (layers, count, width), each no longer than the longest one recorded of its layer."""
    lengths = vectors.norm(dim=-1, keepdim=True)
    most = torch.tensor(record.most, dtype=vectors.dtype, device=vectors.device)[:, None, None]
    return torch.where(lengths > most * (1 + SLACK), vectors * (most / lengths), vectors)


def defend(vectors: Tensor, record: Record | None, defence: Defence, where: object) -> Tensor:
    """`vectors` where they are what was recorded; else as `defence` says.

    refuse: InputError that says what changed. bound: `bounded`. off: as they are. Without a record, `refuse` and
    `bound` have nothing to go by: InputError.
    """
    if defence == "off":
        return vectors
    if record is None:
        raise InputError(f"{where}: has no record of its vectors, so no check is possible; load it with defence 'off'")
    if vectors_sha256(vectors) == record.sha256:
        return vectors
    if defence == "bound":
        return bounded(vectors, record)
    raise InputError(f"{where}: {changes(vectors, record)}; get it again, or load it with defence 'bound' or 'off'")


def changes(vectors: Tensor, record: Record) -> str:
    """One line: how vectors that do not have the recorded hash differ from the record."""
    longer, layers, count = _longer(vectors, record), *vectors.shape[:2]
    norms = f"{longer} of {layers * count} are longer than any was" if longer else "none is longer than any was"
    return f"its vectors are not those that were saved (another SHA-256 than recorded; {norms})"


def _longer(vectors: Tensor, record: Record) -> int:
    most = torch.tensor(record.most, dtype=torch.float64)[:, None]
    return int((vectors.detach().cpu().double().norm(dim=-1) > most * (1 + SLACK)).sum())


def drift(vectors: Tensor, record: Record | None, trusted: Tensor | None = None) -> dict[str, Any]:
    """JSON values: how vectors (layers, count, width) stand to their record, and to a `trusted` copy of themselves.

    `mean` and `most` are norms by layer, `recorded_mean` and `recorded_most` what they were; `same`: the hash agrees;
    `longer`: vectors longer than any recorded of their layer. `distance` from the trusted copy, over its norm.
    """
    now, told = record_of(vectors), dict[str, Any]()
    if record is not None:
        told = {
            "same": now.sha256 == record.sha256,
            "longer": _longer(vectors, record),
            "recorded_mean": list(record.mean),
            "recorded_most": list(record.most),
        }
    if trusted is not None:
        told["distance"] = float((vectors.detach() - trusted.detach()).norm() / trusted.detach().norm())
    return {"mean": list(now.mean), "most": list(now.most), **told}
