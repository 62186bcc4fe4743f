"""Ray Train: starts the ranks, starts them again when one dies, and carries a stop to them."""

import re
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import ray.train
from ray.train import ControllerError, FailureConfig, LoggingConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer

from cyclegan_dist.checkpoint.fence import SupersededError
from cyclegan_dist.checkpoint.storage import storage_at
from cyclegan_dist.config.config import Config, check_config
from cyclegan_dist.errors import UsageError, without_passwords
from cyclegan_dist.orchestration.cluster import cluster, in_thread, last_line, room_for, stop_signals
from cyclegan_dist.step import distributed
from cyclegan_dist.tracking.journal import append
from cyclegan_dist.training.run_folder import FAILURE_NAME
from cyclegan_dist.training.stop import FILE as STOP_FILE
from cyclegan_dist.training.stop import StopRequest

CONTROLLER_FAILURES = 2  # in a row; a controller that has lost ranks while they started may wait for ever
RESIZE_S = 15.0  # between two looks for more nodes, where their number may change
NO_NODES = "WorkerGroupStartupTimeoutError"  # Ray keeps the class itself to itself


class BrokenOffError(Exception):
    """Training broke off, and a fresh launcher goes on from the last checkpoint; the message says why."""


def train_on_ray(config: Config, *, again: bool = False) -> tuple[str, int]:
    """Train an opened run on the cluster of RAY_ADDRESS, or on one of this machine's own.

    Args:
        config: of the run.
        again: the run has been going on before: wait for nodes that are away, instead of refusing.

    Returns:
        The run's status, and the signal that stopped it or 0.

    Raises:
        BrokenOffError: if a fresh process should call this again.
        UsageError: if the cluster cannot hold the ranks, a rank met what starting again would not mend, or ranks died
            more often than world.max_failures allows.
    """
    with cluster():
        workers, use_gpu = _workers(config, refuse=not again)
        with stop_signals((config.run_dir / STOP_FILE).touch) as stopped_by:
            try:
                status = in_thread(lambda: fit(config, workers, use_gpu))
            except BrokenOffError:
                if not stopped_by[0]:
                    raise
                status = "KILLED"  # who asked for an end gets one
    return status, stopped_by[0]


def fit(config: Config, workers: int | tuple[int, int], use_gpu: bool) -> str:
    """Train an opened run on the cluster that this process is joined to.

    Returns:
        The run's status.

    Raises:
        BrokenOffError, UsageError: as `train_on_ray`.
    """
    while True:
        before = _newest_step(config)
        try:
            status = _fit_once(config, workers, use_gpu)
        except ray.train.TrainingFailedError as error:
            _refuse_failed(config)
            if isinstance(error, ControllerError) and type(error.controller_failure).__name__ == NO_NODES:
                raise BrokenOffError("there are too few nodes for all ranks, waiting for more") from error
            gained = config.world.max_failures and _newest_step(config) > before
            if not gained:
                _give_up(config, error)
            if isinstance(error, ControllerError):
                raise BrokenOffError(last_line(error)) from error
            continue  # with a checkpoint more, the count of failures starts anew
        _refuse_failed(config)
        if status == "SUPERSEDED":
            raise UsageError(f"another launcher has taken over run {config.name}: this one ends")
        return status


def _fit_once(config: Config, workers: int | tuple[int, int], use_gpu: bool) -> str:
    storage = Path(tempfile.mkdtemp(prefix="cyclegan_ray_"))  # Ray's own notes on the run; ours are in the run's folder
    timeout_s = int(distributed.SETTING_UP * config.world.timeout_s)
    failures = FailureConfig(max_failures=config.world.max_failures, controller_failure_limit=CONTROLLER_FAILURES)
    trainer = TorchTrainer(
        _train_rank,
        train_loop_config=asdict(config),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu, elastic_resize_monitor_interval_s=RESIZE_S),
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo", timeout_s=timeout_s),
        run_config=RunConfig(
            name=config.name,
            storage_path=str(storage),
            failure_config=failures,
            logging_config=LoggingConfig(log_level="ERROR"),
            callbacks=[_Deaths(str(config.run_dir))],
        ),
    )
    try:
        return str(trainer.fit().return_value)
    finally:
        shutil.rmtree(storage, ignore_errors=True)


