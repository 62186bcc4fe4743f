"""Style transfer: pixels are optimised until their features have the content of one image and a style
(Gatys et al. 2016, doi 10.1109/CVPR.2016.265).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cyclegan_dist.networks.feature_layers import FeatureLayers
from cyclegan_dist.style.gram import Style, content_distance, style_distance
from cyclegan_dist.style.options import StyleOptions


def transfer(
    network: FeatureLayers, inputs: Tensor, style: Style, options: StyleOptions, numbers: Sequence[int]
) -> Tensor:
    """Give images a style. What one becomes depends by rounding only on the images that are computed with it.

    Args:
        network: computes the layers of content and style.
        inputs: n x 3 x H x W in [-1, 1], on the network's device.
        style: Gram matrices, on that device.
        options: layers, weights, steps.
        numbers: of the images, from which their noise is drawn.

    Returns:
        n x 3 x H x W in [-1, 1].
    """
    content = network(inputs)[options.content]
    x = inputs.clone() if options.start == "content" else _noise(inputs, options.seed, numbers)
    x.requires_grad_()
    adam = torch.optim.Adam([x], lr=options.lr, betas=(0.9, 0.99))
    for step in range(options.steps):
        adam.param_groups[0]["lr"] = options.lr * 0.5 * (1 + math.cos(math.pi * step / options.steps))
        found = network(x)
        loss = content_distance(found[options.content], content)
        loss = loss + options.style_weight * style_distance(found, style)
        (x.grad,) = torch.autograd.grad(loss.sum(), x)
        adam.step()
        with torch.no_grad():
            x.clamp_(-1, 1)
    return x.detach()


def _noise(images: Tensor, seed: int, numbers: Sequence[int]) -> Tensor:
    """Uniform in [-1, 1], of each image its own, whatever the batch."""
    drawn = [
        torch.rand(image.shape, generator=torch.Generator().manual_seed(seed + number)) * 2 - 1
        for image, number in zip(images, numbers, strict=True)
    ]
    return torch.stack(drawn).to(images)
