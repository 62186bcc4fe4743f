"""Discriminators at several scales (Wang et al. 2018, arXiv 1711.11585, section 3.2)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_dist.networks.discriminator import PatchDiscriminator, PixelDiscriminator


class MultiScaleDiscriminator(nn.Module):
    """Discriminators of one architecture: the first one judges the image, each further one the image at half of the
    previous one's height and width, by the mean of 3x3 pixels.

    Maps N x C x H x W in [-1, 1] to one tensor of logits N x 1 x h x w for each. The losses take the mean over scales,
    so that weights and values mean the same for any number; the paper's is the sum.
    """

    def __init__(self, scales: Sequence[PatchDiscriminator | PixelDiscriminator]):
        super().__init__()
        self.scales = nn.ModuleList(scales)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(D(image) for D, image in zip(self.scales, self._pyramid(x), strict=True))

    def layer_by_layer(self, x: Tensor) -> Tensor:
        """The logits of all scales, N x P, by layers that can be differentiated twice."""
        logits = list[Tensor]()
        for D, image in zip(self.scales, self._pyramid(x), strict=True):
            assert isinstance(D, PatchDiscriminator | PixelDiscriminator)
            logits.append(D.layer_by_layer(image).flatten(1))
        return torch.cat(logits, dim=1)

    def _pyramid(self, x: Tensor) -> list[Tensor]:
        images = [x]
        for _ in range(len(self.scales) - 1):
            # At the border, only pixels of the image count.
            images.append(F.avg_pool2d(images[-1], 3, stride=2, padding=1, count_include_pad=False))
        return images
