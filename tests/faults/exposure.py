"""Drills F1, F2 and F6: network exposure of clusters, trainings and services, and permissions of token files."""

import ipaddress
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from cyclegan_dist.tracking.journal import JOURNAL
from tests.faults.matrix import Measured, Stage, row
from tests.faults.ray_heads import BIN, Head, end, process_tree, ray_head, wait_until
from tests.service.running import make_snapshot

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120.0
JOBS, AGENTS_JOBS = "/api/jobs/", "/api/job_agent/jobs/"  # paths of the head's dashboard and of each node's agent
STARTS_RAY = re.compile(r"\bray start\b|ray symmetric-run|^kind: Ray(Cluster|Job|Service)$", re.MULTILINE)
TOKEN_MODE = re.compile(r"RAY_AUTH_MODE(=|: )token|authOptions: *{? *\n? *mode: token")


@dataclass(frozen=True)
class Listener:
    """A listening TCP port, and the command line of the process that opened it."""

    host: str
    port: int
    command: str

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        address = ipaddress.ip_address(self.host)
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def listeners(pid: int) -> list[Listener]:
    """The listeners of a process and its descendants."""
    found = []
    for member in process_tree(pid):
        try:
            command = " ".join(member.cmdline())
            connections = member.net_connections("tcp")
        except psutil.NoSuchProcess:
            continue
        found += [Listener(c.laddr.ip, c.laddr.port, command) for c in connections if c.status == psutil.CONN_LISTEN]
    return found


