"""F1, F2, F6: who may run something on a cluster, what listens to whom, and who may read the token."""

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
from tests.faults.heads import BIN, Head, end, family, ray_head, wait_until
from tests.faults.matrix import Measured, Stage, row
from tests.service.running import make_snapshot

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0
JOBS, AGENTS_JOBS = "/api/jobs/", "/api/job_agent/jobs/"  # of the head's dashboard, of every node's agent
STARTS_RAY = re.compile(r"\bray start\b|ray symmetric-run|^kind: Ray(Cluster|Job|Service)$", re.MULTILINE)
TOKEN_MODE = re.compile(r"RAY_AUTH_MODE(=|: )token|authOptions: *{? *\n? *mode: token")


@dataclass(frozen=True)
class Listener:
    """A process that listens to TCP."""

    host: str
    port: int
    command: str

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        address = ipaddress.ip_address(self.host)
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def listeners(pid: int) -> list[Listener]:
    """Those of a process and of all that it has started."""
    found = []
    for member in family(pid):
        try:
            command = " ".join(member.cmdline())
            connections = member.net_connections("tcp")
        except psutil.NoSuchProcess:
            continue
        found += [Listener(c.laddr.ip, c.laddr.port, command) for c in connections if c.status == psutil.CONN_LISTEN]
    return found


