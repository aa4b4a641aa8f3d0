"""Training: by its seed alone, taken up to the bit, ended in time, and a collapse is seen and said."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from clusters import clouds
from torch import Tensor

from crossfade.condensing import training
from crossfade.condensing.classifier import fit_classifiers, uar
from crossfade.condensing.gan import Generator
from crossfade.condensing.noise import even_noise
from crossfade.condensing.settings import Settings
from crossfade.condensing.training import Fitted, Trainer, fit_generator
from crossfade.condensing.watch import Look, best_of, collapse, draw_points, says_nothing, spread_shares
from crossfade.documents import validated
from crossfade.errors import InputError
from crossfade.training.checkpoints import Work, step_of

SMALL = Settings(
    noise=6,
    hidden=16,
    share=1.0,
    gan_steps=8,
    distil_steps=12,
    critic_steps=2,
    ahead=4,
    batch=32,
    check=5,
    rate=2e-4,
    per_class=6,
)
MATERIAL = clouds().material()


@pytest.fixture(autouse=True)
def _one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at one draw of points takes a third of the time."""
    monkeypatch.setattr("crossfade.condensing.watch.DRAWS", 1)


def weights(fitted: Fitted) -> dict[str, Tensor]:
    return fitted.generator.state_dict()


def alike(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_seed_decides_everything() -> None:
    every = SMALL.model_copy(update={"rate": 1e-2})
    first, again, other = (fit_generator(MATERIAL, every, seed) for seed in (3, 3, 4))
    assert alike(weights(first), weights(again))
    assert first.looks == again.looks
    assert not alike(weights(first), weights(other))
    assert first.best.valid == max(one.valid for one in first.looks)
    assert [one.step for one in first.looks] == [0, 5, 10, 15, 20]
    assert [{*one.losses} for one in first.looks[1:3]] == [
        {"distance", "adversary", "matching"},
        {"distance", "adversary", "matching", "softmax", "diversity"},
    ]


class CutError(Exception):
    """Stands for what ends a process."""


class Stops:
    """Lets so many updates go by, then ends the work."""

    def __init__(self, updates: int) -> None:
        self.updates = updates

    def track(self, iterable: Iterable[Any], **_: Any) -> Iterator[Any]:
        for number, update in enumerate(iterable):
            if number == self.updates:
                raise CutError
            yield update


def test_taken_up_it_ends_where_one_ends_that_nothing_disturbed(tmp_path: Path) -> None:
    every = SMALL.model_copy(update={"rate": 1e-2})
    work = Work(tmp_path / "generator")
    with work.begin({}, overwrite=False):
        with pytest.raises(CutError):
            fit_generator(MATERIAL, every, 3, work=work, progress=Stops(13))
        assert step_of(work.last() or Path()) == 10
        resumed = fit_generator(MATERIAL, every, 3, work=work)
    peaceful = fit_generator(MATERIAL, every, 3)
    assert alike(weights(resumed), weights(peaceful))
    assert resumed.looks == peaceful.looks


def test_every_class_is_in_a_batch_as_often() -> None:
    """Though one has sixteen times the clips of another; and no row is of another class."""
    keep = torch.cat([torch.arange(2), torch.arange(32, 96)])
    rare = replace(MATERIAL, rows=MATERIAL.rows[MATERIAL.classes.argsort(stable=True)][keep],
                   classes=MATERIAL.classes.sort().values[keep])  # fmt: skip
    trainer = Trainer(rare, SMALL.model_copy(update={"batch": 3000}), 0)
    rows, classes = trainer.batch()
    assert (classes.bincount() - 1000).abs().max() < 100
    for number in range(3):
        drawn = {tuple(row) for row in rows[classes == number].tolist()}
        assert drawn == {tuple(row) for row in rare.rows[rare.classes == number].tolist()}


def test_it_ends_after_looks_that_are_no_better() -> None:
    settings = SMALL.model_copy(update={"distil_steps": 500, "patience": 2, "rate": 1e-6})
    fitted = fit_generator(MATERIAL, settings, 0)
    assert fitted.best.valid == fitted.looks[0].valid
    assert fitted.looks[-1].step == 15  # the second look of the second stage, which begins after eight
    assert fitted.collapsed is None


@pytest.mark.parametrize("start", ["gaussian", "random"])
def test_points_of_clouds_teach_what_the_clouds_teach(start: str) -> None:
    settings = validated(Settings, SMALL.model_dump() | {"start": start, "gan_steps": 40}, "settings")
    fitted = fit_generator(MATERIAL, settings, 0)
    assert fitted.reference == 100
    assert fitted.best.valid > 95
    classes = torch.arange(3).repeat_interleave(200)
    points = draw_points(fitted.generator, classes, torch.Generator().manual_seed(1))
    shares = spread_shares(points, classes, MATERIAL)
    assert ((shares > 0.3) & (shares < 2)).all()


def test_even_points_teach_more_than_points_drawn_one_by_one() -> None:
    """Of classes that are hardly apart: what few points say of a mean is then the mean."""
    near = clouds(width=24, apart=0.5, voices=0.3).material()
    generator = Trainer(near, SMALL.model_copy(update={"noise": 24}), 0).generator
    classes, found = torch.arange(3).repeat_interleave(4), {"even": 0.0, "single": 0.0}
    for seed in range(12):
        draws = {"even": even_noise(classes, 24, torch.Generator().manual_seed(seed)),
                 "single": torch.randn(len(classes), 24, generator=torch.Generator().manual_seed(seed))}  # fmt: skip
        for name, noise in draws.items():
            (taught,) = fit_classifiers(generator(noise, classes).detach(), classes, 3, (0.1,), steps=60)
            found[name] += uar(near.valid_classes, taught.classes(near.valid)) / 12
    assert found["even"] > found["single"] + 5


def test_a_collapse_is_seen_said_and_survived() -> None:
    """A rate at which nothing can be learned: the generator of before is kept, and it is said why."""
    fitted = fit_generator(MATERIAL, SMALL.model_copy(update={"rate": 30.0}), 0)
    assert re.match(r"update \d: (its losses|the points)", fitted.collapsed or "")
    assert fitted.best.step == 0
    assert all(value.isfinite().all() for value in weights(fitted).values())


def test_a_collapse_before_anything_was_learned_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfade.condensing.watch.NARROW", 1e9)
    with pytest.raises(InputError, match=r"training collapsed at update 5: the points of a class are all but one: .*; "
                       r"give another --seed"):  # fmt: skip
        fit_generator(MATERIAL, SMALL, 0)


def test_points_that_say_nothing_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "says_nothing", lambda *facts: True)
    with pytest.raises(InputError, match=r"training failed: .* real ones 100\.0 %, chance 33\.3 %"):
        fit_generator(MATERIAL, SMALL, 0)


