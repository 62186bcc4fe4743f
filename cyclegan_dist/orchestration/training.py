"""Ray Train: starts the ranks, starts them again when one dies, and carries a stop to them."""

import re
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray.train
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from cyclegan_dist import dist
from cyclegan_dist.config import Config, check_config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.hooks.stop import FILE as STOP_FILE
from cyclegan_dist.hooks.stop import StopRequest
from cyclegan_dist.orchestration.cluster import cluster, in_thread, last_line, room_for, stop_signals
from cyclegan_dist.run import FAILURE_NAME
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.trainer import train


def train_on_ray(config: Config) -> tuple[str, int]:
    """Train an opened run on the cluster of RAY_ADDRESS, or on one of this machine's own.

    Returns:
        The run's status, and the signal that stopped it or 0.

    Raises:
        UsageError: if the cluster cannot hold the ranks, a rank met what starting again would not mend, or ranks died
            more often than world.max_failures allows.
    """
    with cluster():
        workers, use_gpu = _workers(config)
        config.optim.micro_batches(workers)
        with stop_signals((config.run_dir / STOP_FILE).touch) as stopped_by:
            status = in_thread(lambda: fit(config, workers, use_gpu))
    return status, stopped_by[0]


def fit(config: Config, workers: int, use_gpu: bool) -> str:
    """Train an opened run on the cluster that this process is joined to.

    Returns:
        The run's status.

    Raises:
        UsageError: as `train_on_ray`.
    """
    storage = Path(tempfile.mkdtemp(prefix="cyclegan_ray_"))  # Ray's own notes on the run; ours are in the run's folder
    trainer = TorchTrainer(
        _train_rank,
        train_loop_config=asdict(config),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu),
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo", timeout_s=int(config.world.timeout_s)),
        run_config=RunConfig(
            name=config.name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=config.world.max_failures),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        with Journal(config.run_dir) as journal:  # the rank that would have said so may be dead
            journal.write("end", status="FAILED")
        _refuse_failed(config)
        crash = config.run_dir / "crash.txt"
        crash.write_text("\n\n".join(map(str, [error, *_failures(error).values()])))
        raise UsageError(f"training failed: {_cause(error)}; the same command resumes. Details: {crash}") from error
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    _refuse_failed(config)
    return str(result.return_value)


def _refuse_failed(config: Config) -> None:
    """Tell what a rank met that starting again would not mend, if one did."""
    if (config.run_dir / FAILURE_NAME).exists():
        raise UsageError((config.run_dir / FAILURE_NAME).read_text())


def _train_rank(tree: dict[str, Any]) -> str:
    """What every Ray Train worker runs."""
    config = check_config(tree, "config")
    if (config.run_dir / FAILURE_NAME).exists():
        return "FAILED"  # started again after what cannot be mended: end in good order, the launcher tells
    world = dist.join(config.world.device, config.world.timeout_s)
    return train(config, world, StopRequest(config.run_dir, world))


def _workers(config: Config) -> tuple[int, bool]:
    """How many ranks, and whether each gets a GPU."""
    room, use_gpu = room_for(config)
    wanted = config.world.num_workers
    if wanted > room:
        kind = "GPUs" if use_gpu else "CPU cores"
        raise UsageError(f"world.num_workers {wanted} is more than the cluster's {room} {kind}: lower it, or add nodes")
    if wanted:
        return wanted, use_gpu
    fitting = [n for n in range(1, room + 1) if config.optim.batch_size % n == 0]
    if not fitting:
        raise UsageError("the Ray cluster has no free device for a rank: add nodes, or pass --launcher local")
    return max(fitting), use_gpu


def _failures(error: BaseException) -> dict[int, Any]:
    """What each rank that failed raised."""
    return getattr(error, "worker_failures", None) or {}


def _cause(error: BaseException) -> str:
    """What the rank that began it died of: the others only lost their connection to it."""
    told = {rank: last_line(failure) for rank, failure in sorted(_failures(error).items())}
    first = {rank: line for rank, line in told.items() if not re.search("gloo|nccl|connection", line, re.IGNORECASE)}
    for rank, line in (first or told).items():
        return f"rank {rank}: {line}"
    return last_line(error)
