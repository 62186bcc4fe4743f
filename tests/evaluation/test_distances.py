"""Against answers that are known, and arithmetic written anew."""

import math

import pytest
import torch

from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.distances import frechet_distance, kernel_distance, nearly_equal
from cyclegan_dist.evaluation.figures import Figure


def features(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_frechet_distance_of_a_shift_is_its_square() -> None:
    x = features(50, 4, 0)
    shift = torch.tensor([1.0, -2.0, 0.5, 0.0])
    assert frechet_distance(x, x + shift).value == pytest.approx(5.25, rel=1e-6)


def test_the_frechet_distance_of_a_stretch() -> None:
    """tr(C + 9 C - 2 * 3 C) = 4 tr C about a common mean of zero."""
    x = features(60, 3, 1)
    x = x - x.mean(0)
    assert frechet_distance(x, 3 * x).value == pytest.approx(4 * float(x.var(0).sum()), rel=1e-6)


@pytest.mark.parametrize("n", [40, 8])  # more images than features, and fewer
def test_both_are_torchmetrics(n: int) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import poly_mmd

    x, y = features(n, 12, 4), features(n + 4, 12, 5) * 2 + 1
    given = torch.nn.Identity()
    given.num_features = 12  # pyright: ignore
    frechet = FrechetInceptionDistance(given).set_dtype(torch.float64)
    frechet.update(x, real=True)
    frechet.update(y, real=False)
    assert frechet_distance(x, y).value == pytest.approx(float(frechet.compute()), rel=1e-5)
    rng = torch.Generator().manual_seed(0)
    one, two = (torch.randperm(len(z), generator=rng)[:n].view(2, -1) for z in (x, y))
    parts = [float(poly_mmd(x[a], y[b])) for a, b in zip(one, two, strict=True)]
    assert kernel_distance(x, y, 2).parts == pytest.approx(parts, rel=1e-9)


def test_the_kernel_distance_is_the_unbiased_estimate() -> None:
    """Two subsets of everything, by loops over all pairs."""
    x, y = features(6, 3, 2), features(6, 3, 3) + 1

    def k(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a @ b / 3 + 1) ** 3)

    rng = torch.Generator().manual_seed(0)
    parts = [torch.randperm(6, generator=rng)[:6].view(2, 3) for _ in range(2)]
    expected = []
    for p, q in zip(*parts, strict=True):
        within = sum(k(x[i], x[j]) for i in p for j in p if i != j) + sum(k(y[i], y[j]) for i in q for j in q if i != j)
        expected.append(within / 6 - 2 * sum(k(x[i], y[j]) for i in p for j in q) / 9)
    figure = kernel_distance(x, y, 2)
    assert figure.parts == pytest.approx(expected, rel=1e-10)
    assert figure.value == pytest.approx(sum(expected) / 2)


def test_its_interval_covers_the_truth_in_95_of_100_cases() -> None:
    """N(0, 1) against N(0.7, 1), whose moments give the truth: the kernel (x y + 1)^3 is one of them up to the third."""
    mean, simulations = 0.7, 400
    moments = [(0, mean), (1, 1 + mean**2), (0, mean**3 + 3 * mean)]
    truth = sum(math.comb(3, j + 1) * (p - q) ** 2 for j, (p, q) in enumerate(moments))
    rng = torch.Generator().manual_seed(0)
    covered = 0
    for seed in range(simulations):
        x = torch.randn(400, 1, generator=rng, dtype=torch.float64)
        y = torch.randn(400, 1, generator=rng, dtype=torch.float64) + mean
        low, high = kernel_distance(x, y, 10, seed).interval
        covered += low <= truth <= high
    assert 0.925 <= covered / simulations <= 0.975, covered / simulations


def test_too_few_images_are_refused() -> None:
    with pytest.raises(UsageError, match="4 images of each domain or more, not 3"):
        kernel_distance(features(3, 2, 0), features(9, 2, 1), 10)
    with pytest.raises(UsageError, match="2 images"):
        frechet_distance(features(1, 2, 0), features(9, 2, 1))


@pytest.mark.parametrize(
    ("ours", "theirs", "passed"),
    [
        (Figure(1.1), Figure(1.0), True),
        (Figure(1.2), Figure(1.0), False),
        (Figure.mean([-0.01, 0.03]), Figure(-0.01), True),  # above it, and not above 0 beyond its interval
        (Figure.mean([0.02, 0.02001]), Figure(-0.01), False),
        (Figure(0.01), Figure(-0.01), False),  # no interval
        (Figure(-0.001), Figure(-0.01), True),
    ],
)
def test_a_distance_of_0_or_less_is_equalled_within_the_interval(ours: Figure, theirs: Figure, passed: bool) -> None:
    assert nearly_equal(ours, theirs, 1.1) == passed
