"""Methods with random choices in their losses: the same training however ranks and micro-batches share a batch."""

from functools import partial

import pytest
import torch
from torch import Tensor

from cyclegan_dist.methods.available import METHODS
from cyclegan_dist.networks.config import DiscriminatorConfig, InitConfig
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.update import Step
from tests.methods.test_available import small_generator
from tests.ranks import run_ranks

ALONE = World(0, 1, torch.device("cpu"))
BATCH, SIDE, STEPS = 4, 16, 3
CHOOSING = ["cut", "dual_cut", "cogan"]


def train(world: World, name: str, micro_batch: int = BATCH, fast: str = "off") -> tuple[Tensor, dict[str, float]]:
    """All weights but biases, and the last losses, averaged over ranks."""
    torch.manual_seed(0)
    options = {
        "generator": small_generator(name),
        "discriminator": DiscriminatorConfig(ndf=2, n_layers_D=1),
        "init": InitConfig(kind="xavier", gain=1.0),
        **({"nce_patches": 8} if "cut" in name else {}),
    }
    method = METHODS[name](**options).build(rank_seed=world.rank)  # pyright: ignore
    step = Step(method, OptimConfig(precision="fp64", fast=fast), world)  # pyright: ignore
    share, losses = BATCH // world.size, {}
    for number in range(STEPS):
        torch.manual_seed(100 * world.rank + number)  # ranks draw other numbers of their own
        real = torch.rand(2, BATCH, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(number))
        mine = (real * 2 - 1)[:, world.rank * share : (world.rank + 1) * share]
        pieces = mine.split(min(micro_batch, share), dim=1)
        losses = step([{"real_A": a, "real_B": b} for a, b in pieces], lr=2e-4, seed=number)
    step.check()
    weights = {n: p for n, p in method.networks.named_parameters() if n.endswith("weight")}
    return torch.cat([p.detach().flatten() for p in weights.values()]), world.mean(losses)


@pytest.mark.parametrize("name", CHOOSING)
def test_ranks_and_micro_batches_equal_one_batch(name: str) -> None:
    weights, losses = train(ALONE, name)
    shared = [train(ALONE, name, micro_batch=1), *run_ranks(partial(train, name=name), 2)]
    for found, values in shared:
        assert (found - weights).abs().max() < 1e-10
        assert values == pytest.approx(losses, rel=1e-10)


@pytest.mark.parametrize("name", CHOOSING)
def test_fast_updates_equal_plain_ones(name: str) -> None:
    weights, losses = train(ALONE, name)
    found, values = train(ALONE, name, micro_batch=2, fast="on")
    assert (found - weights).abs().max() < 1e-7  # the learning rate is fp32 there
    assert values == pytest.approx(losses, rel=1e-6)
