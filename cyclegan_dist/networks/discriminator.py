"""Discriminators: PatchGAN (paper section 7.1, Isola et al. 2017) and its 1x1 variant. They return raw logits.

C64-C128-C256-C512 and a one-channel head, 4x4 kernels, LeakyReLU 0.2, no norm on C64. The paper's text gives every Ck
stride 2; its 70x70 receptive field requires stride 1 on C512 and on the head.
"""

from collections.abc import Callable

from torch import Tensor, nn

from cyclegan_dist.networks.config import DiscriminatorConfig
from cyclegan_dist.networks.norm import has_bias, norm_layer
from cyclegan_dist.networks.spectral import SpectralConv2d


class PatchDiscriminator(nn.Module):
    """Maps N x C x H x W in [-1, 1] to logits N x 1 x h x w, one for each overlapping patch."""

    def __init__(self, in_channels: int, config: DiscriminatorConfig):
        super().__init__()
        self.run: Callable[..., Tensor] = nn.Module.__call__  # replaced by use_fused_layers
        ndf, n, conv = config.ndf, config.n_layers_D, _convolution(config)
        width = [ndf * min(2**i, 8) for i in range(n + 1)]
        layers: list[nn.Module] = [conv(in_channels, ndf, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for i in range(1, n + 1):
            stride = 2 if i < n else 1
            layers += [
                conv(width[i - 1], width[i], 4, stride=stride, padding=1, bias=has_bias(config.norm)),
                norm_layer(config.norm, width[i]),
                nn.LeakyReLU(0.2),
            ]
        self.model = nn.Sequential(*layers, conv(width[n], 1, 4, stride=1, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self.model, x)

    def layer_by_layer(self, x: Tensor) -> Tensor:
        """As `forward`, by layers that can be differentiated twice."""
        return self.model(x)


class PixelDiscriminator(nn.Module):
    """Maps N x C x H x W in [-1, 1] to logits N x 1 x H x W, one for each pixel."""

    def __init__(self, in_channels: int, config: DiscriminatorConfig):
        super().__init__()
        self.run: Callable[..., Tensor] = nn.Module.__call__  # replaced by use_fused_layers
        ndf, bias, conv = config.ndf, has_bias(config.norm), _convolution(config)
        self.model = nn.Sequential(
            conv(in_channels, ndf, 1),
            nn.LeakyReLU(0.2),
            conv(ndf, 2 * ndf, 1, bias=bias),
            norm_layer(config.norm, 2 * ndf),
            nn.LeakyReLU(0.2),
            conv(2 * ndf, 1, 1, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self.model, x)

    def layer_by_layer(self, x: Tensor) -> Tensor:
        """As `forward`, by layers that can be differentiated twice."""
        return self.model(x)


def _convolution(config: DiscriminatorConfig) -> type[nn.Conv2d] | type[SpectralConv2d]:
    return SpectralConv2d if config.spectral_norm else nn.Conv2d


def receptive_field(network: nn.Module) -> int:
    """Side in pixels of the input patch that one logit depends on, computed from the network's convolutions."""
    field, jump = 1, 1
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            field += (module.kernel_size[0] - 1) * jump
            jump *= module.stride[0]
    return field
