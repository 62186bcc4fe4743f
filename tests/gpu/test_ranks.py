"""Ranks on GPUs: NCCL with one rank, and two ranks that share a GPU and exchange over gloo."""

from collections.abc import Iterator
from functools import partial

import pytest
import torch
import torch.distributed as torch_dist

from cyclegan_dist.step import distributed
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.exchange import GradientExchange
from tests.gpu.steps import BATCH, LR, STEPS, Trained, build, images, loss_difference, moved_apart, train, weights
from tests.ranks import run_ranks


@pytest.fixture
def nccl(gpu: torch.device) -> Iterator[World]:
    """A world of one rank, joined by NCCL."""
    torch_dist.init_process_group("nccl", store=torch_dist.HashStore(), rank=0, world_size=1)
    yield distributed.join("cuda")
    distributed.leave()


@pytest.mark.gpu
@pytest.mark.parametrize("fast", ["on", "off"])
def test_nccl_with_one_rank_changes_nothing(fast: str, nccl: World) -> None:
    assert nccl.size == 1 and nccl.mean({"x": torch.ones((), device=nccl.device)}) == {"x": 1.0}
    grouped = train(build(nccl.device, world=nccl, precision="fp64", fast=fast))
    alone = train(build(nccl.device, precision="fp64", fast=fast))
    assert loss_difference(grouped, alone) < 1e-9 and moved_apart(grouped, alone) < 1e-6


@pytest.mark.gpu
def test_an_exchange_by_nccl_is_part_of_a_graph(nccl: World) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1000, device=nccl.device))
    exchange = GradientExchange([parameter], nccl)
    gradient = torch.zeros_like(parameter)

    def exchanged() -> None:
        parameter.grad = gradient.clone()
        exchange.pack()
        exchange.start()
        exchange.wait()
        exchange.unpack()

    assert exchange.on_device
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        exchanged()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        exchanged()
    for value in (1.0, 2.0):
        gradient.fill_(value)
        graph.replay()
        torch.cuda.synchronize()
        assert parameter.grad is not None and torch.equal(parameter.grad, torch.full_like(parameter, value))


def shared_out(world: World, *, name: str, micro: int) -> tuple[Trained, bool]:
    """Train on this rank's share of each batch. Also returns whether all ranks have the same weights."""
    step = build(world.device, name, {"pool_size": 0} if name == "cyclegan" else {}, world, precision="fp64", fast="on")
    share = BATCH // world.size
    before, losses = weights(step), []
    for number in range(STEPS):
        torch.manual_seed(number)
        mine = {k: x[world.rank * share : (world.rank + 1) * share] for k, x in images(number, step).items()}
        losses.append(world.mean(step([mine], LR)))
    step.check()
    after = weights(step)
    same = all(torch.equal(after, other) for other in world.gather(after))
    averaged = torch.cat([p.detach().cpu().flatten() for p in step.translators["AB"].parameters()])
    return Trained(losses, (before, after), averaged, {}), same


@pytest.mark.parametrize("name", ["cyclegan", "pix2pix"])
def test_two_ranks_on_one_device_equal_one(name: str, device: torch.device) -> None:
    work = partial(shared_out, name=name, micro=1)
    alone, _ = work(World(0, 1, device))
    for trained, same in run_ranks(work, 2, device=device.type):
        assert same
        assert loss_difference(trained, alone) < 1e-6 and moved_apart(trained, alone) < 1e-5
