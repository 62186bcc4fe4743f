"""Style transfer: pixels are optimised until their features have the content of one image and a style
(Gatys et al. 2016, doi 10.1109/CVPR.2016.265).
"""

import math

import torch
from torch import Tensor

from cyclegan_dist.networks.feature_layers import FeatureLayers
from cyclegan_dist.style.gram import Style, content_distance, style_distance
from cyclegan_dist.style.options import StyleOptions


def transfer(network: FeatureLayers, inputs: Tensor, style: Style, options: StyleOptions, first: int = 0) -> Tensor:
    """Give images a style. What one becomes depends by rounding only on the images that are computed with it.

    Args:
        network: computes the layers of content and style.
        inputs: n x 3 x H x W in [-1, 1], on the network's device.
        style: Gram matrices, on that device.
        options: layers, weights, steps.
        first: number of the first image, from which its noise is drawn.

    Returns:
        n x 3 x H x W in [-1, 1].
    """
    content = network(inputs)[options.content_layer]
    x = inputs.clone() if options.start == "content" else _noise(inputs, options.seed, first)
    x.requires_grad_()
    adam = torch.optim.Adam([x], lr=options.lr, betas=(0.9, 0.99))
    for step in range(options.steps):
        adam.param_groups[0]["lr"] = options.lr * 0.5 * (1 + math.cos(math.pi * step / options.steps))
        found = network(x)
        loss = content_distance(found[options.content_layer], content)
        loss = loss + options.style_weight * style_distance(found, style)
        (x.grad,) = torch.autograd.grad(loss.sum(), x)
        adam.step()
        with torch.no_grad():
            x.clamp_(-1, 1)
    return x.detach()


def _noise(images: Tensor, seed: int, first: int) -> Tensor:
    """Uniform in [-1, 1], of each image its own, whatever the batch."""
    drawn = [
        torch.rand(image.shape, generator=torch.Generator().manual_seed(seed + first + i)) * 2 - 1
        for i, image in enumerate(images)
    ]
    return torch.stack(drawn).to(images)
