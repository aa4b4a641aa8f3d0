"""A Gaussian for every class has its mean, and a covariance between its own and all classes'."""

import torch

from crossfade.condensing.gaussian import fit_gaussian


def test_moments() -> None:
    random = torch.Generator().manual_seed(0)
    classes = torch.arange(200) % 2
    scale = torch.tensor([[1.0, 1.0, 1.0], [3.0, 1.0, 0.1]])
    rows = torch.randn(200, 3, generator=random) * scale[classes] + 5.0 * classes[:, None]
    found = fit_gaussian(rows, classes, 2)
    own = [rows[classes == number] - rows[classes == number].mean(0) for number in (0, 1)]
    shared = sum(part.T @ part for part in own) / 198
    for number, part in enumerate(own):
        wanted = torch.lerp(shared, part.T @ part / 99, 100 / 103)
        torch.testing.assert_close(found.roots[number] @ found.roots[number].T, wanted, atol=1e-4, rtol=1e-4)
    asked = torch.arange(40_000) % 2
    made = found.sample(asked, torch.randn(len(asked), 3, generator=torch.Generator().manual_seed(1)))
    for number in (0, 1):
        cloud = made[asked == number]
        torch.testing.assert_close(cloud.mean(0), found.means[number], atol=0.05, rtol=0)
        torch.testing.assert_close(cloud.T.cov(), found.roots[number] @ found.roots[number].T, atol=0.1, rtol=0.05)


def test_a_class_of_two_rows_in_many_channels_has_points_all_around() -> None:
    random = torch.Generator().manual_seed(0)
    rows, classes = torch.randn(42, 10, generator=random), torch.tensor([0] * 40 + [1] * 2)
    noise = torch.randn(500, 10, generator=random)
    made = fit_gaussian(rows, classes, 2).sample(torch.ones(500, dtype=torch.int64), noise)
    assert torch.linalg.matrix_rank(made.T.cov()) == 10
    assert made.isfinite().all()
