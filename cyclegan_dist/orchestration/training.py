"""Training on a Ray cluster: joins or starts it, and forwards stop requests to the run."""

import os
from contextlib import AbstractContextManager

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.operations.doctor.at_start import warn_of_memory
from cyclegan_dist.orchestration.cluster import RestartNeededError, cluster, in_thread, room_for, stop_signals
from cyclegan_dist.orchestration.preemption import checkpoint_before_preemption
from cyclegan_dist.storage.layout import RunFolder, Status


def train_on_ray(
    config: Config, started: AbstractContextManager[None], *, restarted: bool = False
) -> tuple[Status, int]:
    """Train a checked run on the cluster of RAY_ADDRESS, or on a local one.

    Args:
        config: of the run.
        started: entered when the cluster has been found large enough, before ranks start.
        restarted: this launcher has restarted itself: wait for missing nodes, instead of raising.

    Returns:
        The run's status, and the signal that stopped it or 0.

    Raises:
        RestartNeededError: if a new process must call this again.
        UsageError: if the cluster is too small, a rank failed in a way that a restart cannot fix, or ranks died more
            often than world.max_failures allows.
    """
    with cluster(meanwhile="cyclegan_dist.orchestration.ranks"):
        from cyclegan_dist.orchestration.ranks import fit

        workers, use_gpu = _workers(config, refuse=not restarted)
        if not os.environ.get("RAY_ADDRESS"):  # all ranks are on this machine
            warn_of_memory(
                config, max(workers) if isinstance(workers, tuple) else workers, standby=config.world.has_standby
            )
        stopping = stop_signals(RunFolder(config.run_dir).stop.touch)
        with started, checkpoint_before_preemption(config.run_dir), stopping as stopped_by:
            try:
                status = in_thread(lambda: fit(config, workers, use_gpu))
            except RestartNeededError:
                if not stopped_by[0]:
                    raise
                status = Status.KILLED  # the user wants it to stop
    return status, stopped_by[0]


def _workers(config: Config, *, refuse: bool) -> tuple[int | tuple[int, int], bool]:
    """The number of ranks, and whether each gets a GPU."""
    room, use_gpu = room_for(config)
    wanted, least = config.world.num_workers, config.world.least_workers
    if refuse and least > room:
        kind = "GPUs" if use_gpu else "CPU cores"
        kind += f" on nodes labelled {' '.join(config.world.node_labels)}" * bool(config.world.node_labels)
        raise UsageError(f"world.num_workers {least} is more than the cluster's {room} {kind}: lower it, or add nodes")
    if wanted:
        return wanted, use_gpu
    if not room:
        raise UsageError("the Ray cluster has no free device for a rank: add nodes, or pass --launcher local")
    return config.largest_world(room), use_gpu
