"""What a generator is made of and how it is trained: every number that the paper leaves open, as data."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from crossfade.documents import Strict
from crossfade.probing.layouts import Positive

Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Settings(Strict):
    """Sizes, steps and weights of the losses. All are our choice: paper 5 (arXiv 2406.02963) tells none of its own."""

    noise: Count = 48
    """Channels of noise that a point is made from, and `hidden` ones between it and the point: at most."""
    hidden: Count = 16
    share: Annotated[float, Field(gt=0)] = 0.05
    """What the generator may take on disk, of what the training clips' features take: `noise` and `hidden` are made
    smaller, in proportion, until it does."""
    critic: Count = 128
    """Channels of each of the critic's two hidden layers; it is not kept."""
    start: Literal["gaussian", "random"] = "gaussian"
    """Where training begins: at the Gaussian around each class's mean that all classes share, or at random weights
    around the means."""
    gan_steps: Annotated[int, Field(ge=0)] = 100
    """Updates of the generator by the adversary and feature matching alone."""
    distil_steps: Annotated[int, Field(ge=0)] = 400
    """Updates after these, with softmax matching and the diversity penalty."""
    critic_steps: Count = 5
    """Updates of the critic for each of the generator."""
    ahead: Annotated[int, Field(ge=0)] = 100
    """Updates of the critic before the generator's first: one that knows nothing would lead it away from its start."""
    batch: Annotated[int, Field(ge=2)] = 128
    rate: Positive = 1e-4
    critic_rate: Positive = 2e-4
    penalty: Weight = 10.0
    """Weight of the gradient penalty; of the generator's losses: `matching` (features), `softmax` (L_SML) and
    `diversity` (L_DIV), beside 1 for the adversary."""
    matching: Weight = 1.0
    softmax: Weight = 1.0
    diversity: Weight = 1.0
    averaged: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """What is kept is the running mean of the generator's weights, this much of which stays at each update."""
    check: Count = 50
    """Updates between two looks at validation clips; the generator of the best look is the result."""
    patience: Count = 4
    """Looks without a better one after which training ends, counted from the second stage on."""
    per_class: Count = 50
    """Points of each class that a look trains its classifiers on."""

    @property
    def steps(self) -> int:
        """Updates of the generator in all."""
        return self.gan_steps + self.distil_steps

    @model_validator(mode="after")
    def _trains(self) -> "Settings":
        if not self.steps:
            raise ValueError("gan_steps and distil_steps: expected at least one update in all, received 0")
        return self
