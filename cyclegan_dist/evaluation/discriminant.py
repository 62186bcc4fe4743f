"""How far translations get from one domain to the other, on Fisher's linear discriminant between their real images.

A distance between whole sets of features is small where the domains differ in little, as discs do from squares, and
has no direction. The discriminant (Fisher 1936) is the direction in which the two domains differ most, relative to how
much images of one domain do.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

FOLDS = 5
FEWEST = 20  # images of each domain
RIDGE = 0.1  # added to the variances, of features scaled to 1: more features than images would fit any difference
SEPARATED = 0.8  # least probability that a real image lies further on the target's side than one of the other domain


@dataclass(frozen=True)
class Positions:
    """Positions on the discriminant: real images of the domain translated from are at 0 on average, those of the target
    at 1.

    Attributes:
        source: n positions of the images that were translated.
        target: m positions of real images of the target.
        translations: n positions.
    """

    source: Tensor
    target: Tensor
    translations: Tensor


def positions(source: Tensor, target: Tensor, translations: Tensor) -> Positions | None:
    """Positions of images, each on a discriminant that it took no part in fitting: neither it nor its translation.

    Args:
        source: n x D features of real images.
        target: m x D features of real images of the target.
        translations: n x D features of the translations of `source`, in the same order.

    Returns:
        None if there are too few images, or real images of the two domains cannot be told apart by their features.
    """
    if min(len(source), len(target)) < FEWEST:
        return None
    images = [features.double() for features in (source, target, translations)]
    folds = [torch.arange(len(features)) % FOLDS for features in images]
    found = [torch.empty(len(features), dtype=torch.float64) for features in images]
    for fold in range(FOLDS):
        one, two = (features[of != fold] for features, of in zip(images[:2], folds, strict=False))
        axis = _axis(one, two)
        for features, of, place in zip(images, folds, found, strict=True):
            place[of == fold] = (features[of == fold] - one.mean(0)) @ axis
    if separation(found[0], found[1]) < SEPARATED:
        return None
    zero, length = found[0].mean(), found[1].mean() - found[0].mean()
    return Positions(*((place - zero) / length for place in found))


def _axis(one: Tensor, two: Tensor) -> Tensor:
    """The discriminant, scaled so that the means of n x D and m x D features are 1 apart; 0 where these are equal."""
    apart = two.mean(0) - one.mean(0)
    within = torch.cat([one - one.mean(0), two - two.mean(0)])
    scale = within.square().mean(0).sqrt()
    scale = scale + 1e-6 * scale.max() + torch.finfo(scale.dtype).tiny
    scaled = within / scale
    covariance = scaled.T @ scaled / len(scaled) + RIDGE * torch.eye(scaled.shape[1], dtype=scaled.dtype)
    axis = torch.linalg.solve(covariance, apart / scale) / scale
    length = apart @ axis
    return axis / length if length > 0 else axis


def separation(low: Tensor, high: Tensor) -> float:
    """The probability that one of `high` is larger than one of `low`, equal ones counted half: the area under the ROC
    curve.
    """
    low = low.sort().values  # a matrix of all pairs would not fit in memory for tens of thousands of images
    below, not_above = (torch.searchsorted(low, high, right=right).double().mean() for right in (False, True))
    return float((below + not_above) / 2 / len(low))
