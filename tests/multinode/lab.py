"""A Ray cluster with a head, a node for job drivers, workers, and a client that submits jobs."""

import contextlib
import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import requests

from tests.multinode.network import Network

BIN, ROOT = Path(sys.executable).parent, Path(__file__).parents[2]
PORT, DASHBOARD = 6379, 8265
HEAD, DRIVER, CLIENT = "head", "driver", "client"
# Health checks that detect a dead node in 5 to 10 seconds, and reconnection of nodes to their head.
HEAD_SETTINGS = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
NODE_SETTINGS = {
    "RAY_grpc_client_keepalive_time_ms": "10000",
    "RAY_grpc_client_keepalive_timeout_ms": "5000",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "60",
    "RAY_JOB_STOP_WAIT_TIME_S": "60",  # read on the node where a job's driver runs
}
READY_S = 240.0


@dataclass(frozen=True)
class Job:
    """A submitted job."""

    lab: "Lab"
    id: str

    def facts(self) -> dict[str, Any]:
        return self.lab.ask(f"/api/jobs/{self.id}")

    @property
    def status(self) -> str:
        """PENDING, RUNNING, SUCCEEDED, STOPPED or FAILED."""
        return self.facts()["status"]

    def logs(self) -> str:
        """Output of the job so far."""
        return self.lab.ask(f"/api/jobs/{self.id}/logs")["logs"]

    def ended(self, timeout_s: float = 120.0) -> str:
        """Wait for the end, and return the status."""
        return wait_for(lambda: s if (s := self.status) not in ("PENDING", "RUNNING") else "", timeout_s, self.logs)