@contextmanager
def own_training(stage: Stage, name: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A training of two ranks on a cluster that it has started itself, in the middle of it."""
    config = stage.run(name=name, schedule__n_epochs=5000, world__num_workers=2, every__checkpoint=0)
    command = [sys.executable, "-m", "cyclegan_dist.train", str(config.run_dir / "config.yaml")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_A")} | {"HOME": str(stage.folder)}
    with (stage.folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        journal = config.run_dir / JOURNAL
        wait_until(lambda: journal.exists() and b'"metrics"' in journal.read_bytes(), PATIENCE_S)
        yield process
    finally:
        end(process)


@row(
    "F1",
    "a command is posted to the job server of a cluster by who has no token",
    "nothing is run, nor by the agent of a training's own cluster; every file that starts a cluster sets token mode",
    nightly=True,
)
def open_job_server(stage: Stage) -> Measured:
    ran = stage.folder / "ran"
    ran.mkdir()
    with ray_head(stage.folder / "home") as head:
        answers = [_post(head.url, ran / f"head{i}", token) for i, token in enumerate(("", "wrong", " "))]
        allowed = _with_token(head, ran / "allowed")
    with own_training(stage, "own") as process:
        found = listeners(process.pid)
        own = [_answer(one.port, path, ran / f"own{one.port}") for one in found for path in (JOBS, AGENTS_JOBS)]
        time.sleep(3)  # a job that was taken would have been started by now
    strangers = [path for path in ran.iterdir() if path.name != "allowed"]
    files = [path for path in (ROOT / "cluster").rglob("*") if path.is_file() and path.suffix != ".md"]
    starting = [text for text in (path.read_text() for path in files) if STARTS_RAY.search(text)]
    safe = sum(bool(TOKEN_MODE.search(text)) for text in starting)
    return Measured(
        f"without the token: {len(answers)} commands answered {sorted(set(answers))}, run {len(strangers)}; with it run: "
        f"{allowed}; {len(found)} ports of a training's own cluster answered {sorted(set(own))}; files of cluster/ that "
        f"start Ray and set token mode {safe} of {len(starting)}",
        # 401: the agent has the path and asks for the token. 405: a page of figures that takes no POST. 0: no HTTP.
        not strangers
        and set(answers) <= {401, 403}
        and allowed
        and {401} <= set(own) <= {0, 401, 403, 404, 405}
        and safe == len(starting) > 0,
    )


def _post(url: str, mark: Path, token: str, timeout_s: float = 20, path: str = JOBS) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.post(
        f"{url}{path}", json={"entrypoint": f"touch {mark}"}, headers=headers, timeout=timeout_s
    ).status_code


def _with_token(head: Head, mark: Path) -> bool:
    assert _post(head.url, mark, head.environment["RAY_AUTH_TOKEN"]) == 200
    wait_until(mark.exists, PATIENCE_S)
    return True


def _answer(port: int, path: str, mark: Path) -> int:
    """HTTP's status; 0 from what speaks no HTTP, which ends the connection or waits for more."""
    try:
        return _post(f"http://127.0.0.1:{port}", mark, "", 3, path)
    except (requests.ConnectionError, requests.ReadTimeout):
        return 0


@row(
    "F2",
    "someone on the network looks for open ports of a training and of a service",
    "all is on 127.0.0.1 alone but what torch and Ray Serve do not let be: the ranks' store, a door of each replica's",
    nightly=True,
)
def open_ports(stage: Stage) -> Measured:
    with own_training(stage, "ports") as process:
        training = listeners(process.pid)
    serving = _serving(stage)
    with ray_head(stage.folder / "home") as head:
        wait_until(lambda: len(listeners(head.process.pid)) > 8, PATIENCE_S)
        administrator = listeners(head.process.pid)
    outside = [one for one in (*training, *serving) if not one.is_local]
    store = [one for one in outside if "TrainWorker" in one.command]  # torch's TCPStore takes no address to listen on
    door = [one for one in outside if "ServeReplica" in one.command]  # nor does a replica's gRPC; it asks for the token
    strange = sorted({one.command[:60] for one in outside if one not in (*store, *door)})
    theirs = sum(not one.is_local for one in administrator)
    return Measured(
        f"{len(training)} listeners of a training, {len(serving)} of a service: reached from elsewhere the store of torch's "
        f"ranks ({len(store)}), a door of the replica ({len(door)}), others {strange or 0}; of a head started with "
        f"--node-ip-address=127.0.0.1 --dashboard-host=127.0.0.1 {theirs} of {len(administrator)}",
        min(len(training), len(serving)) > 8 and not strange and len(store) <= 1 and len(door) <= 1,
    )


def _serving(stage: Stage) -> list[Listener]:
    """The listeners of `pipelines.serve`."""
    command = [sys.executable, "-m", "pipelines.serve", str(make_snapshot(stage.folder / "tiny")), "--port", "0"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_A")} | {"HOME": str(stage.folder)}
    log = stage.folder / "serve.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file)
    try:
        wait_until(lambda: "serving " in log.read_text(), PATIENCE_S)
        return listeners(process.pid)
    finally:
        end(process)


@row("F6", "a token lies in a file", "none that we write, or let Ray write, can be read by others", nightly=True)
def token_files(stage: Stage) -> Measured:
    home = stage.folder / "home"
    with own_training(stage, "tokens"):
        token = _token_of_a_rank(stage.folder)
        files = [path for path in stage.folder.rglob("*") if path.is_file()]
        files += [path for top in Path("/tmp").glob("cgd*") for path in top.rglob("*") if path.is_file()]
        holding = [path for path in files if _holds(path, token)]
    ours = [path for path in holding if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    command = [str(BIN / "ray"), "get-auth-token", "--generate"]
    subprocess.run(command, env=os.environ | {"HOME": str(home)}, capture_output=True, check=True)
    theirs = (home / ".ray" / "auth_token").stat().st_mode & 0o777
    scripts = [path for path in (ROOT / "cluster").rglob("*") if path.is_file() and path.suffix != ".md"]
    making = [t for t in (p.read_text() for p in scripts) if re.search(r"rand -hex|token_hex|get-auth-token", t)]
    masked = sum("umask 077" in text or "chmod 600" in text for text in making)
    return Measured(
        f"a training on its own cluster: files with the token {len(holding)}, readable by others {len(ours)} (Ray's own "
        f"`get-auth-token --generate` writes {theirs:o}); files of cluster/ that make a token under umask 077 {masked} "
        f"of {len(making)}",
        not ours and masked == len(making),
    )


def _token_of_a_rank(folder: Path) -> str:
    """The token that the ranks of the training whose home is `folder` have."""
    for process in psutil.process_iter(["cmdline"]):
        if "TrainWorker" in " ".join(process.info["cmdline"] or []):
            environment = process.environ()
            if environment.get("HOME") == str(folder):
                return environment["RAY_AUTH_TOKEN"]
    raise AssertionError("no rank is there")


def _holds(path: Path, token: str) -> bool:
    try:
        return token.encode() in path.read_bytes()
    except OSError:  # gone meanwhile
        return False
