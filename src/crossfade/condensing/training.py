"""Training a generator: first as a GAN, then by the distillation objective; what classifiers learn of it decides.

Stage one is a conditional WGAN-GP with feature matching. Stage two adds softmax matching against a classifier trained
on the real rows, and the diversity penalty. Batches have every class as often, so a rare class is learned as well.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from threading import Event
from typing import Any

import torch
from torch import Tensor

from crossfade.condensing.classifier import best_classifier, fit_classifiers
from crossfade.condensing.gan import (
    Critic,
    Generator,
    critic_loss,
    draw_weights,
    feature_matching,
    gradient_penalty,
    start_as_gaussian,
)
from crossfade.condensing.matching import class_means, diversity, softmax_matching, spread
from crossfade.condensing.material import Material
from crossfade.condensing.settings import Settings
from crossfade.condensing.sizes import fitting
from crossfade.condensing.watch import Look, best_of, collapse, look, says_nothing
from crossfade.errors import InputError
from crossfade.progress import SILENT, Progress
from crossfade.training.checkpoints import Work

BETAS = (0.0, 0.9)
"""Adam's, as Gulrajani et al. have them for WGAN-GP."""

STATE = "state.pt"


@dataclass(frozen=True)
class Fitted:
    """A trained generator: that of look `best`; `reference` is the recall, in percent, of a classifier trained on the
    real rows; `collapsed` says why training ended where it did not go well to its end."""

    generator: Generator
    looks: tuple[Look, ...]
    best: Look
    reference: float
    collapsed: str | None


