"""Training in this process: as one of torchrun's ranks, or alone."""

import contextlib
import os
import signal
from collections.abc import Sequence

import torch

from cyclegan_dist.checkpoint.fence import SupersededError
from cyclegan_dist.checkpoint.store import SaveTimeoutError
from cyclegan_dist.config.config import Config
from cyclegan_dist.data.loader_processes import LoaderError
from cyclegan_dist.errors import UsageError
from cyclegan_dist.step import distributed
from cyclegan_dist.step.cores import usable_cores
from cyclegan_dist.storage.layout import Status
from cyclegan_dist.training.alerting import alerts_of
from cyclegan_dist.training.hooks.weight_consistency import DivergedError
from cyclegan_dist.training.observing import observing
from cyclegan_dist.training.run_folder import locked, open_run
from cyclegan_dist.training.stop import StopRequest
from cyclegan_dist.training.trainer import FATAL, Plugin, train
from cyclegan_dist.training.waiting import StoppedWaitingError


def train_here(
    config: Config, plugins: Sequence[Plugin] = (), *, alone: bool, extend: int = 0
) -> tuple[Config, Status, int]:
    """Open a run together with the other ranks, and train.

    Args:
        config: of the run.
        plugins: as for `train`.
        alone: use all cores, or as many as OMP_NUM_THREADS says; torchrun sets the number of threads of its ranks.
        extend: as for `open_run`.

    Returns:
        The opened run's config, its status, and the signal that stopped it (SIGTERM if another rank received it).

    Raises:
        UsageError: on all ranks, for errors that the user can fix.
    """
    if alone and (config.world.threads or "OMP_NUM_THREADS" not in os.environ):
        torch.set_num_threads(config.world.threads or usable_cores())
    world = distributed.join(config.world.device, config.world.timeout_s)
    lock = contextlib.ExitStack()  # held on rank 0, for all ranks
    try:
        config.micro_batches(world.size, config.world.most_workers)
        config = _open_together(config, extend, world, lock)
        stop = StopRequest(config.run_dir, world)
        stop.listen()
        where = (config.run_dir, config.tracking)
        with observing(*where, alerts_of(config), (SupersededError,)) if world.is_first else contextlib.nullcontext():
            status = train(config, world, stop, plugins)
        return config, status, stop.signal or signal.SIGTERM
    except (*FATAL, DivergedError, SupersededError, LoaderError, StoppedWaitingError, SaveTimeoutError) as error:
        raise UsageError(str(error)) from error
    finally:
        lock.close()
        distributed.leave()


def _open_together(config: Config, extend: int, world: distributed.World, lock: contextlib.ExitStack) -> Config:
    """Lock and open the run on rank 0. Returns its config on all ranks, or raises its UsageError."""
    opened: Config | str = ""
    if world.is_first:
        try:
            alerts_of(config)  # refuses what cannot be used, before anything is written
            lock.enter_context(locked(config))
            opened = open_run(config, extend)
        except UsageError as error:
            opened = str(error)
    opened = world.broadcast(opened)
    if isinstance(opened, str):
        raise UsageError(opened if world.is_first else "rank 0 could not open the run")
    return opened
