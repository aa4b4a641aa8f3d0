"""What a model under test is: how it is described, what it is shown, and what it gives back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import Field, JsonValue, field_validator
from torch import Tensor

from crossfade.documents import Strict, read_yaml, validated
from crossfade.errors import InputError, nearest
from crossfade.instructions.chat import Endpoint

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
DeviceName = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Question:
    """All that a model may see of an item: sounds, each (samples,) float32 mono with its rate in Hz, and text."""

    sounds: tuple[tuple[Tensor, int], ...]
    texts: Mapping[str, str]
    instruction: str

    @property
    def prompt(self) -> str:
        """The instruction, then every further text on a line of its own, under the name of its column."""
        return "\n".join([self.instruction, *(f"{name}: {text}" for name, text in self.texts.items())])


@dataclass(frozen=True)
class Answer:
    """What a model said; `tokens_in` and `tokens_out` where it counts them, `attempts` where it was asked again."""

    text: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    attempts: int = 1


class Model(Protocol):
    """Something that answers.

    `identity` decides the answers and is written to the run's folder: it never holds a key. `batch` is how many
    questions it takes at a time; threads may share it.
    """

    name: str
    identity: Mapping[str, JsonValue]
    batch: int

    def answer(self, questions: Sequence[Question]) -> Sequence[Answer | Exception]:
        """An answer for every question, in order; an exception where there is none, which is noted and counted.

        Raises InputError for what no further question would change; the run then stops, and goes on when it is mended.
        """
        ...

    def close(self) -> None:
        """Let go of what it holds; questions that are being answered may fail."""
        ...


# Descriptions -------------------------------------------------------------------------------------------------------


class Shaping(Strict):
    """What becomes of the sounds of a question: the rules of the paper's scripts, or none where all is left out.

    `join_seconds` joins several sounds into one with that much silence between them (the paper: 0.5), `pad_seconds` is
    the shortest sound (1), `cut_seconds` the longest (30).
    """

    join_seconds: Seconds | None = None
    pad_seconds: Seconds | None = None
    cut_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class ChatSpec(Shaping):
    """Any chat endpoint that hears: sound goes there as WAV, `input_audio` as OpenAI says or `audio_url` as vLLM."""

    kind: Literal["chat"]
    name: str | None = None
    endpoint: Endpoint
    audio: Literal["input_audio", "audio_url"] = "input_audio"
    system: str | None = None


class HubSpec(Shaping):
    """An audio language model of transformers, asked by its chat template; `model` is a folder or hub id."""

    kind: Literal["hub"]
    name: str | None = None
    model: str
    device: DeviceName = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    batch: Count = 1
    max_tokens: Count = 256
    system: str | None = None


class WhisperSpec(Strict):
    """Whisper alone: the transcript is the answer. `model` is a transformers folder or one that CTranslate2 wrote.

    Without `language` (ISO 639-1) Whisper finds it itself.
    """

    kind: Literal["whisper"]
    name: str | None = None
    model: str
    device: DeviceName = "auto"
    batch: Count = 8
    max_tokens: Annotated[int, Field(ge=1, le=224)] = 224
    language: str | None = None
    task: Literal["transcribe", "translate"] = "transcribe"


PROMPT = "{transcripts}\n\n{question}"
HEARD, HEARD_SEVERAL = "Transcript of the audio: {text}", "Transcript of audio {number}: {text}"


class CascadeSpec(Strict):
    """Whisper, then a text model that is shown the transcripts: the paper's baseline.

    `prompt` says how it is asked, with {transcripts} and {question} in it; the paper's own wording is not published.
    """

    kind: Literal["cascade"]
    name: str | None = None
    whisper: WhisperSpec
    endpoint: Endpoint
    prompt: str = PROMPT
    system: str | None = None

    @field_validator("prompt")
    @classmethod
    def _shows_both(cls, prompt: str) -> str:
        if absent := [name for name in ("{transcripts}", "{question}") if name not in prompt]:
            raise ValueError(f"expected {absent[0]} in it, which stands for what the model is shown")
        return prompt


class PythonSpec(Shaping):
    """A class of the user's: `model` is FILE.py:NAME, called with `settings`; what it makes has `answer`."""

    kind: Literal["python"]
    name: str | None = None
    model: str
    batch: Count = 1
    settings: Mapping[str, JsonValue] = {}


class EncoderSpec(Strict):
    """Probe mode: a frozen encoder with heads that learn from the benchmark's own items, see `probe`."""

    kind: Literal["encoder"]
    name: str | None = None
    model: str
    device: DeviceName = "auto"


ModelSpec = ChatSpec | HubSpec | WhisperSpec | CascadeSpec | PythonSpec | EncoderSpec
SPECS: Mapping[str, type[ModelSpec]] = {
    "chat": ChatSpec,
    "hub": HubSpec,
    "whisper": WhisperSpec,
    "cascade": CascadeSpec,
    "python": PythonSpec,
    "encoder": EncoderSpec,
}


NESTED = {"endpoint": "{url: http://localhost:8000/v1, model: NAME}", "whisper": "{model: ./whisper-base}"}
"""Keys that hold further ones, with the least that they say."""


def read_model(path: str | Path) -> ModelSpec:
    """The description in a YAML file; a folder in it is taken relative to where the command runs. Raises InputError."""
    path = Path(path)
    content = read_yaml(path)
    kind = str(content.get("kind"))
    if kind not in SPECS:
        received = f"received {kind!r}" if "kind" in content else "received none"
        raise InputError(f"{path}: kind: expected what sort of model it is, {received}; {nearest(kind, SPECS)}")
    fields = SPECS[kind].model_fields
    for key, wanted in NESTED.items() if content.keys() <= fields.keys() else ():
        if key in fields and not isinstance(content.get(key), dict):
            received = f"received {content[key]!r}" if key in content else "received none"
            raise InputError(f"{path}: {key}: expected keys and values, as {wanted}; {received}")
    if isinstance(content.get("whisper"), dict):
        content["whisper"] = {"kind": "whisper"} | content["whisper"]
    return validated(SPECS[kind], content, path)


def open_model(spec: ModelSpec, *, seed: int = 33) -> Model:
    """The model that `spec` describes, ready to answer. Raises InputError for one that cannot be opened."""
    match spec:
        case ChatSpec():
            from crossfade.instructions.chatting import ChatModel

            return ChatModel(spec, seed)
        case HubSpec():
            from crossfade.instructions.hub import HubModel

            return HubModel(spec, seed)
        case WhisperSpec():
            from crossfade.instructions.speech import WhisperModel

            return WhisperModel(spec)
        case CascadeSpec():
            from crossfade.instructions.chatting import CascadeModel

            return CascadeModel(spec, seed)
        case PythonSpec():
            from crossfade.instructions.custom import CustomModel

            return CustomModel(spec)
        case EncoderSpec():
            raise InputError(f"{spec.model}: an encoder answers nothing by itself; it is run in probe mode")
