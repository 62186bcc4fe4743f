"""Send what a run's journal holds to MLflow, from where the last sender stopped.

    python -m cyclegan_dist.training.sender RUN_DIR [--follow]

With --follow it goes on until its standard input says a byte or ends: how a launcher runs it beside a training. One
sender at a time speaks for a run.
"""

import contextlib
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import tyro

from cyclegan_dist.config.config import home
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.registry.sources import use_store
from cyclegan_dist.tracking.config import TrackingConfig
from cyclegan_dist.tracking.journal import JOURNAL, SWEEP_JOURNAL, follow
from cyclegan_dist.tracking.sender_state import SenderState, first_line, server_of
from cyclegan_dist.training.run_folder import read_config

TRIES = 3  # without getting on, before the end of the run is left for later
PAUSE_S = 30.0  # at most, between two tries


def sync(run_dir: Path, done: threading.Event) -> None:
    """Send the journal until `done` is set and everything before that is sent.

    Raises:
        UsageError: if MLflow cannot be reached after `done`, or RUN_DIR is no run.
    """
    config = read_config(run_dir).tracking
    use_store(SenderState.read(run_dir).store)  # where it was sent before, whatever folder that was typed in
    from cyclegan_dist.tracking.mlflow_run import MlflowException  # mlflow is loaded from here on

    failures = 0
    with _alone(run_dir):
        while True:
            before = SenderState.read(run_dir)
            try:
                _send(run_dir, config, done)
                return
            except (MlflowException, OSError) as error:
                failures = failures + 1 if SenderState.read(run_dir) == before else 1
                server = server_of(os.environ["MLFLOW_TRACKING_URI"])
                if done.is_set() and failures >= TRIES:
                    raise UsageError(f"MLflow at {server} did not take the run: {first_line(error)}") from error
                if failures == TRIES:
                    print(f"MLflow at {server} is away; {run_dir / JOURNAL} keeps what it misses", file=sys.stderr)
            pause = min(PAUSE_S, 2.0 ** (failures - 1))
            if done.is_set():
                time.sleep(pause)
            else:
                done.wait(pause)


def _send(run_dir: Path, config: TrackingConfig, done: threading.Event) -> None:
    """Send what is not yet sent, and then what is written, until `done` is set."""
    if (run_dir / SWEEP_JOURNAL).exists():
        from cyclegan_dist.tracking.mlflow_sweep import send_sweep

        with _database():
            send_sweep(run_dir, config.experiment, home() / "mlartifacts")
        return
    from cyclegan_dist.tracking.mlflow_run import MlflowRun

    journal = run_dir / JOURNAL
    if next(follow(journal, 0, done), None) is None:  # it ended before its first record
        return
    with _database():
        run = MlflowRun(run_dir, config.experiment, home() / "mlartifacts", _log_generators, parent=config.parent)
    flushed = time.monotonic()
    for record, offset in follow(journal, run.offset, done):
        run.send(record, offset)
        if time.monotonic() - flushed > 1:
            run.flush()
            flushed = time.monotonic()
    run.flush()


@contextlib.contextmanager
def _database() -> Iterator[None]:
    """Alone with a database file: whoever speaks to MLflow first makes its tables, and two who do so fail."""
    path = os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///")
    if "://" in path:
        yield
        return
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _log_generators(run_id: str, snapshot: Path, step: int) -> None:
    from cyclegan_dist.registry.models import log_generators  # loads torch

    log_generators(run_id, snapshot, step)


@contextlib.contextmanager
def _alone(run_dir: Path) -> Iterator[None]:
    """One sender at a time."""
    with (run_dir / "mlflow.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another sender is at work on {run_dir}: waiting for it", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Read the command line and send."""
    tyro.cli(_main, prog="python -m cyclegan_dist.training.sender", description=__doc__)


def _main(run_dir: tyro.conf.Positional[Path], *, follow: bool = False) -> None:
    done = threading.Event()
    # Who stops a training stops its group; the sender is to report how that ended.
    for number in (signal.SIGTERM, signal.SIGINT) if follow else ():
        signal.signal(number, signal.SIG_IGN)
    if not follow:
        done.set()
    else:
        os.nice(19)  # training goes first, also Ray's ranks, whose nodes give them a niceness of 15
        threading.Thread(target=lambda: (sys.stdin.buffer.read(1), done.set()), daemon=True).start()
    sync(run_dir.absolute(), done)


if __name__ == "__main__":
    run_command(main)
