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

# Convolutions with a stride see some pixels more than others, which become noise of one pixel. The image is therefore
# shifted before each step, by one of a few shifts, so that the features of the input are computed once for each.
_SHIFTS, _LARGEST_SHIFT = 16, 8  # the stride of the content


def transfer(
    network: FeatureLayers, inputs: Tensor, style: Style, options: StyleOptions, numbers: Sequence[int]
) -> Tensor:
    """Give images a style. What one becomes depends by rounding only on the images that are computed with it.

    Differences from Gatys et al.: Adam instead of L-BFGS, whose steps would depend on all images of a batch; distances
    relative to their targets, so that weights mean the same for all networks; total variation; shifts.

    Args:
        network: computes the layers of content and style.
        inputs: n x 3 x H x W in [-1, 1], on the network's device.
        style: Gram matrices, on that device.
        options: layers, weights, steps.
        numbers: of the images, from which their noise is drawn.

    Returns:
        n x 3 x H x W in [-1, 1].
    """
    draw = torch.Generator().manual_seed(options.seed)
    shifts: list[list[int]] = torch.randint(_LARGEST_SHIFT, (_SHIFTS, 2), generator=draw).tolist()
    with torch.no_grad():
        contents = [network(inputs.roll(shift, (2, 3)))[options.content] for shift in shifts]
    x = inputs.clone() if options.start == "content" else _noise(inputs, options.seed, numbers)
    x.requires_grad_()
    adam = torch.optim.Adam([x], lr=options.lr, betas=(0.9, 0.99))
    for step in range(options.steps):
        adam.param_groups[0]["lr"] = options.lr * 0.5 * (1 + math.cos(math.pi * step / options.steps))
        found = network(x.roll(shifts[step % _SHIFTS], (2, 3)))
        loss = content_distance(found[options.content], contents[step % _SHIFTS])
        loss = loss + options.style_weight * style_distance(found, style)
        loss = loss + options.tv_weight * total_variation(x)
        (x.grad,) = torch.autograd.grad(loss.sum(), x)
        adam.step()
        with torch.no_grad():
            x.clamp_(-1, 1)
    return x.detach()


def total_variation(images: Tensor) -> Tensor:
    """For each image, N x C x H x W, the mean squared difference of neighbours, summed over both axes (as Johnson et
    al. 2016 use it, arXiv 1603.08155).
    """
    return sum((images.diff(dim=axis).square().mean((1, 2, 3)) for axis in (2, 3)), images.new_zeros(len(images)))


def _noise(images: Tensor, seed: int, numbers: Sequence[int]) -> Tensor:
    """Uniform in [-1, 1], of each image its own, whatever the batch."""
    drawn = [
        torch.rand(image.shape, generator=torch.Generator().manual_seed(seed + number)) * 2 - 1
        for image, number in zip(images, numbers, strict=True)
    ]
    return torch.stack(drawn).to(images)
