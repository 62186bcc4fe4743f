"""Send what a run's journal holds to MLflow, from where the last sender stopped.

    python -m cyclegan_dist.sync RUN_DIR [--follow]

With --follow it goes on until its standard input ends: how a launcher runs it beside a training. One sender at a time
speaks for a run.
"""

import fcntl
import json
import logging
import os
import re
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

import tyro

from cyclegan_dist.config import home
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.run import read_config
from cyclegan_dist.tracking.journal import NAME, follow

RETRY_S = 10.0


def sync(run_dir: Path, done: threading.Event) -> None:
    """Send the journal until `done` is set and everything before that is sent.

    Raises:
        UsageError: if MLflow cannot be reached after `done`, or RUN_DIR is no run.
    """
    config = read_config(run_dir).tracking
    os.environ.setdefault("MLFLOW_TRACKING_URI", _known_store(run_dir) or f"sqlite:///{home() / 'mlflow.db'}")
    # MLflow remarks on its own migrations and on ambiguous sources; what matters comes as an exception.
    warnings.filterwarnings("ignore", category=UserWarning, module="mlflow")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    logging.getLogger("alembic").setLevel(logging.ERROR)
    from cyclegan_dist.registry import log_generators  # mlflow is loaded from here on
    from cyclegan_dist.tracking.mlflow_run import MlflowException, MlflowRun, server_of

    with (run_dir / "mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        while True:
            try:
                run = MlflowRun(run_dir, config.experiment, home() / "mlartifacts", log_generators)
                flushed = time.monotonic()
                for record, offset in follow(run_dir / NAME, run.offset, done):
                    run.send(record, offset)
                    if time.monotonic() - flushed > 1:
                        run.flush()
                        flushed = time.monotonic()
                run.flush()
                return
            except (MlflowException, OSError) as error:
                if done.is_set():
                    server = server_of(os.environ["MLFLOW_TRACKING_URI"])
                    raise UsageError(f"MLflow at {server} did not take the run: {_first_line(error)}") from error
                done.wait(RETRY_S)


def _known_store(run_dir: Path) -> str | None:
    """Where the run was sent before, whatever folder that was typed in."""
    state = run_dir / "mlflow.json"
    return json.loads(state.read_text()).get("store") if state.exists() else None


def _first_line(error: BaseException) -> str:
    """What an exception says first, without the names and passwords of URLs in it."""
    return re.sub(r"://[^/@\s]*@", "://", str(error).strip().splitlines()[0])


def main() -> None:
    """Read the command line and send."""
    tyro.cli(_main, prog="python -m pipelines.sync", description=__doc__)


def _main(run_dir: tyro.conf.Positional[Path], *, follow: bool = False) -> None:
    done = threading.Event()
    # Who stops a training stops its group; the sender is to report how that ended.
    for number in (signal.SIGTERM, signal.SIGINT) if follow else ():
        signal.signal(number, signal.SIG_IGN)
    if not follow:
        done.set()
    else:
        threading.Thread(target=lambda: (sys.stdin.buffer.read(), done.set()), daemon=True).start()
    sync(run_dir.absolute(), done)


if __name__ == "__main__":
    run_command(main)
