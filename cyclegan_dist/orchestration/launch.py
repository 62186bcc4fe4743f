"""Launches a run: open it, follow its journal, start the ranks, return an exit code."""

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from cyclegan_dist.alerts.config import AlertSettings
from cyclegan_dist.config.config import Config
from cyclegan_dist.data.location import SYNTHETIC, data_path
from cyclegan_dist.errors import UsageError, pipeline_command
from cyclegan_dist.operations.doctor.at_start import warn_of_memory
from cyclegan_dist.storage.layout import RunFolder, Status
from cyclegan_dist.tracking.sender_state import SenderState
from cyclegan_dist.training.alerting import alerts_of
from cyclegan_dist.training.observing import observing
from cyclegan_dist.training.run_folder import check_run, locked, start_run

RESTARTED = "CYCLEGAN_DIST_RESTARTED"  # in the environment of a launcher that has restarted itself


def launch(config: Config, launcher: str, extend: int = 0) -> int:
    """Train. Returns 0 when finished, 128 + the signal's number when stopped by one. May restart this process.

    Args:
        config: of the run.
        launcher: auto, ray or local.
        extend: the number of the extension to train, or 0.

    Raises:
        UsageError: for errors that the user can fix.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return _in_this_process(config, extend, alone=False)
    if launcher == "local":
        _refuse_ranks(config)
        return _in_this_process(config, extend, alone=True)
    if isinstance(config.world.num_workers, int) and config.world.num_workers:
        config.micro_batches(config.world.num_workers)  # before Ray starts, which takes seconds
    alerts = alerts_of(config)
    with locked(config):
        config = check_run(config, extend)
        print("starting ranks on Ray: the first step follows within seconds, or a minute on a busy machine", flush=True)
        from cyclegan_dist.orchestration.cluster import RestartNeededError, TakenOverError  # loads Ray
        from cyclegan_dist.orchestration.training import train_on_ray

        started = _started(config, extend, alerts, (RestartNeededError, TakenOverError))
        try:
            status, signal_number = train_on_ray(config, started, restarted=RESTARTED in os.environ)
        except RestartNeededError as reason:
            restart(str(reason))
    return _report(config, status, signal_number)


def _refuse_ranks(config: Config) -> None:
    if config.world.least_workers > 1:
        raise UsageError(
            f"world.num_workers {config.world.least_workers}, but --launcher local trains in one process: leave out "
            "--launcher local, or give --world.num_workers 0"
        )


@contextlib.contextmanager
def _started(
    config: Config, extend: int, alerts: AlertSettings, goes_on: tuple[type[Exception], ...]
) -> Iterator[None]:
    """Write a checked run's folder, and follow the run until the block ends; `goes_on` as for `observing`."""
    start_run(config, extend)
    with observing(config.run_dir, config.tracking, alerts, goes_on):
        yield


def restart(reason: str) -> NoReturn:
    """Replace this process by a new one of the same command. That also ends Ray's controller and its resources on the
    cluster, which some failures require.
    """
    print(f"{reason}; restarting from the last checkpoint", file=sys.stderr, flush=True)
    os.environ[RESTARTED] = "1"
    os.execv(sys.executable, sys.orig_argv)


def _in_this_process(config: Config, extend: int, *, alone: bool) -> int:
    """Train as one of torchrun's ranks, or alone."""
    if config.data.path not in ("", SYNTHETIC) and not config.run_dir.exists():
        data_path(config.data.path)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        warn_of_memory(config, int(os.environ.get("LOCAL_WORLD_SIZE", "1")), standby=False)
    from cyclegan_dist.orchestration.plugins import PLUGINS  # loads torch and all that a rank needs
    from cyclegan_dist.training.local_rank import train_here

    return _report(*train_here(config, PLUGINS, alone=alone, extend=extend))


def mlflow_ui(run_dir: Path) -> str:
    """How to see a run in MLflow: a command, or a server."""
    sent = SenderState.read(run_dir)
    if not sent.run_id:
        return f"not in MLflow yet; send them with: {pipeline_command('sync')} {run_dir}"
    if sent.store.startswith("http"):
        return sent.store
    return f"{Path(sys.executable).parent / 'mlflow'} ui --backend-store-uri {shlex.quote(sent.store)}"


def _report(config: Config, status: Status, signal_number: int) -> int:
    """Print the result, on rank 0 only. Returns the exit code."""
    is_reporter = os.environ.get("RANK", "0") == "0"
    if status == Status.FINISHED:
        if is_reporter:
            newest = max(RunFolder(config.run_dir).snapshots.glob("nimg-*"), default=None)
            if config.stop_after and newest is not None and int(newest.name.removeprefix("nimg-")) >= config.stop_after:
                reached = f"--stop_after {config.stop_after} is reached"
                print(f"{reached}: a larger one continues, 0 trains to the end of the schedule")
            print(f"finished: {config.run_dir}")
        return 0
    if is_reporter:
        print(f"stopped: {config.run_dir}; run the same command again to resume", file=sys.stderr)
    return 128 + (signal_number or signal.SIGTERM)