class Trainer:
    """A generator and its adversary, and all the randomness that they see."""

    def __init__(self, material: Material, settings: Settings, seed: int) -> None:
        self.material, self.settings, self.seed = material, settings, seed
        self.random = torch.Generator().manual_seed(seed)
        width, count = material.rows.shape[1], material.count
        self.generator = Generator(*fitting(settings, len(material.rows), width, count), width, count)
        self.critic = Critic(settings.critic, width, count)
        for network in (self.generator, self.critic):
            draw_weights(network, self.random)
        centres = class_means(material.rows, material.classes, count)
        if settings.start == "gaussian":
            start_as_gaussian(self.generator, material.rows - centres[material.classes])
        with torch.no_grad():
            self.generator.centre.weight.copy_(centres)
        self.kept = deepcopy(self.generator).requires_grad_(False)
        self.best = deepcopy(self.kept)
        self.optimizers = [
            torch.optim.Adam(network.parameters(), lr=rate, betas=BETAS, fused=True)
            for network, rate in ((self.generator, settings.rate), (self.critic, settings.critic_rate))
        ]
        self.teacher, self.reference = best_classifier(
            fit_classifiers(material.rows, material.classes, count), material.valid, material.valid_classes
        )
        self.wanted = class_means(self.teacher.scores(material.rows).softmax(-1), material.classes, count)
        self.spread = spread(material.rows, material.classes, count)
        self.order = material.classes.argsort(stable=True)
        self.first = material.sizes.cumsum(0) - material.sizes
        self.step = 0
        self.looks: list[Look] = []

    def batch(self) -> tuple[Tensor, Tensor]:
        """Real rows (batch, width), every class as likely, and their classes (batch,)."""
        classes = torch.randint(self.material.count, (self.settings.batch,), generator=self.random)
        shares = torch.rand(self.settings.batch, generator=self.random, dtype=torch.float64)
        place = self.first[classes] + (shares * self.material.sizes[classes]).long()
        return self.material.rows[self.order[place]], classes

    def points(self, classes: Tensor) -> Tensor:
        """What the generator makes now, with its gradient."""
        made: Tensor = self.generator(torch.randn(len(classes), self.generator.noise, generator=self.random), classes)
        return made

    def update_critic(self) -> float:
        """One step of the critic; how far apart it sees real and made points."""
        real, classes = self.batch()
        with torch.no_grad():
            made = self.points(classes)
        shares = torch.rand(len(real), 1, generator=self.random)
        loss = critic_loss(self.critic, real, made, classes)
        penalty = gradient_penalty(self.critic, real, made, classes, shares)
        self._descend(1, loss + self.settings.penalty * penalty)
        return -float(loss.detach())

    def update_generator(self) -> dict[str, float]:
        """One step of the generator; its losses by name."""
        settings = self.settings
        real, classes = self.batch()
        made = self.points(classes)
        with torch.no_grad():
            wanted = self.critic.features(real, classes)
        seen = self.critic.features(made, classes)
        losses = {"adversary": -self.critic.last(seen).mean(), "matching": feature_matching(wanted, seen)}
        weights = {"adversary": 1.0, "matching": settings.matching}
        if self.step >= settings.gan_steps:
            losses["softmax"] = softmax_matching(self.wanted, self.teacher.scores(made), classes)
            losses["diversity"] = diversity(*self._spreads(made, classes))
            weights |= {"softmax": settings.softmax, "diversity": settings.diversity}
        self._descend(0, torch.stack([weights[name] * loss for name, loss in losses.items()]).sum())
        self.step += 1
        self._average()
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _spreads(self, made: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Spread of made and of real rows of the classes that are in a batch twice or more."""
        there = classes.bincount(minlength=self.material.count) > 1
        return spread(made, classes, self.material.count)[there], self.spread[there]

    def _descend(self, network: int, loss: Tensor) -> None:
        self.optimizers[network].zero_grad()
        torch.autograd.backward(loss)
        self.optimizers[network].step()

    @torch.no_grad()
    def _average(self) -> None:
        """Nearer to a plain mean while there are few."""
        stays = min(self.settings.averaged, self.step / (self.step + 10))
        for kept, now in zip(self.kept.parameters(), self.generator.parameters(), strict=True):
            kept.lerp_(now, 1 - stays)

    def look(self, losses: dict[str, float]) -> str | None:
        """Look at what is kept, and keep it as the best where it is; why it has collapsed, if it has."""
        found = look(self.kept, self.material, self.settings, self.step, losses, self.seed)
        self.looks.append(found)
        if best_of(self.looks) is found:
            self.best.load_state_dict(self.kept.state_dict())
        return collapse(found)

    @property
    def done(self) -> bool:
        """Whether all updates are made, or the second stage has not become better for long."""
        if self.step >= self.settings.steps:
            return True
        best = best_of(self.looks)
        since = max(best.step if best else 0, self.settings.gan_steps)
        return sum(one.step > since for one in self.looks) >= self.settings.patience

    def state(self) -> dict[str, Any]:
        """All that decides what comes next, for `take_up`."""
        networks = {"generator": self.generator, "critic": self.critic, "kept": self.kept, "best": self.best}
        return {
            "networks": {name: network.state_dict() for name, network in networks.items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "random": self.random.get_state(),
            "step": self.step,
            "looks": [asdict(one) for one in self.looks],
        }

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        for name, weights in state["networks"].items():
            getattr(self, name).load_state_dict(weights)
        for optimizer, own in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
        self.random.set_state(state["random"])
        self.step = state["step"]
        self.looks = [Look(**one) for one in state["looks"]]


def fit_generator(
    material: Material,
    settings: Settings,
    seed: int,
    *,
    work: Work | None = None,
    progress: Progress = SILENT,
    stop: Event | None = None,
) -> Fitted:
    """Train a generator; with `work`, from its last checkpoint on, and with one at every look.

    Ends at the last update, after `patience` looks without a better one, or where training collapses: then the best
    generator before that is the result, and `collapsed` says why. Raises InputError where there is none before it, and
    where the best one's points tell next to nothing of their classes.
    """
    trainer = Trainer(material, settings, seed)
    if work and (checkpoint := work.last()):
        trainer.take_up(torch.load(checkpoint / STATE, weights_only=True))
    if not trainer.looks:
        trainer.look({})
    collapsed = collapse(trainer.looks[-1]) if trainer.step else None
    updates = _updates(trainer, stop)
    for losses in progress.track(updates, total=settings.steps - trainer.step, description="generator"):
        if losses is None:
            continue
        collapsed = trainer.look(losses)
        if collapsed:
            break
        if work:
            _save(work, trainer)
    return _finished(trainer, collapsed)


def _updates(trainer: Trainer, stop: Event | None) -> Iterator[dict[str, float] | None]:
    """Update until done: None, or, where it is time to look, the mean losses since the last time."""
    sums: dict[str, list[float]] = defaultdict(list)
    settings = trainer.settings
    while not trainer.done and not (stop and stop.is_set()):
        for _ in range(settings.critic_steps + (0 if trainer.step else settings.ahead)):
            sums["distance"].append(trainer.update_critic())
        for name, loss in trainer.update_generator().items():
            sums[name].append(loss)
        due = trainer.step % settings.check == 0 or trainer.step == settings.steps
        if due or not math.isfinite(sums["distance"][-1]):
            yield {name: sum(own) / len(own) for name, own in sums.items()}
            sums.clear()
        else:
            yield None


def _save(work: Work, trainer: Trainer) -> None:
    state = trainer.state()
    numbers = sum(tensor.nbytes for network in state["networks"].values() for tensor in network.values())
    with work.checkpoint(trainer.step, 4 * numbers) as folder:
        torch.save(state, folder / STATE)


def _finished(trainer: Trainer, collapsed: str | None) -> Fitted:
    best, material = best_of(trainer.looks), trainer.material
    mend = "give another --seed, a lower rate (--set rate=1e-4), or more clips"
    if best is None:
        raise InputError(f"training collapsed at update {trainer.step}: {collapsed}; {mend}")
    if says_nothing(best.valid, trainer.reference, material.count):
        raise InputError(
            f"training failed: points of the best generator reach {best.valid:.1f} % recall on validation clips, real "
            f"ones {trainer.reference:.1f} %, chance {100 / material.count:.1f} %; {mend}"
        )
    said = f"update {trainer.step}: {collapsed}" if collapsed else None
    return Fitted(trainer.best, tuple(trainer.looks), best, trainer.reference, said)
