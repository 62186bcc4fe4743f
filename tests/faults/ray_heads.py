"""A Ray head as an administrator starts it, and helpers for processes and ports."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

START_S = 60.0
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Head:
    """A running head.

    Attributes:
        process: the `ray start` process.
        url: URL of its dashboard and job server.
        environment: environment of its clients, with the token and RAY_ADDRESS.
        temporary: folder with its sessions and logs.
    """

    process: "subprocess.Popen[bytes]"
    url: str
    environment: dict[str, str]
    temporary: Path


@contextmanager
def ray_head(home: Path, variables: dict[str, str] | None = None) -> Iterator[Head]:
    """`ray start --head` on 127.0.0.1 with token authentication and two CPUs, while the block lasts.

    Args:
        home: the head's home folder.
        variables: additional environment variables of the head and its clients.
    """
    home.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix="cgdhead", dir="/tmp"))  # short, because it contains sockets
    port, dashboard = free_port(), free_port()
    url = f"http://127.0.0.1:{dashboard}"
    environment = os.environ | {
        "HOME": str(home),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_API_SERVER_ADDRESS": url,
        "RAY_USAGE_STATS_ENABLED": "0",
        **(variables or {}),
    }
    command = [str(BIN / "ray"), "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}"]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", "--num-cpus=2"]
    command += [f"--temp-dir={temporary}", "--object-store-memory=100000000"]
    with (home / "head.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: _answers(f"{url}/api/version"), START_S)
        yield Head(process, url, {**environment, "RAY_ADDRESS": f"127.0.0.1:{port}"}, temporary)
    finally:
        end(process)
        shutil.rmtree(temporary, ignore_errors=True)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and its descendants."""
    for member in process_tree(process.pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def process_tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants."""
    try:
        first = psutil.Process(pid)
        return [*first.children(recursive=True), first]
    except psutil.NoSuchProcess:
        return []


def wait_until(holds: Callable[[], object], timeout_s: float) -> None:
    """Wait until `holds` returns something true.

    Raises:
        TimeoutError: if that takes too long.
    """
    limit = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > limit:
            raise TimeoutError(f"the condition did not hold within {timeout_s:g} s")
        time.sleep(0.3)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code in (200, 401, 403)
    except requests.ConnectionError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