class Lab:
    """The cluster, as a context manager that stops everything at its end.

    Attributes:
        workers: names of all worker machines, on or off.
        network: network between the machines, to inject faults.

    Args:
        folder: an existing folder for logs and files that all machines share.
        workers: number of machines for ranks.
        spare: number of further worker machines, which are off at first.
        cpus: number of ranks that a worker machine can have.
        head_settings: additional environment variables of the head.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 3,
        spare: int = 0,
        cpus: int = 1,
        head_settings: Mapping[str, str] | None = None,
    ):
        self.folder, self._cpus = folder, cpus
        names = tuple(f"worker{number}" for number in range(1, workers + spare + 1))
        self.workers, self._first = names, names[:workers]
        self.network = Network((HEAD, DRIVER, CLIENT, *names), folder)
        self._token = secrets.token_hex(32)
        self._head_settings = {**HEAD_SETTINGS, **(head_settings or {})}
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> "Lab":
        with contextlib.ExitStack() as stack:
            stack.callback(self._reap)
            stack.enter_context(self.network)
            self.start(HEAD)
            wait_for(self.alive, READY_S, (self.folder / "head.log").read_text)
            for machine in (DRIVER, *self._first):
                self.start(machine)
            wait_for(lambda: len(self.alive()) == 2 + len(self._first), READY_S, self.alive)
            self._resources = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._resources.close()

    def _reap(self) -> None:
        for process in self._started.values():
            process.wait()  # the process ends with the network

    def environment(self, machine: str) -> dict[str, str]:
        """Environment of the processes on a machine, without variables of this process."""
        home = self.folder / machine
        home.mkdir(exist_ok=True)
        return {
            "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),  # also where another copy of the package is installed
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self._token,
            "RAY_USAGE_STATS_ENABLED": "0",
            "GLOO_SOCKET_IFNAME": "eth0",
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            **NODE_SETTINGS,
            **(self._head_settings if machine == HEAD else {}),
        }

    def start(self, machine: str) -> None:
        """Switch a machine on and start its Ray node. Does not wait for the node; see `alive`."""
        command = [str(BIN / "ray"), "start", "--block", f"--node-ip-address={self.network.address(machine)}"]
        command += [f"--temp-dir=/run/{machine}", "--object-store-memory=80000000", "--num-gpus=0"]
        if machine == HEAD:
            command += ["--head", f"--port={PORT}", f"--dashboard-host={self.network.address(HEAD)}", "--num-cpus=0"]
        else:
            command += [
                f"--address={self.network.address(HEAD)}:{PORT}",
                f"--num-cpus={0 if machine == DRIVER else self._cpus}",
            ]
        if machine == DRIVER:
            command.append('--resources={"driver": 1000}')
        with (self.folder / f"{machine}.log").open("ab") as log:
            self._started[machine] = subprocess.Popen(
                self.network.command(machine, *command, switch_on=True),
                env=self.environment(machine),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self, machine: str, *, silently: bool = False) -> None:
        """Kill all processes of a machine at once, as a power failure does; see `Network.power_off`."""
        self.network.power_off(machine, silently=silently)
        self._started.pop(machine).wait()

    def processes(self, machine: str, name: str) -> list[psutil.Process]:
        """The processes of a machine with `name` in their command line."""
        found = []
        for process in self.network.processes(machine):
            with contextlib.suppress(psutil.NoSuchProcess):
                if name in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def kill_raylet(self, machine: str) -> None:
        """Kill only a machine's raylet."""
        for process in self.processes(machine, "/raylet/raylet "):
            process.send_signal(signal.SIGKILL)

    def memory(self) -> dict[str, float]:
        """Memory of each machine's processes in gigabytes (proportional set size)."""
        return {machine: sum(map(_pss, self.network.processes(machine))) / 1e9 for machine in self.network.machines}

    def alive(self) -> list[str]:
        """The machines that the head reports as alive."""
        try:
            nodes = self.ask("/api/v0/nodes?limit=100")["data"]["result"]["result"]
        except (requests.RequestException, KeyError):
            return []
        addresses = {node["node_ip"] for node in nodes if node["state"] == "ALIVE"}
        return [machine for machine in self.network.machines if self.network.address(machine) in addresses]

    @property
    def url(self) -> str:
        """URL of the dashboard and the job API; reachable from the machines only."""
        return f"http://{self.network.address(HEAD)}:{DASHBOARD}"

    def ask(self, path: str, **request: Any) -> Any:
        """Request `path` from the head's web server with the token, and return the JSON response."""
        headers = {"Authorization": f"Bearer {self._token}"}
        with self.network.inside(CLIENT):
            answer = requests.get(f"{self.url}{path}", headers=headers, timeout=10, **request)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: Any, token: str = "") -> int:
        """Post to the head's web server with any token or none, and return the HTTP status."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with self.network.inside(CLIENT):
            return requests.post(f"{self.url}{path}", json=body, headers=headers, timeout=10).status_code

    def client(self, *command: str, timeout_s: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """Run a command on the client, with the head's address and the token."""
        environment = self.environment(CLIENT) | {"RAY_API_SERVER_ADDRESS": self.url}
        whole = self.network.command(CLIENT, *command)
        return subprocess.run(whole, env=environment, capture_output=True, text=True, timeout=timeout_s)

    def submit(self, *command: str, settings: Mapping[str, str] | None = None) -> Job:
        """Submit a job from the client; its driver runs on the driver machine."""
        name = f"job-{secrets.token_hex(4)}"
        runtime = json.dumps({"env_vars": {"CYCLEGAN_DIST_HOME": str(self.folder), **(settings or {})}})
        options = [f"--submission-id={name}", "--no-wait", '--entrypoint-resources={"driver": 1}']
        submit = [str(BIN / "ray"), "job", "submit", *options, f"--runtime-env-json={runtime}", "--", *command]
        done = self.client(*submit)
        assert done.returncode == 0, done.stdout + done.stderr
        return Job(self, name)

    def stop(self, job: Job) -> None:
        """Run `ray job stop`."""
        done = self.client(str(BIN / "ray"), "job", "stop", "--no-wait", job.id)
        assert done.returncode == 0, done.stdout + done.stderr


T = TypeVar("T")


def wait_for(poll: Callable[[], T], timeout_s: float, explain: Callable[[], object] = str) -> T:
    """Poll until the result is true, and return it.

    Raises:
        TimeoutError: with the result of `explain`, if that takes too long.
    """
    limit = time.monotonic() + timeout_s
    while time.monotonic() < limit:
        if found := poll():
            return found
        time.sleep(0.1)
    raise TimeoutError(f"not within {timeout_s:g} s: {explain()}")


def _pss(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except psutil.Error:
        return 0
