"""The Ray cluster: joining or starting one, what it has room for, and how a stop reaches what runs on it."""

import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import ray
import ray.exceptions

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.orchestration.job_api import refuse_open_job_api


@contextmanager
def cluster() -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS (set inside a Ray job), or start one for this block and end it with the block."""
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    with ExitStack() as stack:
        joined = bool(os.environ.get("RAY_ADDRESS"))
        if not joined:
            settings |= _own_cluster(stack)
        stack.callback(ray.shutdown)
        try:
            context = ray.init(**settings)
        except (RuntimeError, ConnectionError, ValueError, ray.exceptions.RayError) as error:
            where = os.environ.get("RAY_ADDRESS", "of this machine's own")
            raise UsageError(f"no Ray cluster {where}: {last_line(error)}") from error
        if joined:
            refuse_open_job_api(context.dashboard_url or "")
        yield


def _own_cluster(stack: ExitStack) -> dict[str, Any]:
    """How to start one that only this machine reaches; what it needs ends with `stack`."""
    temporary = tempfile.mkdtemp(prefix="cgd", dir="/tmp")  # short: Unix socket paths end at 107 bytes
    stack.callback(shutil.rmtree, temporary, ignore_errors=True)
    # No dashboard: it takes seconds to start, and memory, and none could open it. Ray Train asks a dashboard, and tells
    # it the token, whether its controller lives. So that it asks no one else's, a door that is ours and stays closed:
    # bound, nobody else can listen there; not listening, it refuses, and Ray Train does without an answer.
    door = stack.enter_context(socket.socket())
    door.bind(("127.0.0.1", 0))
    os.environ["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{door.getsockname()[1]}"
    settings = {"address": "local", "_node_ip_address": "127.0.0.1", "_temp_dir": temporary}
    return {**settings, "include_dashboard": False}


def room_for(config: Config) -> tuple[int, bool]:
    """How many ranks the cluster has room for, and whether each gets a GPU."""
    resources = ray.cluster_resources()
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    use_gpu = config.world.device == "cuda" or (config.world.device == "auto" and gpus > 0)
    return (gpus if use_gpu else cpus), use_gpu


@contextmanager
def stop_signals(ask: Callable[[], None]) -> Iterator[list[int]]:
    """SIGTERM or SIGINT calls `ask`, which lets the ranks stop at the next step; a second one ends this process at
    once. The list holds the signal, or 0. Enter it after Ray has started, which installs its own handler for SIGTERM.
    """
    seen = [0]

    def on_signal(number: int, frame: FrameType | None) -> None:
        if seen[0]:
            os._exit(128 + number)
        seen[0] = number
        ask()
        print("stopping after this step, with a checkpoint; once more to stop at once", file=sys.stderr)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def in_thread(work: Callable[[], Any]) -> Any:
    """Run `work` in a thread: in the main thread Ray Train and Tune would take SIGINT for themselves and end without a
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


def last_line(error: BaseException) -> str:
    """The line of an exception's text that says what happened, below any traceback in it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
