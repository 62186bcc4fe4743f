"""This process as a rank: one of torchrun's, or the only one."""

import contextlib
import os
import signal
from collections.abc import Sequence

import torch

from cyclegan_dist.checkpoint.fence import SupersededError
from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.step import distributed
from cyclegan_dist.training.hooks.weight_consistency import DivergedError
from cyclegan_dist.training.observing import observing
from cyclegan_dist.training.run_folder import locked, open_run
from cyclegan_dist.training.stop import StopRequest
from cyclegan_dist.training.trainer import FATAL, Plugin, train


def train_here(config: Config, plugins: Sequence[Plugin] = (), *, alone: bool) -> tuple[Config, str, int]:
    """Open a run together with the other ranks, and train.

    Args:
        config: of the run.
        plugins: what others add to the run.
        alone: take all cores; torchrun's ranks are told how many by it.

    Returns:
        The opened run's config, its status, and the signal that stopped it: SIGTERM where another rank's was.

    Raises:
        UsageError: on all ranks, for what the user can mend.
    """
    if alone:
        torch.set_num_threads(config.world.threads or len(os.sched_getaffinity(0)))
    world = distributed.join(config.world.device, config.world.timeout_s)
    lock = contextlib.ExitStack()  # held by rank 0 for all
    try:
        config.optim.micro_batches(world.size, config.world.most_workers)
        config = _agree(config, world, lock)
        stop = StopRequest(config.run_dir, world)
        stop.listen()
        with observing(config.run_dir, config.tracking) if world.is_first else contextlib.nullcontext():
            status = train(config, world, stop, plugins)
        return config, status, stop.signal or signal.SIGTERM
    except (*FATAL, DivergedError, SupersededError) as error:
        raise UsageError(str(error)) from error
    finally:
        lock.close()
        distributed.leave()


def _agree(config: Config, world: distributed.World, lock: contextlib.ExitStack) -> Config:
    """Rank 0 locks and opens the run; all take its config, or its refusal."""
    answer: Config | str = ""
    if world.is_first:
        try:
            lock.enter_context(locked(config))
            answer = open_run(config)
        except UsageError as error:
            answer = str(error)
    answer = world.broadcast(answer)
    if isinstance(answer, str):
        raise UsageError(answer if world.is_first else "rank 0 refused the run")
    return answer
