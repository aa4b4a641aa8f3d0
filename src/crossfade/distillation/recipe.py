"""A distillation as a YAML file: student, teachers, data, objective, noise, training."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from crossfade.documents import Listed, Strict, read_yaml, validated
from crossfade.probing.upstreams import Precision
from crossfade.training.settings import Count, Noise, NotNegative, Positive, Schedule, Share

Initialisation = Literal["random", "layers", "average", "svd", "base"]
Translator = Literal["linear", "conv", "layerwise"]


class Shape(Strict):
    """A HuBERT encoder's sizes; the defaults are DistilHuBERT's."""

    width: Count = 768
    layers: Count = 2
    heads: Count = 12
    feed_forward: Count = 3072
    conv_channels: tuple[Count, ...] = (512,) * 7
    conv_kernels: tuple[Count, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_strides: tuple[Count, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_norm: Literal["group", "layer"] = "group"
    """`group` normalises every channel over the clip, which takes away what does not change in it, such as a steady
    pitch; `layer` normalises every frame over its channels, which keeps it."""
    position_kernel: Count = 128
    position_groups: Count = 16
    normalise: bool = True
    """Clips are brought to mean 0 and variance 1, in training and by everyone who uses the student."""


class Student(Strict):
    """The student: its shape, and the weights that it starts from.

    random: drawn from `seed`; with `filters: gabor` the first convolution starts as windowed sines of random pitch and
    phase. layers: the CNN and the first layers of the encoder `source`. average: of two encoders' first layers. svd:
    each of two encoders' truncated to half the width, side by side. base: the student's folder `source`, whose hash is
    written down, so that students of one base can be recognised.
    """

    shape: Shape = Shape()
    start: Initialisation = "random"
    source: Annotated[tuple[str, ...], Listed] = ()
    filters: Literal["random", "gabor"] = "random"
    conv_bias: NotNegative = 0.0
    """Standard deviation of the first convolution's biases, in a random student whose `conv_norm` is `layer`. That norm
    brings every frame to variance 1, however loud; beside a bias, loud frames differ from quiet ones."""
    seed: int = 0
    dropout: Share = 0.1

    @model_validator(mode="after")
    def _biases(self) -> "Student":
        if self.conv_bias and (self.start != "random" or self.shape.conv_norm != "layer"):
            raise ValueError("`conv_bias` is for start 'random' with shape.conv_norm 'layer'; group norm has no biases")
        return self

    @model_validator(mode="after")
    def _sources(self) -> "Student":
        wanted = {"random": 0, "layers": 1, "base": 1, "average": 2, "svd": 2}[self.start]
        if len(self.source) != wanted:
            raise ValueError(f"start {self.start!r} needs {wanted} `source`, received {len(self.source)}")
        return self


class Teacher(Strict):
    """Who is imitated: what `crossfade probe` takes as a model (`crepe-tiny`, `cqt`, a folder, a hub id).

    layers: which of its layers (none: the last). translator: what leads from the student's last layer to the teacher's,
    see `translators`. slice: the share of the student's width that it is led from (`[0, 0.5]`: the first half).
    domain: it is imitated on clips of this domain alone. standardise: its channels get mean 0 and deviation 1.
    """

    model: str
    layers: tuple[Annotated[int, Field(ge=0)], ...] = ()
    weight: Positive = 1.0
    translator: Translator = "linear"
    shared: str | None = None
    """Teachers of one name here (and of one width and as many layers) share their translator."""
    slice: tuple[Share, Share] = (0.0, 1.0)
    domain: str | None = None
    standardise: bool = True
    precision: Precision = "float32"
    """What it computes in; bfloat16 is several times faster where the processor knows it."""

    @field_validator("slice")
    @classmethod
    def _ordered(cls, span: tuple[float, float]) -> tuple[float, float]:
        if not span[0] < span[1]:
            raise ValueError("expected a beginning and an end after it, as in [0, 0.5]")
        return span


class Corpus(Strict):
    """Where sound is from: as `--audio` of `crossfade align`. `share` of what is heard comes from here.

    hours: no more than that of it is used, whole files that are drawn once for all recipes and seeds.
    """

    source: str
    domain: str | None = None
    share: Positive | None = None
    """None: as much as it is long."""
    hours: Positive | None = None


class Objective(Strict):
    """What is made small, see `objectives`. Every term has a weight; 0 leaves it out."""

    l1: NotNegative = 1.0
    cosine: NotNegative = 1.0
    correlation: NotNegative = 0.0
    """Weight of the correlation loss (2312.12153); the rest is its own."""
    cross: NotNegative = 5e-5
    self_: Annotated[NotNegative, Field(alias="self")] = 5e-6
    diagonal_scale: Positive = 10.0
    cross_scale: Positive = 100.0
    self_scale: Positive = 50000.0
    frames: Count | None = 150
    """Frames that time is reduced to; none: means over time (per utterance)."""
    snr_weights: bool = False
    """Noisier clips are decorrelated harder: c = 9.9 SNR - 98. Our reading; the paper's formula is not confirmed."""
    masked: NotNegative = 0.0
    """Weight of predicting the teacher's clusters where the student's input is masked (HuBERT)."""
    clusters: Count = 100
    surgery: bool = False
    """Gradients of teachers that disagree are projected off each other (PCGrad, 2001.06782)."""

    @model_validator(mode="after")
    def _wants_something(self) -> "Objective":
        if not (self.l1 or self.cosine or self.correlation or self.masked):
            raise ValueError(
                "every weight is 0, so there is nothing to learn; expected one of l1, cosine, correlation, masked"
            )
        return self


