"""The layers of each norm, compared with discriminators written once more in the published layout."""

from typing import Any

import pytest
import torch
from torch import nn

from cyclegan_dist.networks.build import build_discriminator, build_generator
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig, Norm
from cyclegan_dist.networks.fused import use_fused_layers
from cyclegan_dist.networks.norm import statistics_kept

NORMS: tuple[Norm, ...] = ("instance", "batch", "none")
PUBLISHED: dict[str, Any] = {"instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d, "none": lambda _: nn.Identity()}


def published(arch: str, norm: str) -> nn.Sequential:
    """Four channels in the first layer; biases only before an instance norm, but for the first and PatchGAN's last."""
    make, bias = PUBLISHED[norm], norm == "instance"
    if arch == "pixel":
        hidden = [nn.Conv2d(4, 8, 1, bias=bias), make(8), nn.LeakyReLU(0.2, True)]
        return nn.Sequential(nn.Conv2d(3, 4, 1), nn.LeakyReLU(0.2, True), *hidden, nn.Conv2d(8, 1, 1, bias=bias))
    layers: list[nn.Module] = [nn.Conv2d(3, 4, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for inputs, outputs, stride in ((4, 8, 2), (8, 16, 2), (16, 32, 1)):
        layers += [nn.Conv2d(inputs, outputs, 4, stride, 1, bias=bias), make(outputs), nn.LeakyReLU(0.2, True)]
    return nn.Sequential(*layers, nn.Conv2d(32, 1, 4, 1, 1))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("arch", ["patch", "pixel"])
def test_discriminators_have_the_published_layout(arch: str, norm: Norm) -> None:
    torch.manual_seed(0)
    config = DiscriminatorConfig(arch=arch, ndf=4, norm=norm)  # pyright: ignore[reportArgumentType]
    ours = build_discriminator(3, config, InitConfig(gain=0.3)).double()
    theirs = published(arch, norm).double()
    theirs.load_state_dict({key.removeprefix("model."): value for key, value in ours.state_dict().items()})
    x = torch.rand(2, 3, 32, 40, dtype=torch.float64) * 2 - 1
    for _ in range(2):  # in training mode, which changes running statistics
        assert (ours(x) - theirs(x)).abs().max() < 1e-12
    assert (ours.eval()(x) - theirs.eval()(x)).abs().max() < 1e-12


def test_weights_of_batch_norm_are_drawn_around_one() -> None:
    torch.manual_seed(0)
    network = build_generator(3, 3, GeneratorConfig(ngf=64, n_blocks=4, norm="batch"), InitConfig())
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    weights = torch.cat([layer.weight for layer in layers])
    assert weights.mean().item() == pytest.approx(1, abs=0.002)
    assert weights.std().item() == pytest.approx(0.02, rel=0.1)
    assert all(not layer.bias.any() for layer in layers)


def test_statistics_can_be_kept() -> None:
    torch.manual_seed(0)
    network = build_generator(3, 3, GeneratorConfig(ngf=4, n_blocks=1, norm="batch"), InitConfig())
    before, x = {name: value.clone() for name, value in network.named_buffers()}, torch.rand(2, 3, 16, 16)
    with statistics_kept(network):
        kept = network(x)
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())
    assert torch.equal(network(x), kept)
    assert any(not torch.equal(value, before[name]) for name, value in network.named_buffers())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("arch", ["resnet", "unet"])
def test_only_instance_norm_runs_fused(arch: str, norm: Norm) -> None:
    config = GeneratorConfig(arch=arch, ngf=2, n_downs=5, n_blocks=1, norm=norm)  # pyright: ignore[reportArgumentType]
    network = build_generator(3, 3, config, InitConfig())
    before = network.run
    use_fused_layers(network)
    assert (network.run is not before) == (norm == "instance")
