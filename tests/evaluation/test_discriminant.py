"""Positions on the discriminant, of features whose answers are known."""

import pytest
import torch
from torch import Tensor

from cyclegan_dist.evaluation.discriminant import FEWEST, positions, separation


def features(mean: float, seed: int, count: int = 60) -> Tensor:
    """Of 40 dimensions: the first one, which varies little, has the mean; others vary a hundred times as much."""
    x = torch.randn(count, 40, generator=torch.Generator().manual_seed(seed))
    x[:, 1:] *= 100
    x[:, 0] += mean
    return x


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0, 1.4])
def test_the_share_of_the_way_is_found(share: float) -> None:
    source = features(0, 0)
    moved = source.clone()
    moved[:, 0] += share * 12
    at = positions(source, features(12, 1), moved)
    assert at is not None
    assert float(at.translations.mean()) == pytest.approx(share, abs=0.1)
    assert float(at.source.mean()) == pytest.approx(0, abs=1e-9) and float(at.target.mean()) == pytest.approx(1)


def test_what_the_domains_have_in_common_does_not_count() -> None:
    source = features(0, 0)
    moved = source + torch.tensor([0.0, *[30.0] * 39])
    at = positions(source, features(12, 1), moved)
    assert at is not None and abs(float(at.translations.mean())) < 0.2


def test_nothing_is_said_of_domains_that_are_alike_or_of_few_images() -> None:
    source = features(0, 0)
    assert positions(source, features(0, 1), source) is None
    assert positions(source, source, source) is None
    assert positions(torch.ones(60, 4), torch.ones(60, 4), torch.ones(60, 4)) is None
    assert positions(source[: FEWEST - 1], features(12, 1), source[: FEWEST - 1]) is None
    assert positions(source[:FEWEST], features(12, 1), source[:FEWEST]) is not None


def test_each_image_is_measured_on_an_axis_that_it_was_not_fitted_to() -> None:
    """With more features than images any axis fits its own images: of 400 random features, all of them would separate."""
    one, two = (torch.randn(40, 400, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert positions(one, two, one) is None


def test_separation_is_the_area_under_the_curve() -> None:
    low, high = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 3.0])
    assert separation(low, high) == pytest.approx((1 + 0.5 + 0 + 3) / 6)
    many = torch.arange(400_000)  # all pairs would take 1.3 TB
    assert separation(many, many) == pytest.approx(0.5) and separation(many, many + 400_000) == 1