def look(**changed: Any) -> Look:
    return Look(**({"step": 1, "valid": 50.0, "damping": 1.0, "narrowest": 0.9, "widest": 1.1, "losses": {}} | changed))


def test_what_counts_as_a_collapse() -> None:
    assert collapse(look()) is None
    assert "all but one: 0.05 of the real spread" in (collapse(look(narrowest=0.05)) or "")
    assert "noise: 12 times the real spread" in (collapse(look(widest=12.0)) or "")
    assert "not finite" in (collapse(look(losses={"distance": float("nan")})) or "")
    assert "not finite" in (collapse(look(widest=float("inf"))) or "")
    assert best_of([look(valid=90.0, narrowest=0.0), look(valid=60.0), look(step=2, valid=60.0)]) == look(valid=60.0)
    assert best_of([look(narrowest=0.0)]) is None


def test_what_says_nothing() -> None:
    assert says_nothing(26.0, 85.0, 4)
    assert not says_nothing(40.0, 85.0, 4)
    assert not says_nothing(20.0, 25.0, 4)  # nor do the real clips


def test_settings_that_cannot_be() -> None:
    for wrong, said in (
        ({"rate": 0}, "rate"),
        ({"gan_steps": 0, "distil_steps": 0}, "at least one update in all"),
        ({"averaged": 1.0}, "averaged"),
        ({"sofmax": 1}, "unknown key 'sofmax'; did you mean 'softmax'"),
    ):
        with pytest.raises(InputError, match=said):
            validated(Settings, wrong, "settings")


def test_a_generator_makes_points_of_the_class_it_is_asked_for() -> None:
    generator = Generator(4, 8, 12, 3)
    noise = torch.zeros(3, 4)
    assert len({tuple(row) for row in generator(noise, torch.arange(3)).tolist()}) == 3
