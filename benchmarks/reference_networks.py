"""Baseline networks: ResNet generator and PatchGAN of the paper (section 7.1), layer by layer as published.

Their state dicts have the keys of the library's networks, so that both can load the same weights.
"""

from torch import Tensor, nn


class ReferenceBlock(nn.Module):
    """Rk."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, kernel_size=3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, kernel_size=3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Layers(nn.Module):
    """A network that is a list of layers."""

    def __init__(self, layers: list[nn.Module]):
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def reference_generator(ngf: int, n_blocks: int) -> Layers:
    """c7s1-ngf, d, d, R x n_blocks, u, u, c7s1-3."""
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, ngf, 7), nn.InstanceNorm2d(ngf), nn.ReLU(True)]
    for width in (2 * ngf, 4 * ngf):
        layers += [nn.Conv2d(width // 2, width, 3, stride=2, padding=1), nn.InstanceNorm2d(width), nn.ReLU(True)]
    layers += [ReferenceBlock(4 * ngf) for _ in range(n_blocks)]
    for width in (2 * ngf, ngf):
        up = nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1)
        layers += [up, nn.InstanceNorm2d(width), nn.ReLU(True)]
    return Layers([*layers, nn.ReflectionPad2d(3), nn.Conv2d(ngf, 3, 7), nn.Tanh()])


def reference_discriminator(ndf: int) -> Layers:
    """C64-C128-C256-C512 and a head; the receptive field is 70 x 70 pixels."""
    layers: list[nn.Module] = [nn.Conv2d(3, ndf, 4, stride=2, padding=1), nn.LeakyReLU(0.2, True)]
    for width, stride in ((2 * ndf, 2), (4 * ndf, 2), (8 * ndf, 1)):
        layers += [nn.Conv2d(width // 2, width, 4, stride=stride, padding=1), nn.InstanceNorm2d(width)]
        layers += [nn.LeakyReLU(0.2, True)]
    return Layers([*layers, nn.Conv2d(8 * ndf, 1, 4, stride=1, padding=1)])
