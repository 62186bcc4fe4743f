"""Send a run's journal to MLflow, from where the last sender stopped.

    python -m cyclegan_dist.training.sender RUN_DIR [--follow]

With --follow it continues until a byte or the end of its standard input: launchers run it so during a training. One
sender at a time sends a run.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import tyro

from cyclegan_dist.config.config import home
from cyclegan_dist.data.stop_signals import ignore_stop_signals
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.registry.sources import use_store_of
from cyclegan_dist.storage.files import lock
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.storage.urls import sqlite_path
from cyclegan_dist.tracking.config import TrackingConfig
from cyclegan_dist.tracking.journal import follow
from cyclegan_dist.tracking.sender_state import SenderState, first_line, server_of
from cyclegan_dist.training.run_folder import read_config

TRIES = 3  # without progress, before the sender gives up after the end of the run
PAUSE_S = 30.0  # at most, between two tries


def sync(run_dir: Path, done: threading.Event) -> None:
    """Send the journal until `done` is set and everything before that is sent, to the store that the run belongs to.

    Raises:
        UsageError: if MLflow fails after `done` is set, `run_dir` is not a run folder, or MLFLOW_TRACKING_URI names
            another store.
    """
    config = read_config(run_dir).tracking
    store = server_of(use_store_of(run_dir))
    from cyclegan_dist.tracking.mlflow_run import MlflowException  # mlflow is loaded from here on

    folder, failures = RunFolder(run_dir), 0
    with lock(folder.sender_lock, held=f"another sender is sending {run_dir}: waiting", wait=True):
        while True:
            before = SenderState.read(run_dir)
            try:
                if not before.run_id and before.store != store:  # kept for senders that start elsewhere
                    replace(before, store=store).save(run_dir)
                _send(run_dir, config, done, isolating=failures >= TRIES - 1)
                return
            except (MlflowException, OSError) as error:
                failures = failures + 1 if SenderState.read(run_dir) == before else 1
                if done.is_set() and failures >= TRIES:
                    raise UsageError(f"MLflow at {store} did not accept the run: {first_line(error)}") from error
                if failures == TRIES:
                    print(f"MLflow at {store} is unreachable; {folder.journal} keeps the rest", file=sys.stderr)
            pause = min(PAUSE_S, 2.0 ** (failures - 1))
            if done.is_set():
                time.sleep(pause)
            else:
                done.wait(pause)


def _send(run_dir: Path, config: TrackingConfig, done: threading.Event, *, isolating: bool) -> None:
    """Send what has not been sent, then what is appended, until `done` is set. `isolating` as for `MlflowRun`."""
    folder = RunFolder(run_dir)
    if folder.sweep_journal.exists():
        from cyclegan_dist.tracking.mlflow_sweep import RESULTS, send_sweep

        if not (run_dir / RESULTS).exists():
            raise UsageError(f"{run_dir} has no {RESULTS}: run the sweep's command again, which writes and sends it")
        with _database_lock():
            send_sweep(run_dir, config.experiment, home() / "mlartifacts")
        return
    from cyclegan_dist.tracking.mlflow_run import MlflowRun, measuring_system

    if next(follow(folder.journal, 0, done), None) is None:  # the run ended before its first record
        return
    with _database_lock():
        artifacts, tries = home() / "mlartifacts", {"parent": config.parent, "isolating": isolating}
        run = MlflowRun(run_dir, config.experiment, artifacts, _log_generators, **tries)
    with measuring_system(run.run_id) if config.system_metrics and not done.is_set() else contextlib.nullcontext():
        flushed = time.monotonic()
        for record, offset in follow(folder.journal, run.offset, done):
            run.send(record, offset)
            if time.monotonic() - flushed > 1:
                run.flush()
                flushed = time.monotonic()
        run.flush()


@contextlib.contextmanager
def _database_lock() -> Iterator[None]:
    """Serialise the first access to a database file: it creates the tables, and fails if two processes do so."""
    path = sqlite_path(os.environ["MLFLOW_TRACKING_URI"])
    if path is None:
        yield
        return
    with lock(path.with_name(f"{path.name}.lock"), wait=True):
        yield


def _log_generators(run_id: str, snapshot: Path, step: int) -> None:
    from cyclegan_dist.registry.models import log_generators

    log_generators(run_id, snapshot, step)


def main() -> None:
    """Read the command line and send."""
    tyro.cli(_main, prog="python -m cyclegan_dist.training.sender", description=__doc__)


def _main(run_dir: tyro.conf.Positional[Path], *, follow: bool = False) -> None:
    done = threading.Event()
    if not follow:
        done.set()
    else:
        ignore_stop_signals()  # the sender must outlive the training to send its end
        os.nice(19)  # lower priority than training; Ray runs ranks with a niceness of 15
        threading.Thread(target=lambda: (sys.stdin.buffer.read(1), done.set()), daemon=True).start()
    sync(run_dir.absolute(), done)


if __name__ == "__main__":
    run_command(main)
