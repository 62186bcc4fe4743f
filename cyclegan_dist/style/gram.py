"""Styles as Gram matrices of features: of images, and their mean over a collection."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from cyclegan_dist.networks.feature_layers import FeatureLayers

Style = Mapping[str, Tensor]
"""For each layer a Gram matrix, D x D."""


def gram(features: Tensor) -> Tensor:
    """N x D x h x w features to N x D x D: the mean over positions of the products of channels, which does not depend
    on the size of the image (Gatys et al. 2016 have the sum).
    """
    flat = features.flatten(2)
    return flat @ flat.mT / flat.shape[2]


@torch.no_grad()
def mean_style(network: FeatureLayers, layers: Sequence[str], batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """The mean of the images' Gram matrices, in memory that does not depend on the number of images.

    Args:
        network: computes `layers`.
        layers: of the style.
        batches: n x C x H x W images in [-1, 1] on the network's device; at least one image in all. Sizes may differ
            between batches.
    """
    total: dict[str, Tensor] = {}
    count = 0
    for images in batches:
        found = network(images)
        for layer in layers:
            summed = gram(found[layer]).sum(0, dtype=torch.float64)  # so that the size of batches does not matter
            total[layer] = total[layer] + summed if layer in total else summed
        count += len(images)
    return {layer: (value / count).float() for layer, value in total.items()}


def style_distance(found: Mapping[str, Tensor], style: Style) -> Tensor:
    """For each image, the mean over layers of |G - A|² / |A|² in Frobenius norm, with its Gram matrices G and those of
    the style A. 0: the same; 1: as far as images without any features.

    Args:
        found: features, N x D x h x w, of the layers of `style` at least.
        style: the target.
    """
    each = [
        (gram(found[layer]) - target).square().sum((1, 2)) / target.square().sum() for layer, target in style.items()
    ]
    return torch.stack(each).mean(0)


def content_distance(found: Tensor, content: Tensor) -> Tensor:
    """For each image, |F - P|² / |P|² with its features F and those of its input P, N x D x h x w."""
    return (found - content).square().sum((1, 2, 3)) / content.square().sum((1, 2, 3))
