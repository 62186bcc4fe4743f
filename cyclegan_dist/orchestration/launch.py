"""From a config to a finished run: open it, let someone watch, start the ranks where they belong, answer with an exit
code.
"""

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from cyclegan_dist.config.config import Config, home
from cyclegan_dist.training.observing import observing
from cyclegan_dist.training.run_folder import locked, open_run

AGAIN = "CYCLEGAN_DIST_AGAIN"  # in the environment of a launcher that goes on with what another began


def launch(config: Config, launcher: str) -> int:
    """Train. Returns 0 when finished, 128 + the signal's number when stopped by one. May start this process anew.

    Raises:
        UsageError: for what the user can mend.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return _in_this_process(config, alone=False)
    if launcher == "local":
        return _in_this_process(config, alone=True)
    if isinstance(config.world.num_workers, int) and config.world.num_workers:
        config.optim.micro_batches(config.world.num_workers)  # before Ray takes its time to start
    from cyclegan_dist.orchestration.training import BrokenOffError

    try:
        return _on_ray(config)
    except BrokenOffError as reason:
        start_again(str(reason))


def _on_ray(config: Config) -> int:
    from cyclegan_dist.orchestration.training import train_on_ray  # Ray is loaded from here on

    with locked(config):
        config = open_run(config)
        with observing(config.run_dir, config.tracking):
            status, signal_number = train_on_ray(config, again=AGAIN in os.environ)
    return _report(config, status, signal_number)


def start_again(reason: str) -> NoReturn:
    """Become a fresh process of the same command. Ray's controller and what it has placed on the cluster end with the
    old one, and after some failures nothing less helps.
    """
    print(f"{reason}; starting again from the last checkpoint", file=sys.stderr, flush=True)
    os.environ[AGAIN] = "1"
    os.execv(sys.executable, sys.orig_argv)


def _in_this_process(config: Config, *, alone: bool) -> int:
    """Train as one of torchrun's ranks, or alone."""
    from cyclegan_dist.orchestration.plugins import PLUGINS  # loads torch and all that a rank needs
    from cyclegan_dist.training.local_rank import train_here

    return _report(*train_here(config, PLUGINS, alone=alone))


def mlflow_ui() -> str:
    """What to type, or where to look, to see the runs in MLflow."""
    if "MLFLOW_TRACKING_URI" in os.environ:
        return "the server of MLFLOW_TRACKING_URI"  # which may hold a password
    return f"{Path(sys.executable).parent / 'mlflow'} ui --backend-store-uri sqlite:///{home() / 'mlflow.db'}"


def _report(config: Config, status: str, signal_number: int) -> int:
    """Say where everything is, once for all ranks."""
    speaks = os.environ.get("RANK", "0") == "0"
    if status == "FINISHED":
        if speaks:
            print(f"finished: {config.run_dir}")
        return 0
    if speaks:
        print(f"stopped: {config.run_dir}; the same command again resumes it", file=sys.stderr)
    return 128 + (signal_number or signal.SIGTERM)
