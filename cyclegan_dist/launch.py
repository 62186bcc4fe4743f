"""From a config to a finished run: open it, let someone watch, start the ranks where they belong, answer with an exit
code.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from cyclegan_dist.config import Config, home
from cyclegan_dist.errors import UsageError
from cyclegan_dist.hooks.stop import StopRequest
from cyclegan_dist.run import locked, open_run
from cyclegan_dist.tracking.observe import observing

if TYPE_CHECKING:
    from cyclegan_dist.dist import World

AGAIN = "CYCLEGAN_DIST_AGAIN"  # in the environment of a launcher that goes on with what another began


def launch(config: Config, launcher: str) -> int:
    """Train. Returns 0 when finished, 128 + the signal's number when stopped by one. May start this process anew.

    Raises:
        UsageError: for what the user can mend.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return _in_this_process(config)
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


def _in_this_process(config: Config, *, alone: bool = False) -> int:
    """Train as one of torchrun's ranks, or alone with all cores."""
    # Loads torch and all that a rank needs: seconds that a launcher of ranks elsewhere does not spend.
    import torch

    from cyclegan_dist import dist
    from cyclegan_dist.checkpoint.fence import SupersededError
    from cyclegan_dist.hooks.agreement import DivergedError
    from cyclegan_dist.trainer import FATAL, train

    if alone:
        torch.set_num_threads(config.world.threads or len(os.sched_getaffinity(0)))
    world = dist.join(config.world.device, config.world.timeout_s)
    lock = contextlib.ExitStack()  # held by rank 0 for all
    try:
        config.optim.micro_batches(world.size, config.world.most_workers)
        config = _agree(config, world, lock)
        stop = StopRequest(config.run_dir, world)
        stop.listen()
        if not world.is_first:
            return 0 if train(config, world, stop) == "FINISHED" else 128 + (stop.signal or signal.SIGTERM)
        with observing(config.run_dir, config.tracking):
            status = train(config, world, stop)
        return _report(config, status, stop.signal)
    except (*FATAL, DivergedError, SupersededError) as error:
        raise UsageError(str(error)) from error
    finally:
        lock.close()
        dist.leave()


def _agree(config: Config, world: "World", lock: contextlib.ExitStack) -> Config:
    """Rank 0 locks and opens the run; all take its config, or its refusal."""
    answer: Config | str = ""
    if world.is_first:
        try:
            lock.enter_context(locked(config))
            answer = open_run(config)
        except UsageError as error:
            answer = str(error)
    answer = world.from_first(answer)
    if isinstance(answer, str):
        raise UsageError(answer if world.is_first else "rank 0 refused the run")
    return answer


def mlflow_ui() -> str:
    """What to type, or where to look, to see the runs in MLflow."""
    if "MLFLOW_TRACKING_URI" in os.environ:
        return "the server of MLFLOW_TRACKING_URI"  # which may hold a password
    return f"{Path(sys.executable).parent / 'mlflow'} ui --backend-store-uri sqlite:///{home() / 'mlflow.db'}"


def _report(config: Config, status: str, signal_number: int) -> int:
    """Say where everything is."""
    if status == "FINISHED":
        print(f"finished: {config.run_dir}")
        return 0
    print(f"stopped: {config.run_dir}; the same command again resumes it", file=sys.stderr)
    return 128 + (signal_number or signal.SIGTERM)