@contextmanager
def own_training(stage: Stage, name: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A running training of two ranks on the cluster that it has started itself."""
    config = stage.run(name=name, schedule__n_epochs=5000, world__num_workers=2, every__checkpoint=0)
    process = _start(stage, name, "cyclegan_dist.train", str(config.run_dir / "config.yaml"))
    try:
        journal = config.run_dir / JOURNAL
        wait_until(lambda: journal.exists() and b'"metrics"' in journal.read_bytes(), TIMEOUT_S)
        yield process
    finally:
        end(process)


def _start(stage: Stage, name: str, module: str, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start `python -m` without Ray's address and token in the environment; output goes to NAME.log."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_A")} | {"HOME": str(stage.folder)}
    with (stage.folder / f"{name}.log").open("w") as log:
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)


@row(
    "F1",
    "a command is sent to the job server of a cluster without a token",
    "it is not run, nor by the agents of a training's own cluster; every file that starts a cluster sets token mode",
    nightly=True,
)
def open_job_server(stage: Stage) -> Measured:
    ran = stage.folder / "ran"
    ran.mkdir()
    with ray_head(stage.folder / "home") as head:
        statuses = [_post(head.url, ran / f"head{i}", token) for i, token in enumerate(("", "wrong", " "))]
        allowed = _runs_with_token(head, ran / "allowed")
    with own_training(stage, "own") as process:
        found = listeners(process.pid)
        own = [_status(one.port, path, ran / f"own{one.port}") for one in found for path in (JOBS, AGENTS_JOBS)]
        time.sleep(3)  # an accepted job would have started by then
    unauthorised = [path for path in ran.iterdir() if path.name != "allowed"]
    files = [path for path in (ROOT / "cluster").rglob("*") if path.is_file() and path.suffix != ".md"]
    starting = [text for text in (path.read_text() for path in files) if STARTS_RAY.search(text)]
    safe = sum(bool(TOKEN_MODE.search(text)) for text in starting)
    return Measured(
        f"without the token: {len(statuses)} commands answered with {sorted(set(statuses))}, run {len(unauthorised)}; with "
        f"the token run: {allowed}; {len(found)} ports of a training's own cluster answered with {sorted(set(own))}; files "
        f"in cluster/ that start Ray and set token mode {safe} of {len(starting)}",
        # 401: the agent has the path and requires the token. 405: a metrics page without POST. 0: no HTTP.
        not unauthorised
        and set(statuses) <= {401, 403}
        and allowed
        and {401} <= set(own) <= {0, 401, 403, 404, 405}
        and safe == len(starting) > 0,
    )


def _post(url: str, mark: Path, token: str, timeout_s: float = 20, path: str = JOBS) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.post(
        f"{url}{path}", json={"entrypoint": f"touch {mark}"}, headers=headers, timeout=timeout_s
    ).status_code


def _runs_with_token(head: Head, mark: Path) -> bool:
    assert _post(head.url, mark, head.environment["RAY_AUTH_TOKEN"]) == 200
    wait_until(mark.exists, TIMEOUT_S)
    return True


def _status(port: int, path: str, mark: Path) -> int:
    """The HTTP status; 0 if the port does not speak HTTP and closes the connection or waits."""
    try:
        return _post(f"http://127.0.0.1:{port}", mark, "", 3, path)
    except (requests.ConnectionError, requests.ReadTimeout):
        return 0


@row(
    "F2",
    "a scan for open ports of a training and of a service",
    "all listen on 127.0.0.1, except the ranks' store and a gRPC port of each replica: torch and Ray Serve have no option",
    nightly=True,
)
def open_ports(stage: Stage) -> Measured:
    with own_training(stage, "ports") as process:
        training = listeners(process.pid)
    serving = _serving(stage)
    with ray_head(stage.folder / "home") as head:
        wait_until(lambda: len(listeners(head.process.pid)) > 8, TIMEOUT_S)
        administrator = listeners(head.process.pid)
    outside = [one for one in (*training, *serving) if not one.is_local]
    store = [one for one in outside if "TrainWorker" in one.command]  # torch's TCPStore has no option for its address
    replica = [one for one in outside if "ServeReplica" in one.command]  # nor has its gRPC port, which needs the token
    others = sorted({one.command[:60] for one in outside if one not in (*store, *replica)})
    open_of_head = sum(not one.is_local for one in administrator)
    return Measured(
        f"{len(training)} listeners of a training, {len(serving)} of a service: reachable from other machines: the store "
        f"of torch's ranks ({len(store)}), the replica's gRPC port ({len(replica)}), others {others or 0}; of a head "
        f"started with --node-ip-address=127.0.0.1 --dashboard-host=127.0.0.1 {open_of_head} of {len(administrator)}",
        min(len(training), len(serving)) > 8 and not others and len(store) <= 1 and len(replica) <= 1,
    )


def _serving(stage: Stage) -> list[Listener]:
    """The listeners of `pipelines.serve`."""
    process = _start(stage, "serve", "pipelines.serve", str(make_snapshot(stage.folder / "tiny")), "--port", "0")
    try:
        wait_until(lambda: "serving " in (stage.folder / "serve.log").read_text(), TIMEOUT_S)
        return listeners(process.pid)
    finally:
        end(process)


@row(
    "F6",
    "a token is stored in a file",
    "no file with a token that this project or its Ray processes write is readable by others",
    nightly=True,
)
def token_files(stage: Stage) -> Measured:
    home = stage.folder / "home"
    with own_training(stage, "tokens"):
        token = _token_of_a_rank(stage.folder)
        files = [path for path in stage.folder.rglob("*") if path.is_file()]
        files += [path for top in Path("/tmp").glob("cgd*") for path in top.rglob("*") if path.is_file()]
        with_token = [path for path in files if _contains(path, token)]
    readable = [path for path in with_token if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    command = [str(BIN / "ray"), "get-auth-token", "--generate"]
    subprocess.run(command, env=os.environ | {"HOME": str(home)}, capture_output=True, check=True)
    mode_of_ray = (home / ".ray" / "auth_token").stat().st_mode & 0o777
    scripts = [path for path in (ROOT / "cluster").rglob("*") if path.is_file() and path.suffix != ".md"]
    making = [t for t in (p.read_text() for p in scripts) if re.search(r"rand -hex|token_hex|get-auth-token", t)]
    masked = sum("umask 077" in text or "chmod 600" in text for text in making)
    return Measured(
        f"a training on its own cluster: files with the token {len(with_token)}, readable by others {len(readable)} (Ray's "
        f"own `get-auth-token --generate` writes mode {mode_of_ray:o}); files in cluster/ that create a token with umask "
        f"077 {masked} of {len(making)}",
        not readable and masked == len(making),
    )


def _token_of_a_rank(folder: Path) -> str:
    """The token in the environment of the ranks whose home is `folder`."""
    for process in psutil.process_iter(["cmdline"]):
        if "TrainWorker" in " ".join(process.info["cmdline"] or []):
            environment = process.environ()
            if environment.get("HOME") == str(folder):
                return environment["RAY_AUTH_TOKEN"]
    raise AssertionError("no rank found")


def _contains(path: Path, token: str) -> bool:
    try:
        return token.encode() in path.read_bytes()
    except OSError:  # removed meanwhile
        return False
