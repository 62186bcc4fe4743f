"""Ranks under Ray Train: started, restarted when one dies, and what is recorded of their failures."""

import re
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import ray.train
from ray.train import ControllerError, FailureConfig, LoggingConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from cyclegan_dist.checkpoint.fence import SupersededError
from cyclegan_dist.checkpoint.storage import storage_at
from cyclegan_dist.config.config import Config, check_config
from cyclegan_dist.errors import UsageError, without_passwords
from cyclegan_dist.orchestration.cluster import RestartNeededError, TakenOverError, last_line
from cyclegan_dist.orchestration.process_group import ProcessGroupConfig
from cyclegan_dist.orchestration.standby import rank_environment
from cyclegan_dist.storage.layout import RunFolder, Status
from cyclegan_dist.tracking.journal import append
from cyclegan_dist.training.stop import StopRequest

CONTROLLER_FAILURES = 2  # in a row; a controller that loses ranks during their start may hang
RESIZE_S = 15.0  # between two checks for more nodes, if the number of ranks may change
RAY_DATA = "DatasetsCallback"  # a private class of Ray
NO_NODES = "WorkerGroupStartupTimeoutError"  # a private class of Ray


def fit(config: Config, workers: int | tuple[int, int], use_gpu: bool) -> Status:
    """Train an opened run on the cluster that this process is joined to.

    Returns:
        The run's status.

    Raises:
        RestartNeededError, UsageError: as `train_on_ray`.
    """
    while True:
        before = _newest_step(config)
        try:
            status = _fit_once(config, workers, use_gpu)
        except ray.train.TrainingFailedError as error:
            _raise_failure(config)
            if isinstance(error, ControllerError) and type(error.controller_failure).__name__ == NO_NODES:
                raise RestartNeededError("there are too few nodes for all ranks, waiting for more") from error
            gained = config.world.max_failures and _newest_step(config) > before
            if not gained:
                _give_up(config, error)
            if isinstance(error, ControllerError):
                raise RestartNeededError(last_line(error)) from error
            continue  # a new checkpoint resets the count of failures
        _raise_failure(config)
        if status == Status.SUPERSEDED:
            raise TakenOverError(f"another launcher has taken over run {config.name}: this one stops")
        return status


def _fit_once(config: Config, workers: int | tuple[int, int], use_gpu: bool) -> Status:
    storage = Path(tempfile.mkdtemp(prefix="cyclegan_ray_"))  # of Ray Train, not needed after the run
    failures = FailureConfig(max_failures=config.world.max_failures, controller_failure_limit=CONTROLLER_FAILURES)
    trainer = _Trainer(
        train_rank,
        train_loop_config=asdict(config),
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=use_gpu,
            elastic_resize_monitor_interval_s=RESIZE_S,
            label_selector=config.world.label_selector or None,
        ),
        backend_config=ProcessGroupConfig(use_gpu, config.world.timeout_s),
        run_config=RunConfig(
            name=config.name,
            storage_path=str(storage),
            worker_runtime_env=rank_environment(config.world),
            failure_config=failures,
            logging_config=LoggingConfig(log_level="ERROR"),
            callbacks=[_RecordFailures(str(config.run_dir))],
        ),
    )
    try:
        return Status(trainer.fit().return_value)
    finally:
        shutil.rmtree(storage, ignore_errors=True)


class _Trainer(DataParallelTrainer):
    """Without Ray Train's process that serves data sets of Ray Data, which these trainings do not use: its start takes
    1.5 s of a core, just before ranks do.
    """

    def _create_default_callbacks(self) -> list[Any]:
        return [one for one in super()._create_default_callbacks() if type(one).__name__ != RAY_DATA]


class _RecordFailures(UserCallback):
    """Records failures of ranks in the journal, from Ray Train's controller."""

    def __init__(self, run_dir: str):
        self.run_dir = run_dir

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        append(Path(self.run_dir), "failure", text=_cause(worker_exceptions), ranks=sorted(worker_exceptions))


def _give_up(config: Config, error: ray.train.TrainingFailedError) -> NoReturn:
    append(config.run_dir, "end", status=Status.FAILED)  # rank 0 may have died before it wrote this
    failures = getattr(error, "worker_failures", None) or {}
    crash = RunFolder(config.run_dir).crash
    crash.write_text(without_passwords("\n\n".join(map(str, [error, *failures.values()]))))
    cause = _cause(failures) if failures else last_line(error)
    raise UsageError(f"training failed: {cause}; run the same command again to resume. Details: {crash}") from error


def _newest_step(config: Config) -> int:
    """The step of the newest checkpoint, or 0; also if the storage does not answer, which ranks report."""
    try:
        return max(storage_at(config.checkpoint_path).steps(), default=0)
    except OSError:
        return 0


def _raise_failure(config: Config) -> None:
    """Raise the failure that a rank recorded, if there is one."""
    failure = RunFolder(config.run_dir).read_failure()
    if failure is not None:
        raise UsageError(failure.message)


def train_rank(tree: dict[str, Any]) -> Status:
    """Run by every Ray Train worker."""
    config = check_config(tree, "config")
    if RunFolder(config.run_dir).failed.exists():
        return Status.FAILED  # restarted after a failure that a restart cannot fix; the launcher reports it
    # Loads torch, which neither the launcher nor Ray Train's controller needs.
    from cyclegan_dist.orchestration.plugins import PLUGINS
    from cyclegan_dist.step import distributed
    from cyclegan_dist.training.trainer import train

    world = distributed.join(config.world.device, config.world.timeout_s)
    world = world.subgroup(config.largest_world(world.size))
    if world is None:
        return Status.RESERVE
    try:
        return train(config, world, StopRequest(config.run_dir, world), PLUGINS)
    except SupersededError:
        return Status.SUPERSEDED  # not an error, after which Ray would restart these ranks


def _cause(failures: dict[int, Any]) -> str:
    """The error of the rank that failed first: the others only lost their connection to it."""
    lines = {rank: _error_line(failure) for rank, failure in sorted(failures.items())}
    first = {rank: line for rank, line in lines.items() if not re.search("gloo|nccl|connection", line, re.IGNORECASE)}
    rank, line = next(iter((first or lines).items()))
    return f"rank {rank}: {line}"


def _error_line(failure: BaseException) -> str:
    """A rank's error in one line. For a process that died Ray adds a long list of possible reasons."""
    line = last_line(failure)
    return line.partition(". ")[0] if line.startswith("The actor is dead") else line
