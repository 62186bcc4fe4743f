"""Residual blocks that the backward pass computes again."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.networks.build import build_generator
from cyclegan_dist.networks.config import CoupledConfig, DiscriminatorConfig, GeneratorConfig, InitConfig
from cyclegan_dist.networks.resnet import recompute_blocks
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.update import Step
from tests.ranks import run_ranks

BLOCKS = 3


def outcome(network: nn.Module, compute: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> list[Tensor]:
    """The output and all gradients."""
    torch.manual_seed(1)
    made = compute(torch.rand(shape))
    made.square().sum().backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert gradients
    return [made.detach(), *gradients]


@pytest.mark.parametrize("arch", ["resnet", "coupled"])
def test_results_are_equal_bit_for_bit(arch: str) -> None:
    results = []
    for recomputed in (False, True):
        torch.manual_seed(0)
        dropout = GeneratorConfig(ngf=4, n_blocks=BLOCKS, dropout=True)
        config = dropout if arch == "resnet" else CoupledConfig(ngf=2, n_blocks=BLOCKS, n_z=3)
        network = build_generator(3, 3, config, InitConfig())
        if recomputed:
            recompute_blocks(network)
        compute = network if arch == "resnet" else lambda z, network=network: network.pair(z)[0]
        results.append(outcome(network, compute, (2, 3, 16, 16) if arch == "resnet" else (2, 3, 4, 4)))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_blocks_keep_their_input_only() -> None:
    network = build_generator(3, 3, GeneratorConfig(ngf=4, n_blocks=BLOCKS), InitConfig())
    blocks = nn.Sequential(*(layer for layer in network.model if type(layer).__name__ == "ResidualBlock"))
    kept = list[list[tuple[int, ...]]]()
    for _ in range(2):
        saved = list[tuple[int, ...]]()
        with saved_tensors_hooks(lambda x, saved=saved: saved.append(tuple(x.shape)) or x, lambda x: x):
            blocks(torch.rand(1, 16, 8, 8, requires_grad=True))
        kept.append(saved)
        recompute_blocks(network)
    assert len(kept[0]) > 4 * BLOCKS and kept[1] == [(1, 16, 8, 8)] * BLOCKS


def losses(world: World, recomputed: bool) -> tuple[list[dict[str, float]], Tensor]:
    torch.manual_seed(0)
    generator, discriminator = GeneratorConfig(ngf=4, n_blocks=2), DiscriminatorConfig(ndf=4, n_layers_D=1)
    method = CycleGANConfig(generator=generator, discriminator=discriminator, pool_size=0).build(rank_seed=0)
    step = Step(method, OptimConfig(activation_checkpointing=recomputed), world)
    found = list[dict[str, float]]()
    for number in range(2):
        images = torch.rand(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(number)) * 2 - 1
        share = images[:, world.rank :: world.size]
        values = step([{"real_A": a, "real_B": b} for a, b in share.split(1, dim=1)], lr=2e-4)
        found.append({name: float(value) for name, value in values.items()})
    return found, torch.cat([p.detach().flatten() for p in method.networks.parameters()])


def test_updates_are_equal_bit_for_bit_on_one_rank_and_on_two() -> None:
    alone = World(0, 1, torch.device("cpu"))
    plain, again = losses(alone, False), losses(alone, True)
    assert plain[0] == again[0] and torch.equal(plain[1], again[1])
    plain, again = (run_ranks(partial(losses, recomputed=recomputed), 2) for recomputed in (False, True))
    for one, other in zip(plain, again, strict=True):
        assert one[0] == other[0] and torch.equal(one[1], other[1])
