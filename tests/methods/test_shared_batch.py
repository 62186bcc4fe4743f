"""Methods with random choices in their losses: the same training however ranks and micro-batches share a batch."""

from contextlib import nullcontext
from functools import partial
from typing import Literal

import pytest
import torch
from torch import Tensor

from cyclegan_dist.methods.available import METHODS
from cyclegan_dist.methods.cyclegan_config import ProjectedConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, InitConfig
from cyclegan_dist.step import graph
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.update import Step
from tests.methods.test_available import small_generator
from tests.ranks import run_ranks
from tests.shallow import cut_off_frozen_networks
from tests.step.recorder import CpuRecording, DeviceCheck

ALONE = World(0, 1, torch.device("cpu"))
BATCH, SIDE = 4, 16
LR = 2.0**-12  # exact in fp32, in which the graph keeps it
CHOOSING = ["cut", "dual_cut", "cogan", "cyclegan"]
RECORDED = ["cut", "cogan", "cyclegan"]  # dual_cut chooses and compares as cut does
OPTIONS = {
    "cut": {"nce_patches": 8},
    "dual_cut": {"nce_patches": 8},
    "cogan": {},
    "cyclegan": {  # all that it can have beyond the paper, but what tests/step has
        "pool_size": 0,
        "cycle_distance": "both",
        "cycle_features": "efficientnet_lite2",  # which takes images of 16 pixels
        "discriminator": DiscriminatorConfig(ndf=2, n_layers_D=1, scales=2, spectral_norm=True),
        "lambda_NCE": 1.0,
        "projected": ProjectedConfig(weight=1.0, size=32),
    },
}


@pytest.fixture(autouse=True)
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off_frozen_networks(monkeypatch)


def build(world: World, name: str, optim: OptimConfig) -> Step:
    torch.manual_seed(0)
    options = {
        "generator": small_generator(name),
        "discriminator": DiscriminatorConfig(ndf=2, n_layers_D=1),
        "init": InitConfig(kind="xavier", gain=1.0),
        **OPTIONS[name],
    }
    return Step(METHODS[name](**options).build(rank_seed=world.rank), optim, world)  # pyright: ignore


def train(
    world: World, name: str, micro_batch: int = BATCH, fast: Literal["on", "off"] = "off", steps: int = 2
) -> tuple[Tensor, dict[str, float]]:
    """All weights but biases, and the last losses, averaged over ranks."""
    step = build(world, name, OptimConfig(precision="fp64", fast=fast))
    share, losses = BATCH // world.size, {}
    for number in range(steps):
        torch.manual_seed(100 * world.rank + number)  # ranks draw other numbers of their own
        real = torch.rand(2, BATCH, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(number))
        mine = (real * 2 - 1)[:, world.rank * share : (world.rank + 1) * share]
        pieces = mine.split(min(micro_batch, share), dim=1)
        losses = step([{"real_A": a, "real_B": b} for a, b in pieces], LR, seed=number)
    step.check()
    weights = {n: p for n, p in step.method.networks.named_parameters() if n.endswith("weight")}
    return torch.cat([p.detach().flatten() for p in weights.values()]), world.mean(losses)


@pytest.mark.parametrize("name", CHOOSING)
def test_ranks_and_micro_batches_equal_one_batch(name: str) -> None:
    weights, losses = train(ALONE, name)
    shared = [train(ALONE, name, micro_batch=1), *run_ranks(partial(train, name=name), 2)]
    for found, values in shared:
        assert (found - weights).abs().max() < 1e-10
        assert values == pytest.approx(losses, rel=1e-10)


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_updates_equal_plain_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Choices are inputs of a recording: one that were made in it would be the same in every step."""
    monkeypatch.setattr(graph, "recordings", lambda stream: CpuRecording)
    monkeypatch.setattr(graph, "WARM_UP", 1)
    steps = graph.WARM_UP + 2
    weights, losses = train(ALONE, name, steps=steps)
    found, values = train(ALONE, name, micro_batch=2, fast="on", steps=steps)
    assert (found - weights).abs().max() < 1e-9
    assert values == pytest.approx(losses, rel=1e-7)


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_update_works_on_the_device_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "recordings", lambda stream: DeviceCheck)
    monkeypatch.setattr(graph, "WARM_UP", 1)
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: None)  # fused Adam has no kernel for this device
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())  # nor is there autocast for it
    step = build(World(0, 1, torch.device("meta")), name, OptimConfig(fast="on"))
    for number in range(graph.WARM_UP + 1):
        step([{name: torch.zeros(2, 3, SIDE, SIDE, device="meta") for name in ("real_A", "real_B")}], LR, number)
