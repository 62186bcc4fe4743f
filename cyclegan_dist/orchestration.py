"""Ray Train: starts the ranks on a cluster, starts them again when one dies, and carries a stop to them.

The only importer of Ray. The training core knows nothing of it: ranks find each other through the process group that
Ray joins, state goes through our own checkpoint store, and what users see goes through the run's journal, so neither is
lost with the cluster.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

# Ray reads its settings when it is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
if not os.environ.get("RAY_ADDRESS"):
    # A cluster of our own, through whose job server nobody else on this machine may run code. A token of our own too:
    # Ray would write one that all may read into the home folder.
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

import ray
import ray.exceptions
import ray.train
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from cyclegan_dist import dist
from cyclegan_dist.config import Config, check_config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.hooks.stop import FILE as STOP_FILE
from cyclegan_dist.hooks.stop import StopRequest
from cyclegan_dist.run import FAILURE_NAME
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.trainer import train


def train_on_ray(config: Config) -> tuple[str, int]:
    """Train an opened run on the cluster of RAY_ADDRESS, or on one of this machine's own.

    Returns:
        The run's status, and the signal that stopped it or 0.

    Raises:
        UsageError: if the cluster cannot hold the ranks, a rank met what starting again would not mend, or ranks died
            more often than world.max_failures allows.
    """
    with _cluster():
        workers, use_gpu = _workers(config)
        config.optim.micro_batches(workers)
        with _stop_file(config.run_dir / STOP_FILE) as stopped_by:
            status = _in_thread(lambda: _fit(config, workers, use_gpu))
    return status, stopped_by[0]


def _fit(config: Config, workers: int, use_gpu: bool) -> str:
    storage = Path(tempfile.mkdtemp(prefix="cyclegan_ray_"))  # Ray's own notes on the run; ours are in the run's folder
    trainer = TorchTrainer(
        _train_rank,
        train_loop_config=asdict(config),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu),
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo", timeout_s=int(config.world.timeout_s)),
        run_config=RunConfig(
            name=config.name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=config.world.max_failures),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        with Journal(config.run_dir) as journal:  # the rank that would have said so may be dead
            journal.write("end", status="FAILED")
        _refuse_failed(config)
        crash = config.run_dir / "crash.txt"
        crash.write_text("\n\n".join(map(str, [error, *_failures(error).values()])))
        raise UsageError(f"training failed: {_cause(error)}; the same command resumes. Details: {crash}") from error
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    _refuse_failed(config)
    return str(result.return_value)


def _refuse_failed(config: Config) -> None:
    """Tell what a rank met that starting again would not mend, if one did."""
    if (config.run_dir / FAILURE_NAME).exists():
        raise UsageError((config.run_dir / FAILURE_NAME).read_text())


def _train_rank(tree: dict[str, Any]) -> str:
    """What every Ray Train worker runs."""
    config = check_config(tree, "config")
    if (config.run_dir / FAILURE_NAME).exists():
        return "FAILED"  # started again after what cannot be mended: end in good order, the launcher tells
    world = dist.join(config.world.device, config.world.timeout_s)
    return train(config, world, StopRequest(config.run_dir, world))


def _workers(config: Config) -> tuple[int, bool]:
    """How many ranks, and whether each gets a GPU."""
    resources = ray.cluster_resources()
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    use_gpu = config.world.device == "cuda" or (config.world.device == "auto" and gpus > 0)
    room = gpus if use_gpu else cpus
    wanted = config.world.num_workers
    if wanted > room:
        kind = "GPUs" if use_gpu else "CPU cores"
        raise UsageError(f"world.num_workers {wanted} is more than the cluster's {room} {kind}: lower it, or add nodes")
    if wanted:
        return wanted, use_gpu
    fitting = [n for n in range(1, room + 1) if config.optim.batch_size % n == 0]
    if not fitting:
        raise UsageError("the Ray cluster has no free device for a rank: add nodes, or pass --launcher local")
    return max(fitting), use_gpu


@contextmanager
def _cluster() -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS (set inside a Ray job), or start one for this run and end it with the run."""
    temporary = None
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if not os.environ.get("RAY_ADDRESS"):
        temporary = tempfile.mkdtemp(prefix="cgd", dir="/tmp")  # short: Unix socket paths end at 107 bytes
        # A dashboard of ours even where another cluster's runs: Ray Train asks it for the state of its controller.
        port = _free_port()
        os.environ["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{port}"
        settings |= {"address": "local", "_node_ip_address": "127.0.0.1", "_temp_dir": temporary}
        settings |= {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port}
    try:
        try:
            ray.init(**settings)
        except (RuntimeError, ConnectionError, ValueError, ray.exceptions.RayError) as error:
            where = os.environ.get("RAY_ADDRESS", "of this machine's own")
            raise UsageError(f"no Ray cluster {where}: {_last_line(error)}; or pass --launcher local") from error
        yield
    finally:
        ray.shutdown()
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _stop_file(path: Path) -> Iterator[list[int]]:
    """SIGTERM or SIGINT asks the ranks to stop at the next step; a second one ends this process at once."""
    seen = [0]

    def ask(number: int, frame: FrameType | None) -> None:
        if seen[0]:
            os._exit(128 + number)
        seen[0] = number
        path.touch()
        print("stopping after this step, with a checkpoint; once more to stop at once", file=sys.stderr)

    # After ray.init, which installs its own handler for SIGTERM.
    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_thread(work: Any) -> str:
    """Run `work` in a thread: in the main thread Ray Train would take SIGINT for itself and end without a
    checkpoint.
    """
    answer: list[Any] = []

    def call() -> None:
        try:
            answer.append(work())
        except BaseException as error:
            answer.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)  # short, so that signal handlers run
    if isinstance(answer[0], BaseException):
        raise answer[0]
    return answer[0]


def _failures(error: BaseException) -> dict[int, Any]:
    """What each rank that failed raised."""
    return getattr(error, "worker_failures", None) or {}


def _cause(error: BaseException) -> str:
    """What the rank that began it died of: the others only lost their connection to it."""
    told = {rank: _last_line(failure) for rank, failure in sorted(_failures(error).items())}
    first = {rank: line for rank, line in told.items() if not re.search("gloo|nccl|connection", line, re.IGNORECASE)}
    for rank, line in (first or told).items():
        return f"rank {rank}: {line}"
    return _last_line(error)


def _last_line(error: BaseException) -> str:
    """The line of an exception's text that says what happened, below any traceback in it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
