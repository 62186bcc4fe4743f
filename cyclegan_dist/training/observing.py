"""Lets a terminal and MLflow follow a run while it goes on."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from cyclegan_dist.errors import pipeline_command
from cyclegan_dist.tracking.config import TrackingConfig
from cyclegan_dist.tracking.console import watch
from cyclegan_dist.tracking.journal import JOURNAL

PATIENCE_S = 120.0


@contextmanager
def observing(run_dir: Path, config: TrackingConfig) -> Iterator[None]:
    """Show the run's journal on this process's terminal and send it to MLflow, until the block ends.

    MLflow is spoken to by a process of its own: neither its imports nor a server that does not answer can take time
    from training, and it survives this process long enough to send what is written.
    """
    journal = run_dir / JOURNAL
    shown = journal.stat().st_size if journal.exists() else 0
    done = threading.Event()
    console = Console()
    with sending(run_dir, config, console):
        watcher = threading.Thread(target=watch, args=(run_dir, shown, done, console), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


@contextmanager
def sending(run_dir: Path, config: TrackingConfig, console: Console) -> Iterator[None]:
    """Send the run's journal to MLflow until the block ends and everything is sent, or cannot be."""
    sender = _start_sender(run_dir, console) if config.mlflow else None
    try:
        yield
    finally:
        if sender is not None:
            _finish(sender, run_dir, console)


def _start_sender(run_dir: Path, console: Console) -> "subprocess.Popen[bytes] | None":
    # Its standard input ends when this process dies; then it sends what there is, and ends too.
    command = [sys.executable, "-m", "cyclegan_dist.training.sender", str(run_dir), "--follow"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        # A group of its own: Ctrl-C is for the training, the sender is to report how that ends.
        return subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, process_group=0)
    except OSError as error:
        _say_how_to_send(run_dir, console, f"no process for MLflow could be started: {error}")
        return None


def _finish(sender: "subprocess.Popen[bytes]", run_dir: Path, console: Console) -> None:
    try:
        # A byte, for a data loader's process may hold the pipe open.
        sender.communicate(b".", timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        sender.kill()
        sender.wait()
    if sender.returncode != 0:
        _say_how_to_send(run_dir, console, "not everything reached MLflow")


def _say_how_to_send(run_dir: Path, console: Console, why: str) -> None:
    console.print(f"{why}; send the rest with: {pipeline_command('sync')} {run_dir}", soft_wrap=True, markup=False)
