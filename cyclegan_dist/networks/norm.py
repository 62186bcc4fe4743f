"""The norm layers of generators and discriminators: instance norm, batch norm, none."""

from collections.abc import Generator
from contextlib import contextmanager

from torch import nn

from cyclegan_dist.networks.config import Norm
from cyclegan_dist.networks.on_cpu import InstanceNorm2d


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """The norm of N x `channels` x H x W. `none` is a layer too, so that the keys of the state dict stay the same."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return InstanceNorm2d(channels) if norm == "instance" else nn.Identity()


def has_bias(norm: Norm) -> bool:
    """Whether convolutions before this norm have a bias, as in the published networks: batch norm adds its own."""
    return norm == "instance"


@contextmanager
def statistics_kept(network: nn.Module) -> Generator[None]:
    """Leave the running statistics of batch norm as they are. Outputs are those of training mode nevertheless."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
