"""Timing of a training step of a config on the device of this process."""

import datetime
import gc
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from cyclegan_dist.checkpoint.store import on_cpu
from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.operations.sizing.figures import Measured, image_shapes, image_side, workload
from cyclegan_dist.operations.sizing.link import measure_link
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.graph import WARM_UP
from cyclegan_dist.step.memory import OutOfMemoryError, memory_errors
from cyclegan_dist.step.update import Step

TIMINGS = 5  # of which the median counts
SHARE = 1 / 120  # of the budget for each timing, half a second of a minute
GIB = 2**30


def measure(config: Config, world: World, images: Sequence[int], budget_s: float) -> Measured:
    """Time steps with random images, in increasing numbers per rank; the first always, further ones until memory or
    time runs out. With several ranks the exchange between them is measured too; all ranks must call it.

    Args:
        config: of the training.
        world: the ranks; each computes alone, so that seconds are those of one rank.
        images: per domain and step, to measure.
        budget_s: seconds after which no further number is begun.

    Raises:
        UsageError: if there is not enough memory for the smallest number.
    """
    if config.world.threads:
        torch.set_num_threads(config.world.threads)
    alone = World(0, 1, world.device)
    began = time.monotonic()
    seconds: dict[int, float] = {}
    memory_gib: dict[int, float] = {}
    stall_s = 0.0
    for count in sorted(images):
        try:
            with memory_errors("measuring", images=count, size=image_side(config)):
                seconds[count], stall_s, memory = _time(config, alone, count, SHARE * budget_s)
        except OutOfMemoryError as error:
            if not seconds:
                raise UsageError(str(error)) from error
        else:
            if memory:
                memory_gib[count] = memory
        if any(world.gather(time.monotonic() - began > budget_s or count not in seconds)):
            break
    return Measured(
        device=_device_name(world.device),
        origin=f"{datetime.date.today()}, torch {torch.__version__}, {config.optim.precision}, random images",
        workload=workload(config),
        seconds=seconds,
        memory_gib=memory_gib,
        stall_s=stall_s,
        link=measure_link(world) if world.size > 1 else None,
    )


def _time(config: Config, alone: World, count: int, timing_s: float) -> tuple[float, float, float]:
    """Seconds of a step, seconds of a checkpoint's copy in memory, and peak GiB of a GPU (0 on a CPU)."""
    torch.manual_seed(config.seed)
    step = Step(config.method.build(rank_seed=0), replace(config.optim, batch_size=count), alone)
    batch = {
        name: (torch.rand(shape, device=alone.device, dtype=step.dtype) * 2 - 1).contiguous(
            memory_format=step.memory_format
        )
        for name, shape in image_shapes(config, count).items()
    }
    on_gpu = alone.device.type == "cuda"

    def timed(steps: int) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            step([batch], config.optim.lr)
        if on_gpu:
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / steps

    if on_gpu:
        gc.collect()  # the step before is a reference cycle
        torch.cuda.reset_peak_memory_stats()
    timed(WARM_UP + 2 if step.fast else 1)
    steps = max(1, round(timing_s / timed(1)))
    step_s = statistics.median(timed(steps) for _ in range(TIMINGS))
    step.check()
    began = time.perf_counter()
    on_cpu(step.state_dict())
    return step_s, time.perf_counter() - began, torch.cuda.max_memory_allocated() / GIB if on_gpu else 0.0


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"a CPU with {torch.get_num_threads()} threads"
