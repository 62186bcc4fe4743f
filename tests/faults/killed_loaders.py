"""Drill G1: loader processes of a training that is killed."""

import multiprocessing
import os
import signal
import statistics
import time
from pathlib import Path

import psutil

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.orchestration.launch import launch
from cyclegan_dist.training.run_folder import locked
from tests.faults.matrix import Measured, Stage, row

MOST_S = 1.0


@row(
    "G1",
    "a training process with loader processes is killed (SIGKILL)",
    "the run can be resumed, and no loader process is left, within a second",
)
def loaders_of_a_killed_rank(stage: Stage) -> Measured:
    free, ended = zip(*(_killed(stage, f"g1-{number}") for number in range(stage.times(1, 20))), strict=True)
    figure = (
        f"{len(free)} times: lock free after {statistics.median(free):.3f} s (at most {max(free):.3f} s), two loader processes "
        f"gone after {statistics.median(ended):.3f} s (at most {max(ended):.3f} s)"
    )
    return Measured(figure, max(free) < MOST_S and max(ended) < MOST_S)


def _killed(stage: Stage, name: str) -> tuple[float, float]:
    """Seconds from the kill until the run's lock is free, and until the loader processes are gone."""
    config = stage.run(name=name, data__workers=2, schedule__n_epochs=10000, world__threads=1)
    process = multiprocessing.get_context("fork").Process(target=_train, args=(config,), daemon=False)
    process.start()
    deadline = time.monotonic() + 60
    while not (config.run_dir / "metrics.jsonl").exists() or b'"metrics"' not in _journal(config):
        assert process.is_alive() and time.monotonic() < deadline, "the training did not start"
        time.sleep(0.05)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) == 2, workers
    began = time.monotonic()
    process.kill()
    process.join()
    free = ended = 0.0
    while time.monotonic() < began + 20 and not (free and ended):
        free = free or (time.monotonic() - began if _is_free(config) else 0.0)
        ended = ended or (0.0 if any(_is_running(worker) for worker in workers) else time.monotonic() - began)
        time.sleep(0.001)
    return free or 20.0, ended or 20.0


def _train(config: Config) -> None:
    output = os.open(os.devnull, os.O_WRONLY)
    os.dup2(output, 1)
    signal.alarm(100)
    launch(config, "local")


def _journal(config: Config) -> bytes:
    return Path(config.run_dir, "metrics.jsonl").read_bytes()


def _is_free(config: Config) -> bool:
    try:
        with locked(config):
            return True
    except UsageError:
        return False


def _is_running(worker: psutil.Process) -> bool:
    try:
        return worker.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
