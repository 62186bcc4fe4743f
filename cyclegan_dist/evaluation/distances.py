"""Distances between two piles of images, by their features.

The kernel distance is unbiased at any number of images; the Frechet distance is not, and falls with their number: never
compare it across numbers. With the FID Inception's features they are KID (Binkowski et al. 2018, arXiv 1801.01401) and
FID (Heusel et al. 2017, arXiv 1706.08500), with any other they are not.
"""

import math

import torch
from torch import Tensor

from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.figures import Figure


def frechet_distance(real: Tensor, fake: Tensor) -> Figure:
    """Between Gaussians fitted to n x D and m x D features."""
    _refuse_few(real, fake, 2)
    gap = (real.double().mean(0) - fake.double().mean(0)).square().sum()
    # With X^T X = S and Y^T Y = T, tr (S T)^(1/2) is the sum of the singular values of X Y^T. So no root is taken of
    # eigenvalues that are zero but for rounding, of which S T has many if there are fewer images than features.
    x, y = (_covariance_root(features.double()) for features in (real, fake))
    cross = torch.linalg.svdvals(x @ y.T).sum()
    return Figure(float(gap + x.square().sum() + y.square().sum() - 2 * cross), n=min(len(real), len(fake)))


def _covariance_root(features: Tensor) -> Tensor:
    """X, at most D x D, with X^T X the covariance of n x D features."""
    return torch.linalg.qr((features - features.mean(0)) / math.sqrt(len(features) - 1), mode="r").R


def kernel_distance(real: Tensor, fake: Tensor, subsets: int, seed: int = 0) -> Figure:
    """Squared maximum mean discrepancy with the kernel (x y / D + 1)^3, the unbiased estimate.

    The n x D and m x D features are split at random into `subsets` disjoint parts, fewer if there are few images. Each
    part's estimate is unbiased and independent of the others, so their mean is unbiased and Student's t gives its
    interval: subsets that share images, as they are usually drawn, would make it too narrow.
    """
    n = min(len(real), len(fake))
    _refuse_few(real, fake, 4)
    subsets = min(subsets, n // 2)
    size = n // subsets
    rng = torch.Generator().manual_seed(seed)
    pick = [torch.randperm(len(x), generator=rng)[: subsets * size].view(subsets, size) for x in (real, fake)]
    real, fake = real.double(), fake.double()
    estimates = [_squared_mmd(real[a], fake[b]) for a, b in zip(*pick, strict=True)]
    return Figure.mean(estimates, n)


def nearly_equal(ours: Figure, theirs: Figure, ratio: float) -> bool:
    """Whether a kernel distance is at most `ratio` times another. One of 0 or less, of images that cannot be told from
    real ones, is equalled by a distance that is not above 0 beyond its interval.
    """
    if theirs.value > 0:
        return ours.value <= ratio * theirs.value
    return ours.value <= 0 or (not math.isnan(ours.margin) and ours.value - ours.margin <= 0)


def _squared_mmd(x: Tensor, y: Tensor) -> float:
    """The unbiased estimate from n x D features of each: means over all pairs of two different images."""
    n = len(x)
    xx, yy, xy = ((a @ b.T / a.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    return float((xx.sum() - xx.trace() + yy.sum() - yy.trace()) / (n * (n - 1)) - 2 * xy.mean())


def _refuse_few(real: Tensor, fake: Tensor, least: int) -> None:
    n = min(len(real), len(fake))
    if n < least:
        raise UsageError(f"distances need {least} images of each domain or more, not {n}: give more, or leave them out")
