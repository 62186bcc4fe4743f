"""Spectral norm against singular values and torch's own implementation."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.networks.build import build_discriminator
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig
from cyclegan_dist.networks.spectral import SpectralConv2d, iterate_power
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.freeze import freeze
from cyclegan_dist.step.update import Step

SMALL = DiscriminatorConfig(ndf=4, n_layers_D=1, spectral_norm=True)


def make(**config) -> nn.Module:
    torch.manual_seed(0)
    return build_discriminator(3, DiscriminatorConfig(ndf=4, **config), InitConfig()).double()


def vectors(network: nn.Module) -> list[Tensor]:
    return [x.clone() for layer in network.modules() if isinstance(layer, SpectralConv2d) for x in (layer.u, layer.v)]


@pytest.mark.parametrize("arch", ["patch", "pixel"])
def test_weights_are_divided_by_their_largest_singular_value(arch) -> None:
    network = make(arch=arch, spectral_norm=True)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert layers and all(isinstance(layer, SpectralConv2d) for layer in layers)
    for _ in range(200):
        iterate_power(network)
    for layer in layers:
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
        assert torch.allclose(layer.normalised_weight(), layer.weight / norm, rtol=1e-3, atol=0)


def test_initial_estimates_are_close() -> None:
    for layer in make(spectral_norm=True).modules():
        if isinstance(layer, SpectralConv2d):
            assert 0.9 < torch.linalg.matrix_norm(layer.normalised_weight().flatten(1), ord=2) < 1.1


def test_outputs_and_gradients_are_those_of_torchs_spectral_norm() -> None:
    """Which makes its iteration in each forward in training mode."""
    torch.manual_seed(0)
    ours = SpectralConv2d(3, 5, 4, stride=2, padding=1).double()
    theirs = nn.Conv2d(3, 5, 4, stride=2, padding=1).double()
    theirs.load_state_dict({"weight": ours.weight, "bias": ours.bias})
    parametrizations.spectral_norm(theirs)
    norm = theirs.parametrizations["weight"][0]
    norm._u, norm._v = ours.u.clone(), ours.v.clone()
    original = theirs.parametrizations["weight"].original
    for _ in range(3):
        x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
        ours.iterate()
        results = [network(x).square().sum() for network in (ours, theirs)]
        assert torch.allclose(*results, rtol=1e-12)
        (mine,), (other,) = (torch.autograd.grad(y, w) for y, w in zip(results, (ours.weight, original), strict=True))
        assert torch.allclose(mine, other, rtol=1e-10, atol=1e-12)
        with torch.no_grad():
            for weight, gradient in ((ours.weight, mine), (original, other)):
                weight -= 0.1 * gradient


def test_the_keys_of_weights_are_those_without_it() -> None:
    plain, normed = make().state_dict(), make(spectral_norm=True).state_dict()
    assert [name for name in normed if name.rpartition(".")[2] not in "uv"] == list(plain)
    assert all(torch.equal(x, normed[name]) for name, x in plain.items())


def test_bf16_does_not_reach_the_norm() -> None:
    layer = SpectralConv2d(64, 64, 4)
    expected = layer.normalised_weight()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer.normalised_weight(), expected)


@pytest.mark.parametrize("fast", ["on", "off"])
def test_an_update_makes_one_iteration_for_the_discriminators_and_none_for_the_generators(fast) -> None:
    torch.manual_seed(0)
    config = CycleGANConfig(generator=GeneratorConfig(ngf=2, n_blocks=0), discriminator=SMALL)
    method = CycleGAN(config)
    step = Step(method, OptimConfig(precision="fp64", fast=fast), World(0, 1, torch.device("cpu")))
    networks = nn.ModuleList([method.networks["D_A"], method.networks["D_B"]])
    micro_batches = [{name: torch.rand(1, 3, 16, 16).double() for name in ("real_A", "real_B")} for _ in range(2)]
    for _ in range(2):
        before = vectors(networks)
        method.players[0].module(**micro_batches[0])
        assert all(torch.equal(x, y) for x, y in zip(vectors(networks), before, strict=True))
        weights = {name: x.clone() for name, x in networks.state_dict().items()}
        step(micro_batches, lr=0.1)
        after = vectors(networks)
        networks_before = nn.ModuleList([build_discriminator(3, SMALL, InitConfig()).double() for _ in "AB"])
        networks_before.load_state_dict(weights)
        iterate_power(networks_before)
        assert all(torch.equal(x, y) for x, y in zip(after, vectors(networks_before), strict=True))


def test_a_frozen_discriminator_keeps_its_outputs() -> None:
    torch.manual_seed(0)
    method = CycleGAN(CycleGANConfig(generator=GeneratorConfig(ngf=2, n_blocks=0), discriminator=SMALL))
    freeze(method, ["D_A.*"])  # the player trains D_B
    step = Step(method, OptimConfig(precision="fp64"), World(0, 1, torch.device("cpu")))
    before = {domain: vectors(method.networks[f"D_{domain}"]) for domain in "AB"}
    step([{name: torch.rand(1, 3, 16, 16).double() for name in ("real_A", "real_B")}], lr=0.1)
    moved = {d: not all(map(torch.equal, before[d], vectors(method.networks[f"D_{d}"]))) for d in "AB"}
    assert moved == {"A": False, "B": True}