class _Deaths(UserCallback):
    """Enters into the journal, from Ray Train's controller, that ranks died."""

    def __init__(self, run_dir: str):
        self.run_dir = run_dir

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        append(Path(self.run_dir), "failure", text=_cause(worker_exceptions), ranks=sorted(worker_exceptions))


def _give_up(config: Config, error: ray.train.TrainingFailedError) -> NoReturn:
    append(config.run_dir, "end", status="FAILED")  # the rank that would have said so may be dead
    failures = _failures(error)
    crash = config.run_dir / "crash.txt"
    crash.write_text(without_passwords("\n\n".join(map(str, [error, *failures.values()]))))
    cause = _cause(failures) if failures else last_line(error)
    raise UsageError(f"training failed: {cause}; the same command resumes. Details: {crash}") from error


def _newest_step(config: Config) -> int:
    """Of the run's checkpoints; 0 without any."""
    return max(storage_at(config.checkpoint_path).steps(), default=0)


def _refuse_failed(config: Config) -> None:
    """Tell what a rank met that starting again would not mend, if one did."""
    if (config.run_dir / FAILURE_NAME).exists():
        raise UsageError((config.run_dir / FAILURE_NAME).read_text())


def _train_rank(tree: dict[str, Any]) -> str:
    """What every Ray Train worker runs."""
    config = check_config(tree, "config")
    if (config.run_dir / FAILURE_NAME).exists():
        return "FAILED"  # started again after what cannot be mended: end in good order, the launcher tells
    from cyclegan_dist.orchestration.plugins import PLUGINS  # loads torchvision, which launchers do not need
    from cyclegan_dist.training.trainer import train

    world = distributed.join(config.world.device, config.world.timeout_s)
    world = world.subgroup(config.optim.largest_world(world.size))
    if world is None:
        return "RESERVE"
    try:
        return train(config, world, StopRequest(config.run_dir, world), PLUGINS)
    except SupersededError:
        return "SUPERSEDED"  # and not an error, or Ray would start these ranks again, against the others


def _workers(config: Config, *, refuse: bool) -> tuple[int | tuple[int, int], bool]:
    """How many ranks, and whether each gets a GPU."""
    room, use_gpu = room_for(config)
    wanted, least = config.world.num_workers, config.world.least_workers
    if refuse and least > room:
        kind = "GPUs" if use_gpu else "CPU cores"
        raise UsageError(f"world.num_workers {least} is more than the cluster's {room} {kind}: lower it, or add nodes")
    if wanted:
        return wanted, use_gpu
    if not room:
        raise UsageError("the Ray cluster has no free device for a rank: add nodes, or pass --launcher local")
    return config.optim.largest_world(room), use_gpu


def _failures(error: BaseException) -> dict[int, Any]:
    """What each rank that failed raised."""
    return getattr(error, "worker_failures", None) or {}


def _cause(failures: dict[int, Any]) -> str:
    """What the rank that began it died of: the others only lost their connection to it."""
    told = {rank: _said(failure) for rank, failure in sorted(failures.items())}
    first = {rank: line for rank, line in told.items() if not re.search("gloo|nccl|connection", line, re.IGNORECASE)}
    rank, line = next(iter((first or told).items()))
    return f"rank {rank}: {line}"


def _said(failure: BaseException) -> str:
    """What a rank died of, in a line. Of a process that is just gone Ray tells at length what may have been."""
    line = last_line(failure)
    return line.partition(". ")[0] if line.startswith("The actor is dead") else line
