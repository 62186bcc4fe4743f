"""Distances between two piles of images, by their features.

The kernel distance is unbiased at any number of images; the Frechet distance is not, and falls with their number: never
compare it across numbers. With the FID Inception's features they are KID (Binkowski et al. 2018, arXiv 1801.01401) and
FID (Heusel et al. 2017, arXiv 1706.08500), with any other they are not.
"""

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.figures import Figure


class _Given(nn.Module):
    """A feature extractor for torchmetrics that returns features which were computed before."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(real: Tensor, fake: Tensor) -> Figure:
    """Between Gaussians fitted to n x D and m x D features."""
    _refuse_few(real, fake, 2)
    metric = FrechetInceptionDistance(_Given(real.shape[1])).set_dtype(torch.float64)
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    return Figure(float(metric.compute()), n=min(len(real), len(fake)))


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
    estimates = [float(poly_mmd(real[a], fake[b])) for a, b in zip(*pick, strict=True)]
    return Figure.mean(estimates, n)


def _refuse_few(real: Tensor, fake: Tensor, least: int) -> None:
    n = min(len(real), len(fake))
    if n < least:
        raise UsageError(f"distances need {least} images of each domain or more, not {n}: give more, or leave them out")
