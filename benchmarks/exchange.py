"""Groups of ranks on this machine that exchange with gloo, and the cost of the DistributedDataParallel wrapper."""

import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as torch_dist
import torch.multiprocessing as multiprocessing
from torch.nn.parallel import DistributedDataParallel

from benchmarks.rounds import alternate, ratios
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.step.update import frozen

T = TypeVar("T")


def wrapping_costs(config: CycleGANConfig, size: int, micro_batch: int, rounds: int) -> list[float]:
    """Time of forward and backward of both players with DistributedDataParallel relative to without it, for each round.
    The group has one rank, so nothing is exchanged.
    """
    return run_group(_time_wrapping, 1, config, size, micro_batch, rounds)


def _time_wrapping(rank: int, config: CycleGANConfig, size: int, micro_batch: int, rounds: int) -> list[float]:
    method = CycleGAN(config)
    images = {f"{k}_{d}": torch.rand(micro_batch, 3, size, size) * 2 - 1 for k in ("real", "fake") for d in "AB"}

    def timed(wrap: Callable[[torch.nn.Module], torch.nn.Module]) -> Callable[[], float]:
        parts = [(player, wrap(player.module)) for player in method.players]

        def candidate() -> float:
            began = time.perf_counter()
            for player, module in parts:
                with frozen(player.opponents):
                    module(**player.inputs(images)).loss.backward()
            return time.perf_counter() - began

        return candidate

    wrapped = timed(lambda module: DistributedDataParallel(module, gradient_as_bucket_view=True))
    figures = alternate({"plain": timed(lambda module: module), "wrapped": wrapped}, rounds)
    return ratios(figures, "wrapped", "plain")


def run_group(work: Callable[..., T], ranks: int, *arguments: Any) -> T:
    """Run `work` on every rank of a group of forked processes, and return rank 0's result."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    processes = [
        context.Process(target=_rank, args=(rank, ranks, port, work, arguments, results)) for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError("a rank failed; see above")
    return results.get()


def _rank(rank: int, ranks: int, port: int, work: Callable[..., Any], arguments: tuple[Any, ...], results: Any) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch_dist.init_process_group("gloo", rank=rank, world_size=ranks, timeout=timedelta(seconds=60))
    result = work(rank, *arguments)
    if not rank:
        results.put(result)
    torch_dist.destroy_process_group()
