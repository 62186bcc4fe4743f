"""The own time of a rank on a GPU: events, some of them in a graph, which nothing waits for."""

from functools import partial

import pytest
import torch

from cyclegan_dist.step import own_time
from cyclegan_dist.step.distributed import World
from tests.gpu.steps import LR, build, images
from tests.ranks import run_ranks

UPDATES = 2 * own_time.EVERY + 1  # more than come before a graph is recorded


def measured(world: World, fast: str) -> tuple[float, float]:
    """The own seconds of an update, and those of the newest update by the host's clock."""
    step = build(world.device, world=world, fast=fast)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    for number in range(UPDATES):
        begin.record()
        step([images(number, step)], LR)
        end.record()
    step.check()
    torch.cuda.synchronize()
    return step.own_time.take(), begin.elapsed_time(end) / 1000


@pytest.mark.gpu
@pytest.mark.parametrize("fast", ["on", "off"])
def test_an_update_of_two_ranks_on_one_gpu_is_measured(fast: str) -> None:
    for own_s, whole_s in run_ranks(partial(measured, fast=fast), 2, device="cuda"):
        assert 0 < own_s < 1.5 * whole_s
