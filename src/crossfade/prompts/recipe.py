"""Recognition on an encoder that stays as it is, as a YAML file: model, data, text, method, noise, training."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from crossfade.documents import Listed, Strict, read_yaml, validated
from crossfade.prompts.config import Init, Place
from crossfade.training.settings import Count, Noise, NotNegative, Positive, Schedule, Share

Method = Literal["head", "prompts", "deep", "lora", "full"]
Dropout = Annotated[float, Field(ge=0, lt=1)]


class Data(Strict):
    """A task of kind ctc as `crossfade probe` takes them: a labelled folder, or a name and `folder` with its data."""

    task: str
    folder: str | None = None


class Text(Strict):
    """How transcripts of characters are made alike, see `transcripts.normalised`; units divided by blanks stay."""

    lower: bool = True
    keep: Literal["letters", "everything"] = "letters"


class Prompts(Strict):
    """Soft prompts: how many, where they enter relative to positional information, what they start from.

    init: `frames`, frames that the encoder makes of training clips, or `normal`, small random numbers, which layer
    norms make large: they can cost a frozen encoder more than tuning gives back (docs/prompts.md).
    """

    count: Count = 40
    place: Place = "after"
    init: Init = "frames"
    dropout: Dropout = 0.0


class Lora(Strict):
    """Low-rank additions to linear layers (2106.09685), by peft: those whose names end in one of `targets`."""

    rank: Count = 8
    alpha: Count = 16
    targets: Annotated[tuple[str, ...], Listed, Field(min_length=1)] = ("q_proj", "v_proj")


class Full(Strict):
    """Every weight of the encoder; those of its CNN only with `cnn`.

    head_first: the share of the steps in which the head trains alone, as wav2vec 2.0's fine-tuning begins (2006.11477):
    what an untrained head asks for spoils an encoder.
    """

    cnn: bool = False
    head_first: Annotated[float, Field(ge=0, lt=1)] = 0.3


class Head(Strict):
    """A linear layer on a learned weighted sum of all layers' frames, or on the last layer's."""

    layers: Literal["weighted", "last"] = "weighted"
    dropout: Dropout = 0.0


class Training(Schedule):
    """How long and how fast; the same for every method but for `rate`, and the best on validation clips is kept.

    rate: of what is trained beside the head; none: the method's own, see `methods.METHODS`.
    """

    steps: Count = 2000
    rate: Positive | None = None  # type: ignore[assignment]
    head_rate: NotNegative = 2e-2
    """Of the head; 0 keeps it as it starts."""
    warmup: Share = 0.1
    weight_decay: NotNegative = 0.0
    clip: Positive = 1.0
    batch_seconds: Positive = 40.0
    """Sound in a batch, with the padding to its longest clip; a clip that is longer is a batch of its own."""
    save_steps: Count = 200
    valid_steps: Count = 200
    patience: Count | None = None
    """Stop after so many looks at validation clips without a better one."""


class PromptRecipe(Strict):
    """What `crossfade prompt-tune train RECIPE.yaml` reads; a method takes the section of its own name."""

    model: str
    data: Data
    text: Text = Text()
    method: Method = "prompts"
    prompts: Prompts = Prompts()
    lora: Lora = Lora()
    full: Full = Full()
    head: Head = Head()
    noise: Noise | None = None
    start: str | None = None
    """A folder tuned by the same method on the same model and tokens: head and prompts or weights begin as it has them.
    With `head_rate: 0`, prompts of several noises that begin so fit one head and can be mixed."""
    training: Training = Training()
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("noise")
    @classmethod
    def _one_hears(cls, noise: Noise | None) -> Noise | None:
        if noise and noise.heard != "student":
            raise ValueError(f"heard {noise.heard!r}: there is no teacher here; leave `heard` out")
        return noise

    @model_validator(mode="after")
    def _precision(self) -> "PromptRecipe":
        if self.training.precision == "float16":
            raise ValueError("training.precision 'float16': expected float32 or bfloat16")
        return self


def load_recipe(path: str | Path) -> PromptRecipe:
    """A recipe. Raises InputError."""
    path = Path(path)
    return validated(PromptRecipe, read_yaml(path), path)
