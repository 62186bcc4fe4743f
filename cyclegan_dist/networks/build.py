"""Construction of networks with initial weights from their configuration."""

from torch import nn

from cyclegan_dist.networks.config import AnyGeneratorConfig, DiscriminatorConfig, InitConfig
from cyclegan_dist.networks.coupled import CoupledGenerator
from cyclegan_dist.networks.discriminator import PatchDiscriminator, PixelDiscriminator
from cyclegan_dist.networks.init import init_weights
from cyclegan_dist.networks.multi_scale import MultiScaleDiscriminator
from cyclegan_dist.networks.resnet import ResnetGenerator
from cyclegan_dist.networks.spectral import start_iteration
from cyclegan_dist.networks.unet import UnetGenerator

Generator = ResnetGenerator | UnetGenerator | CoupledGenerator
Discriminator = PatchDiscriminator | PixelDiscriminator


def build_generator(in_channels: int, out_channels: int, config: AnyGeneratorConfig, init: InitConfig) -> Generator:
    """A generator from `in_channels` to `out_channels` with weights drawn from torch's global random generator."""
    if config.arch == "coupled":
        network = CoupledGenerator(in_channels, out_channels, config)
    else:
        network = {"resnet": ResnetGenerator, "unet": UnetGenerator}[config.arch](in_channels, out_channels, config)
    init_weights(network, init)
    return network


def build_discriminator(
    in_channels: int, config: DiscriminatorConfig, init: InitConfig
) -> Discriminator | MultiScaleDiscriminator:
    """A discriminator of `in_channels` with weights drawn from torch's global random generator."""
    scales = list[Discriminator]()
    for _ in range(config.scales):
        network = {"patch": PatchDiscriminator, "pixel": PixelDiscriminator}[config.arch](in_channels, config)
        init_weights(network, init)
        start_iteration(network)
        scales.append(network)
    return scales[0] if len(scales) == 1 else MultiScaleDiscriminator(scales)


def count_parameters(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
