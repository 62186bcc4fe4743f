"""Coupled generators (Liu and Tuzel 2016, arXiv 1606.07536): one latent z makes a pair of images, one of each domain.

1x1-R256 x n_blocks are shared, u128, u64, c7s1-3 are a domain's own: the second half of the paper's ResNet generator.
z is N x n_z x H/4 x W/4, a map instead of a vector: a vector would need a projection of 4 * ngf * H/4 * W/4 outputs,
hundreds of millions of weights at 256 px, and would fix the size of images.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cyclegan_dist.networks.config import CoupledConfig
from cyclegan_dist.networks.discriminator import PatchDiscriminator, PixelDiscriminator
from cyclegan_dist.networks.norm import norm_layer
from cyclegan_dist.networks.on_cpu import NarrowConv2d
from cyclegan_dist.networks.resnet import ResidualBlock

LATENT_LR = 0.1  # of Adam, whose steps are that large: z has a variance of 1
OWN_LAYERS = 5  # of a discriminator, two convolutions with what follows: C256, C512 and the head are shared


class CoupledGenerator(nn.Module):
    """Both generators of a pair, as the translator of one direction: `source` makes images like the input, `target`
    translations. It maps N x in_channels x H x W in [-1, 1] to N x out_channels x H x W in (-1, 1).
    """

    def __init__(self, in_channels: int, out_channels: int, config: CoupledConfig):
        super().__init__()
        self.run: Callable[..., Tensor] = nn.Module.__call__  # replaced by use_fused_layers
        self.multiple, self.in_channels = config.multiple, in_channels
        self.n_z, self.z_steps = config.n_z, config.z_steps
        width = 4 * config.ngf
        self.shared = nn.Sequential(
            nn.Conv2d(config.n_z, width, 1),
            norm_layer("instance", width),
            nn.ReLU(),
            *(ResidualBlock(width, "reflect", dropout=False) for _ in range(config.n_blocks)),
        )
        self.source, self.target = (_upsampling(config.ngf, channels) for channels in (in_channels, out_channels))

    def pair(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The images of the input's domain and of the output's that N x n_z x H/4 x W/4 stand for."""
        common = self.run(self.shared, z)
        return self.run(self.source, common), self.run(self.target, common)

    def examples(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same pairs each time, as many and as large as the images x: to see how training goes without a search."""
        count, _, height, width = x.shape
        z = torch.randn(count, self.n_z, height // 4, width // 4, generator=torch.Generator().manual_seed(0))
        return self.pair(z.to(x))

    def forward(self, x: Tensor) -> Tensor:
        """Find z for which `source` comes close to the image, by `z_steps` steps of Adam under L1, and return what
        `target` makes of it. Gradients are enabled for that, and the result has none.

        z starts from the same numbers for each image of a size. The search magnifies rounding, which depends on the
        size of a batch, to visible differences. On a CPU images are therefore computed one by one, which is as fast:
        there, a translation depends on its image alone.
        """
        if x.device.type == "cpu" and len(x) > 1:
            return torch.cat([self.forward(x[i : i + 1]) for i in range(len(x))])
        return self.run(self.target, self.run(self.shared, self._latent(x))).detach()

    def _latent(self, x: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            wanted = x.detach().clone()  # an inference tensor cannot take part in a graph
            count, _, height, width = wanted.shape
            start = torch.randn(self.n_z, height // 4, width // 4, generator=torch.Generator().manual_seed(0))
            z = start.to(wanted).expand(count, -1, -1, -1).clone().requires_grad_()
            adam = torch.optim.Adam([z], lr=LATENT_LR)
            for _ in range(self.z_steps):
                made = self.run(self.source, self.run(self.shared, z))
                # A sum over images of each one's mean, so that an image's gradient is the same in every batch.
                distance = (made - wanted).abs().flatten(1).mean(dim=1).sum()
                (z.grad,) = torch.autograd.grad(distance, z)
                adam.step()  # pyright: ignore[reportUnknownMemberType]
        return z.detach()


def couple_generators(one: CoupledGenerator, other: CoupledGenerator) -> None:
    """Make `other` the translator of the opposite direction of `one`, with the same weights."""
    other.shared, other.source, other.target = one.shared, one.target, one.source


def couple_discriminators(
    one: PatchDiscriminator | PixelDiscriminator, other: PatchDiscriminator | PixelDiscriminator
) -> None:
    """Give `other` the layers of `one` from the third convolution on."""
    for position in range(OWN_LAYERS, len(one.model)):
        other.model[position] = one.model[position]


def _upsampling(ngf: int, channels: int) -> nn.Sequential:
    """u128, u64, c7s1-3: from N x 4 * ngf x H/4 x W/4 to N x channels x H x W."""

    def doubled(width: int) -> list[nn.Module]:
        conv = nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1)
        return [conv, norm_layer("instance", width), nn.ReLU()]

    last = [nn.ReflectionPad2d(3), NarrowConv2d(ngf, channels, 7), nn.Tanh()]
    return nn.Sequential(*doubled(2 * ngf), *doubled(ngf), *last)
