"""The Ray cluster: joining or starting one, its capacity, and stop signals."""

import functools
import importlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import ray
import ray.exceptions
from ray._private import services

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.stop_signals import NEVER_AT_ONCE, handle_stop_signals
from cyclegan_dist.errors import UsageError
from cyclegan_dist.orchestration.job_api import refuse_open_job_api

CHECK_CLUSTER = (
    "check that its head runs and can be reached from here, and that RAY_AUTH_MODE is token and RAY_AUTH_TOKEN_PATH "
    "the file of its token"
)


class RestartNeededError(Exception):
    """The launcher must restart, to continue from the last checkpoint; the message is the reason."""


class TakenOverError(UsageError):
    """Another launcher continues the run."""


@contextmanager
def cluster(meanwhile: str = "") -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS (set inside a Ray job), or start one for this block and end it with the block.

    Args:
        meanwhile: a module to load while Ray's processes start, which leaves this one waiting for seconds.
    """
    if meanwhile:
        threading.Thread(target=importlib.import_module, args=(meanwhile,), daemon=True).start()
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    with ExitStack() as stack:
        joined = bool(os.environ.get("RAY_ADDRESS"))
        if not joined:
            settings |= own_cluster(stack)
        stack.callback(ray.shutdown)
        try:
            context = ray.init(**settings)
        except Exception as error:  # Ray raises nearly anything: on a busy machine, when it starts, a plain Exception
            where = os.environ.get("RAY_ADDRESS", "on this machine")
            advice = f"; {CHECK_CLUSTER}" if joined else ""
            raise UsageError(f"no Ray cluster {where}: {last_line(error)}{advice}") from error
        if joined:
            refuse_open_job_api(context.dashboard_url or "")
        yield


def own_cluster(stack: ExitStack) -> dict[str, Any]:
    """Settings of a cluster that only this machine can reach; `stack` removes its resources."""
    temporary = tempfile.mkdtemp(prefix="cgd", dir="/tmp")  # short: Unix socket paths have at most 107 bytes
    stack.callback(shutil.rmtree, temporary, ignore_errors=True)
    # No dashboard: it takes seconds to start, and memory, and no one could open it. Ray Train sends the token to the
    # dashboard's address to ask whether its controller is alive. That port is bound, so that no other process can
    # receive the token, but not listening, so that it refuses connections, which Ray Train tolerates.
    closed = stack.enter_context(socket.socket())
    closed.bind(("127.0.0.1", 0))
    os.environ["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{closed.getsockname()[1]}"
    stack.enter_context(_own_process_groups())
    settings = {"address": "local", "_node_ip_address": "127.0.0.1", "_temp_dir": temporary}
    return {**settings, "include_dashboard": False}


@contextmanager
def _own_process_groups() -> Iterator[None]:
    """Start Ray's processes in process groups of their own. `timeout`, Slurm and a terminal that closes send a signal
    to the launcher's whole group, which would end them before the ranks have saved a checkpoint.
    """
    start = services.ConsolePopen  # a private class of Ray
    services.ConsolePopen = functools.partial(start, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = start


def room_for(config: Config) -> tuple[int, bool]:
    """The number of ranks that fit on the cluster's nodes with the run's labels, and whether each gets a GPU."""
    labels = config.world.label_selector.items()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and labels <= node["Labels"].items()]
    cpus, gpus = (sum(int(resources.get(name, 0)) for resources in nodes) for name in ("CPU", "GPU"))
    use_gpu = config.world.device == "cuda" or (config.world.device == "auto" and gpus > 0)
    return (gpus if use_gpu else cpus), use_gpu


@contextmanager
def stop_signals(request_stop: Callable[[], None]) -> Iterator[list[int]]:
    """Call `request_stop` on one of `STOP_SIGNALS`; a second SIGTERM or SIGINT ends this process at once. The list
    holds the signal, or 0. Enter it after Ray has started, which installs its own handler for SIGTERM.
    """
    seen = [0]

    def on_signal(number: int, frame: FrameType | None) -> None:
        if seen[0] and number in NEVER_AT_ONCE:
            return
        if seen[0]:
            os._exit(128 + number)
        seen[0] = number
        request_stop()
        print("stopping after this step, with a checkpoint; repeat to stop at once", file=sys.stderr)

    before = handle_stop_signals(on_signal)
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def in_thread(work: Callable[[], Any]) -> Any:
    """Run `work` in a thread. In the main thread Ray would handle SIGINT, and end without a checkpoint."""
    result: Future[Any] = Future()

    def call() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    while not result.done():
        wait([result], timeout=0.2)  # with a timeout, so that signal handlers run
    return result.result()


def last_line(error: BaseException) -> str:
    """The last line of an exception's text: the error, below any traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
