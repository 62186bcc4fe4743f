"""Projected discriminator (Sauer et al. 2021, arXiv 2111.01007): small heads on features of a frozen network.

Features of strides 4, 8, 16 and 32 are mixed by random convolutions that are not trained: 1x1 ones over the channels of
each scale, then 3x3 ones from the coarsest scale to the finest, each added to the next scale (cross-channel and
cross-scale mixing, section 3.2). A head judges each of the four mixtures. The heads alone are trained, with spectral
norm and without any other norm. The paper's have batch norm too, and as many channels as features at each scale; here
all mixtures have 64.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_dist.networks.config import InitConfig
from cyclegan_dist.networks.frozen_features import FrozenFeatures
from cyclegan_dist.networks.init import init_weights
from cyclegan_dist.networks.pretrained import PYRAMIDS
from cyclegan_dist.networks.spectral import SpectralConv2d, start_iteration

WIDTH = 64  # channels of a mixture
WIDEST = 256  # channels of a head, at most
SCALE = 0.1  # of features, whose deviation is about 10


class FixedConv2d(nn.Module):
    """A convolution with random weights that are buffers: in checkpoints, and not trained. Sides are kept."""

    weight: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__()
        weight = torch.randn(out_channels, in_channels, kernel_size, kernel_size)
        self.register_buffer("weight", weight / weight[0].numel() ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2)


class ProjectedDiscriminator(nn.Module):
    """Maps N x C x H x W in [-1, 1], C 1 or 3, to four tensors of logits N x 1 x h x w, h and w about a 32nd.

    Args:
        features: a network of `PACKAGED`, with `:FILE` for weights in a file. Weights are read at the first call.
        size: pixels of a side that images are resized to; 0: they are not.
        init: initial weights of the heads.
    """

    def __init__(self, features: str, size: int, init: InitConfig):
        super().__init__()
        layers = PYRAMIDS[features.partition(":")[0]]
        self._features = FrozenFeatures(features, tuple(layers), size)
        self.channels = nn.ModuleList(FixedConv2d(count, WIDTH, 1) for count in layers.values())
        self.scales = nn.ModuleList(FixedConv2d(WIDTH, WIDTH, 3) for _ in layers)
        self.heads = nn.ModuleList(_head(downs) for downs in reversed(range(len(layers))))
        init_weights(self.heads, init)
        start_iteration(self.heads)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(head(mixture) for head, mixture in zip(self.heads, self.mixtures(x), strict=True))

    def mixtures(self, x: Tensor) -> list[Tensor]:
        """N x 64 x h x w of each scale, the finest first."""
        found, coarser = list[Tensor](), None
        scales = list(zip(self._features(x), self.channels, self.scales, strict=True))
        for features, over_channels, over_scales in reversed(scales):
            mixture = over_channels(SCALE * features)
            if coarser is not None:
                mixture = 0.5**0.5 * (mixture + F.interpolate(coarser, mixture.shape[2:], mode="nearest"))
            coarser = over_scales(mixture)
            found.insert(0, coarser)
        return found


def _head(downs: int) -> nn.Sequential:
    """So many strided convolutions, so that all heads see the same number of places, and one to a logit."""
    layers, width = list[nn.Module](), WIDTH
    for _ in range(downs):
        wider = min(2 * width, WIDEST)
        layers += [SpectralConv2d(width, wider, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
        width = wider
    return nn.Sequential(*layers, SpectralConv2d(width, 1, 3, padding=1))
