"""U-Net generator (Ronneberger et al. 2015, as used by pix2pix): 7 downs for 128 px, 8 for 256 px.

Tensors are N x C x H x W in [-1, 1]; H and W must be multiples of 2**n_downs. Instance norm needs more than one pixel,
so the innermost scale has none.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cyclegan_dist.networks.config import GeneratorConfig, Norm
from cyclegan_dist.networks.norm import has_bias, norm_layer


class UnetGenerator(nn.Module):
    """Maps N x in_channels x H x W in [-1, 1] to N x out_channels x H x W in (-1, 1)."""

    def __init__(self, in_channels: int, out_channels: int, config: GeneratorConfig):
        super().__init__()
        n, norm = config.n_downs, config.norm
        self.run: Callable[..., Tensor] = nn.Module.__call__  # replaced by use_fused_layers
        self.multiple, self.in_channels = config.multiple, in_channels
        width = [config.ngf * min(2**i, 8) for i in range(n)]
        self.downs = nn.ModuleList(_down(i, n, width[i - 1] if i else in_channels, width[i], norm) for i in range(n))
        self.ups = nn.ModuleList(_up(i, n, width, out_channels, config.dropout, norm) for i in reversed(range(n)))

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for down in self.downs:
            x = self.run(down, x)
            skips.append(x)
        x = self.run(self.ups[0], skips.pop())
        for up in self.ups[1:]:
            x = self.run(up, torch.cat([skips.pop(), x], dim=1))
        return x


def _down(i: int, n: int, channels_in: int, channels: int, norm: Norm) -> nn.Sequential:
    """Scale i of n: halve the sides. No activation before the first, no norm at the first and the innermost."""
    conv = nn.Conv2d(channels_in, channels, 4, stride=2, padding=1, bias=has_bias(norm))
    return nn.Sequential(
        *([nn.LeakyReLU(0.2)] if i else []),
        conv,
        *([norm_layer(norm, channels)] if 0 < i < n - 1 else []),
    )


def _up(i: int, n: int, width: list[int], out_channels: int, dropout: bool, norm: Norm) -> nn.Sequential:
    """Back from scale i: double the sides. All but the innermost concatenate the skip connection to their input."""
    channels_in = width[i] if i == n - 1 else 2 * width[i]
    channels = width[i - 1] if i else out_channels
    conv = nn.ConvTranspose2d(channels_in, channels, 4, stride=2, padding=1, bias=not i or has_bias(norm))
    if not i:
        return nn.Sequential(nn.ReLU(), conv, nn.Tanh())
    drop = [nn.Dropout(0.5)] if dropout and 4 <= i < n - 1 else []
    return nn.Sequential(nn.ReLU(), conv, norm_layer(norm, channels), *drop)
