"""What is made small: every teacher's loss of its own clips, and nothing else."""

import torch
from distilling import SHAPE
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from crossfade.distillation.distiller import MASK_CHANCE, MASK_FRAMES, Distiller, Target, span_mask
from crossfade.distillation.objectives import assign_clusters, correlation_loss, l1_cosine, masked_cross_entropy
from crossfade.distillation.recipe import Objective, Student, Teacher
from crossfade.distillation.students import make_student

TEACHERS = [
    Teacher(model="some/speech", layers=(1, 2), weight=2.0),
    Teacher(model="music", weight=0.5, translator="conv", slice=(0.5, 1.0)),
]
SIZES = [(2, 7), (1, 5)]
FRAMES, CLIPS = 20, 5
SNRS = torch.tensor([[12.0, 15.0, 20.0, 5.0, 18.0], [11.0, 19.0, torch.inf, 17.0, 13.0]])


def distiller(**objective: object) -> Distiller:
    student, preprocessing, _ = make_student(Student.model_validate({"shape": SHAPE, "dropout": 0.0}))
    torch.manual_seed(0)
    return Distiller(student, preprocessing, TEACHERS, SIZES, Objective.model_validate(objective))


def lesson(places: tuple[list[int], list[int]], seed: int = 0) -> tuple[Tensor, list[Target | None]]:
    """Sound, and what two teachers want of the clips at their places."""
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(CLIPS, 40 + 40 * (FRAMES - 1), generator=generator)
    return samples, [
        Target(torch.tensor(own), torch.randn(len(own), layers, FRAMES, width, generator=generator)) if own else None
        for own, (layers, width) in zip(places, SIZES, strict=True)
    ]


def test_teachers_have_their_weight_and_their_clips() -> None:
    taught = distiller(l1=0.7, cosine=0.3)
    samples, targets = lesson(([0, 1, 2, 3, 4], [1, 3]))
    losses = taught(samples, targets, SNRS)
    hidden = taught.hidden(samples)
    speech = l1_cosine(taught.translators(0, hidden), targets[0].wanted, 0.7, 0.3)
    music = l1_cosine(taught.translators(1, hidden[[1, 3]]), targets[1].wanted, 0.7, 0.3)
    assert list(losses) == ["0-speech", "1-music"]
    torch.testing.assert_close(losses["0-speech"], 2.0 * speech)
    torch.testing.assert_close(losses["1-music"], 0.5 * 2 / 5 * music)


def test_clips_count_the_same_in_every_batch() -> None:
    """Two batches of two domains, each clip alone or beside the others: the same gradient in all."""
    taught = distiller()
    samples, targets = lesson(([0, 1, 2, 3, 4], [1, 3]))
    together = sum(taught(samples, targets, SNRS).values())
    alone = 0.0
    for clip in range(CLIPS):
        own = [
            Target(torch.tensor([0]), target.wanted[target.places == clip]) if clip in target.places else None
            for target in targets
        ]
        alone = alone + sum(taught(samples[[clip]], own, SNRS[:, [clip]]).values()) / CLIPS
    torch.testing.assert_close(together, alone)


def test_correlations_and_their_levels() -> None:
    taught = distiller(l1=0.0, cosine=0.0, correlation=3.0, frames=4, snr_weights=True)
    samples, targets = lesson(([0, 2, 3, 4], [1]))
    losses = taught(samples, targets, SNRS)
    predicted = taught.translators(0, taught.hidden(samples)[[0, 2, 3, 4]])
    coefficients = torch.tensor([[20.8, 100.0, 1.0, 80.2], [10.9, 100.0, 70.3, 30.7]])
    wanted = correlation_loss(
        predicted, targets[0].wanted, cross=5e-5, self_=5e-6, diagonal_scale=10, cross_scale=100, self_scale=50000,
        frames=4, weights=(coefficients[0], coefficients[1]),
    )  # fmt: skip
    torch.testing.assert_close(losses["0-speech"], 2.0 * 4 / 5 * 3.0 * wanted, rtol=1e-4, atol=1e-6)
    assert losses["1-music"] == 0  # one clip has no correlations


def test_a_clip_without_correlations_still_reaches_the_student() -> None:
    taught = distiller(l1=0.0, cosine=0.0, correlation=1.0)
    samples, targets = lesson(([0], [1]))
    sum(taught(samples, targets, SNRS).values()).backward()
    assert all(float(p.grad.abs().max()) == 0 for p in taught.translators.parameters())


def test_masked_frames_are_hidden_and_their_clusters_predicted() -> None:
    taught = distiller(l1=0.0, cosine=0.0, masked=1.5, clusters=6)
    samples, targets = lesson(([0, 1, 2, 3, 4], [2, 3]))
    centres = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    taught.standards[1].centres.copy_(centres)
    mask = span_mask(CLIPS, FRAMES, torch.Generator().manual_seed(2))
    losses = taught(samples, targets, SNRS, mask)
    hidden = taught.hidden(samples, mask)
    clusters = assign_clusters(targets[1].wanted[:, -1], centres)
    entropy = masked_cross_entropy(taught.classifiers[1](hidden[[2, 3]]), clusters, mask[[2, 3]])
    torch.testing.assert_close(losses["1-music"], 0.5 * 2 / 5 * 1.5 * entropy)
    assert not torch.equal(hidden, taught.hidden(samples, torch.zeros_like(mask)))


def test_a_batch_without_clips_moves_nothing() -> None:
    taught = distiller(masked=1.0, clusters=3)
    losses = taught(torch.empty(0, 800), [None, None], torch.empty(2, 0))
    sum(losses.values()).backward()
    assert all((parameter.grad == 0).all() for parameter in taught.parameters())


@given(st.integers(1, 8), st.integers(1, 200), st.integers(0, 99))
def test_every_clip_has_a_mask_of_whole_spans(clips: int, frames: int, seed: int) -> None:
    mask = span_mask(clips, frames, torch.Generator().manual_seed(seed))
    assert mask.shape == (clips, frames)
    assert mask.any(1).all()
    for row in mask.tolist():
        runs = "".join("x" if frame else " " for frame in row).split()
        # A span ends before its length only where the clip does.
        assert all(len(run) >= MASK_FRAMES for run in (runs if not row[-1] else runs[:-1]))


def test_half_of_the_frames_are_masked() -> None:
    mask = span_mask(400, 500, torch.Generator().manual_seed(0))
    assert abs(float(mask.float().mean()) - (1 - (1 - MASK_CHANCE) ** MASK_FRAMES)) < 0.01
