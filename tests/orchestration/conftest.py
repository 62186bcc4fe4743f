"""A Ray cluster of one node, for all tests of this folder."""

import contextlib
import dataclasses
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

BIN = Path(sys.executable).parent


@dataclasses.dataclass(frozen=True)
class Head:
    """A Ray head node of the tests in this folder, and the environment of its clients."""

    process: "subprocess.Popen[bytes]"
    environment: dict[str, str]
    address: str
    dashboard: str

    @property
    def client(self) -> dict[str, str]:
        """The environment of who uses it."""
        return {**self.environment, "RAY_ADDRESS": self.address}

    def ranks(self) -> list[psutil.Process]:
        """The processes of Ray Train's workers."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        return [p for p in family if "TrainWorker" in " ".join(p.cmdline())]


@pytest.fixture(scope="package")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head as an administrator starts it: token authentication, loopback, the virtual environment first on PATH."""
    temporary = tempfile.mkdtemp(prefix="cgdhead", dir="/tmp")
    home, (port, dashboard_port, agent_port) = tmp_path_factory.mktemp("home"), free_ports(3)
    dashboard = f"http://127.0.0.1:{dashboard_port}"
    environment = os.environ | {
        "HOME": str(home),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_API_SERVER_ADDRESS": dashboard,
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }
    command = [str(BIN / "ray"), "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}"]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard_port}", "--num-cpus=2"]
    # The agent's default port is one for all clusters of a machine; without its agent, a head accepts no jobs.
    command += [f"--dashboard-agent-listen-port={agent_port}", f"--temp-dir={temporary}"]
    with (home / "head.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        limit = time.monotonic() + 60
        while time.monotonic() < limit and not _is_up(f"{dashboard}/api/version"):
            time.sleep(0.5)
        yield Head(process, environment, f"127.0.0.1:{port}", dashboard)
    finally:
        for member in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()
        shutil.rmtree(temporary, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on; other processes of this machine may run the same tests."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _is_up(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code in (200, 401, 403)
    except requests.ConnectionError:
        return False