class Training(Schedule):
    """How a student learns; with 0 steps it is written as it starts, a base for others."""

    batch_seconds: Positive = 375.0
    """Sound in a batch on one device; a batch has clips of one length."""
    crop_seconds: Positive = 15.625
    """Of a clip, cut out at random whenever it is heard."""
    clip_seconds: Positive | None = None
    """Longer files are clips so long, one after the other; none: twice `crop_seconds`. Stored signals are of whole
    clips; where this is given, those of one crop serve another."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of a running mean of the student's weights, which is then what is looked at and written: 0.998 is a mean of
    about 500 steps. 0: the last weights."""
    cnn_gradient: NotNegative = 1.0
    """Gradients of the CNN are multiplied by this, as fairseq and the papers do. Adam's steps do not depend on it but
    for clipping: to slow the CNN, give `cnn_rate`."""
    cnn_rate: NotNegative = 1.0
    """Learning rate of the CNN, relative to `rate`; 0 keeps it as it starts."""
    workers: Annotated[int, Field(ge=0)] = 1


class Watch(Strict):
    """Probes during training: tasks as `crossfade probe` takes them, by the ridge head (frame tasks: their own)."""

    tasks: Annotated[tuple[str, ...], Listed] = ()
    steps: Count = 1000
    patience: Count | None = None
    """Stop after so many looks without a better mean; the best student is kept."""


class DistilRecipe(Strict):
    """What `crossfade distill RECIPE.yaml` reads."""

    student: Student = Student()
    teachers: Annotated[tuple[Teacher, ...], Field(min_length=1)]
    data: Annotated[tuple[Corpus, ...], Field(min_length=1), Listed]
    signals: Literal["online", "stored"] = "online"
    """Whether teachers listen to every crop, or once to every clip, their answers kept on disk in 8 bits."""
    objective: Objective = Objective()
    noise: Noise | None = None
    training: Training = Training()
    watch: Watch = Watch()
    seed: int = 0
    licence: str | None = None

    @model_validator(mode="after")
    def _agrees(self) -> "DistilRecipe":
        known = {corpus.domain for corpus in self.data}
        for number, teacher in enumerate(self.teachers):
            if teacher.domain is not None and teacher.domain not in known:
                raise ValueError(f"teachers[{number}].domain {teacher.domain!r}: no data of this domain")
        taught = {teacher.domain for teacher in self.teachers}
        for number, corpus in enumerate(self.data):
            if None not in taught and corpus.domain not in taught:
                raise ValueError(f"data[{number}].domain {corpus.domain!r}: no teacher for it")
        if self.noise and self.noise.heard != "student" and self.signals == "stored":
            raise ValueError("signals 'stored' hold what teachers say of clean sound; noise must be heard by 'student'")
        return self


def load_recipe(path: str | Path) -> DistilRecipe:
    """A recipe. Raises InputError."""
    path = Path(path)
    return validated(DistilRecipe, read_yaml(path), path)
