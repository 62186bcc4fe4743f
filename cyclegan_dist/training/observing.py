"""Shows a run on the terminal and sends it to MLflow, TensorBoard and Weights & Biases while it trains."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from rich.console import Console

from cyclegan_dist.alerts.config import AlertSettings
from cyclegan_dist.errors import pipeline_command
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.config import TrackingConfig
from cyclegan_dist.tracking.console import watch
from cyclegan_dist.training.alerting import NO_ALERTS, recording_failure

SENDER_TIMEOUT_S = 120.0  # at the end, to send the rest


@contextmanager
def observing(
    run_dir: Path,
    config: TrackingConfig,
    alerts: AlertSettings = NO_ALERTS,
    goes_on: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Print the run's journal to this process's terminal and send it to its destinations, until the block ends. Its
    exceptions are alerted of, except those in `goes_on`, after which another launcher continues the training.

    A separate process sends it: neither the imports of MLflow nor an unreachable server can slow training, and it
    outlives this process long enough to send the rest.
    """
    journal = RunFolder(run_dir).journal
    shown = journal.stat().st_size if journal.exists() else 0
    done = threading.Event()
    console = Console()
    failure = recording_failure(run_dir, goes_on) if alerts.destinations else nullcontext()
    with sending(run_dir, config, console, alerts), failure:
        watcher = threading.Thread(target=watch, args=(run_dir, shown, done, console), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


@contextmanager
def sending(
    run_dir: Path, config: TrackingConfig, console: Console, alerts: AlertSettings = NO_ALERTS
) -> Iterator[None]:
    """Send the run's journal to its destinations until the block ends and the rest is sent, or a timeout is reached."""
    places = " or ".join((*config.destinations, *alerts.destinations))
    sender = _start_sender(run_dir, console, places) if places else None
    try:
        yield
    finally:
        if sender is not None:
            _finish(sender, run_dir, console, places)


def _start_sender(run_dir: Path, console: Console, places: str) -> "subprocess.Popen[bytes] | None":
    # Its standard input ends when this process dies; it then sends the rest and exits.
    command = [sys.executable, "-m", "cyclegan_dist.training.sender", str(run_dir), "--follow"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        # In a separate process group, so that Ctrl-C stops the training only and the sender can send its end.
        return subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, process_group=0)
    except OSError as error:
        _report_unsent(run_dir, console, f"no process for {places} could be started: {error}")
        return None


def _finish(sender: "subprocess.Popen[bytes]", run_dir: Path, console: Console, places: str) -> None:
    try:
        # Closing the pipe is not enough: a data loader's process may hold it open.
        sender.communicate(b".", timeout=SENDER_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        sender.kill()
        sender.wait()
    if sender.returncode != 0:
        _report_unsent(run_dir, console, f"not everything reached {places}")


def _report_unsent(run_dir: Path, console: Console, why: str) -> None:
    console.print(f"{why}; send the rest with: {pipeline_command('sync')} {run_dir}", soft_wrap=True, markup=False)
