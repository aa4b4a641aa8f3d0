"""What a task is, and what it becomes once its data is read."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from torch import Tensor

from crossfade.audio.sources import AudioFile
from crossfade.documents import Strict
from crossfade.probing.layouts import Data, Positive
from crossfade.probing.results import TaskInfo

Kind = Literal["classification", "slots", "tagging", "regression", "key", "ctc", "frames", "beat", "verification"]
Head = Literal["linear", "mlp", "ridge", "knn", "blstm", "frame"]
Label = str | tuple[str, ...] | tuple[float, ...] | tuple[tuple[float, float, str], ...]
"""classification, key, verification: a class; slots, tagging: classes; regression: numbers; ctc: text (tokens divided
by blanks for `words`); frames: (start, end, class) in seconds; beat: seconds."""

DEFAULTS: Mapping[Kind, tuple[str, Head]] = {
    "classification": ("accuracy", "linear"),
    "slots": ("slot_accuracy", "linear"),
    "tagging": ("roc_auc", "linear"),
    "regression": ("r2", "linear"),
    "key": ("key_score", "linear"),
    "ctc": ("wer", "blstm"),
    "frames": ("frame_accuracy", "frame"),
    "beat": ("beat_f", "frame"),
    "verification": ("eer", "linear"),
}
"""The metric and the head of a task that says nothing of them."""


METRICS_OF: Mapping[Kind, tuple[str, ...]] = {
    "classification": ("accuracy", "uar"),
    "slots": ("slot_accuracy",),
    "tagging": ("roc_auc", "average_precision"),
    "regression": ("r2",),
    "key": ("key_score", "accuracy", "uar"),
    "ctc": ("wer", "cer", "per"),
    "frames": ("frame_accuracy",),
    "beat": ("beat_f", "beat_f_untrimmed"),
    "verification": ("eer",),
}
"""What each kind of predictions can be judged by."""


Count = Annotated[int, Field(ge=1)]


class Protocol(Strict):
    """How a head is trained on frozen features; the optimiser is Adam."""

    head: Head
    layers: Literal["weighted", "last"] = "weighted"
    projection: Count | None = 256
    hidden: Count = 512
    """Width of what lies between projection and output: an MLP's hidden layer, each direction of an LSTM."""
    depth: Count = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    steps: Count = 2000
    rate: Positive = 1e-3
    batch: Count = 32
    accumulate: Count = 1
    warmup: Annotated[int, Field(ge=0)] = 0
    mixup: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    balanced: bool = False
    """Draw training clips so that every class is heard as often."""
    source: str = ""
    """Which paper or code says so; empty: nobody, it is our default."""


class Task(Strict):
    """What is asked of an encoder: a few lines of YAML, no code. `label` names the columns with the answer."""

    name: str
    title: str
    domain: Literal["speech", "music", "audio"] = "audio"
    kind: Kind = "classification"
    metric: str
    label: str | tuple[str, ...] = "label"
    seconds: Positive | None = None
    """The longest stretch of a clip that is heard, from its start."""
    tokens: Literal["characters", "words"] = "characters"
    validation: Literal["share", "next fold"] = "share"
    """Without a valid split: a fifth of the training items, or, where the data has folds, the fold after the test's."""
    protocol: Protocol
    data: Data | None = None
    folder: Path | None = None
    """Where the data of a labelled folder is."""

    @field_validator("metric")
    @classmethod
    def _fits(cls, metric: str, info: ValidationInfo) -> str:
        known = METRICS_OF[info.data["kind"]] if "kind" in info.data else (metric,)
        if metric not in known:
            raise ValueError(f"expected {' or '.join(known)} for kind {info.data['kind']}")
        return metric

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, content: Any) -> Any:
        kind = str(content.get("kind", "classification"))
        metric, head = next((told for name, told in DEFAULTS.items() if name == kind), ("", ""))
        content = {"metric": metric, "title": content.get("name"), "protocol": {}} | content
        if isinstance(content["protocol"], dict):
            content["protocol"] = {"head": head} | content["protocol"]
        return content


@dataclass(frozen=True)
class Item:
    """A stretch of a sound (`start` and `seconds`; None: to its end) and the answer for it."""

    id: str
    audio: AudioFile
    label: Label
    group: str | None = None
    split: str | None = None
    start: float = 0.0
    seconds: float | None = None


@dataclass(frozen=True)
class Fold:
    """One training and its test: int64 indices of items, no item or group on two sides."""

    train: Tensor
    valid: Tensor
    test: Tensor


@dataclass(frozen=True)
class Dataset:
    """A task with its data: results are comparable only where `sha256`, of ids, labels, folds and trials, agrees."""

    task: Task
    items: tuple[Item, ...]
    folds: tuple[Fold, ...]
    sha256: str
    trials: tuple[tuple[int, int, bool], ...] = ()
    """Verification: two items and whether they are of the same speaker."""

    def told(self, folds: Iterable[Fold]) -> TaskInfo:
        """What results say of the task, with the clips of these folds counted."""
        task, counts = self.task, Counter[str]()
        for fold in folds:
            counts.update({"train": len(fold.train), "valid": len(fold.valid), "test": len(fold.test)})
        return TaskInfo(
            name=task.name, title=task.title, domain=task.domain, kind=task.kind, sha256=self.sha256,
            train=counts["train"], valid=counts["valid"], test=counts["test"],
        )  # fmt: skip
