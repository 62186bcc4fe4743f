"""A training with its ranks on separate nodes: one node is lost, another joins. On addresses of this machine, so
without root; tests/multinode has real networks.
"""

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cyclegan_dist.config.config import Config, dump_config
from cyclegan_dist.operations.drill.measure import compare, read_steps
from cyclegan_dist.operations.drill.plan import write_plan
from tests.training.trainings import go_on, records

pytestmark = [pytest.mark.ray, pytest.mark.slow]
SETTINGS = {"RAY_AUTH_MODE": "token", "RAY_health_check_initial_delay_ms": "500", "RAY_health_check_period_ms": "500"}
SAVED = r"checkpoint of step (\d+) saved on request"
RANK = "ray::RayTrainWorker"


class Nodes:
    """A cluster whose nodes can be added and removed."""

    def __init__(self, process: "subprocess.Popen[str]", environment: dict[str, str]):
        self._process, self._environment = process, environment
        self.address = self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def tell(self, verb: str, address: str) -> None:
        """`add` or `remove` a node."""
        assert self._process.stdin is not None
        print(verb, address, file=self._process.stdin, flush=True)
        assert self._answer() == f"{verb} {address}"

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Ranks do not run meanwhile, so that however fast they are, they do not end before what is done here."""
        ranks = [one for one in psutil.Process(self._process.pid).children(recursive=True) if RANK in one.cmdline()[:1]]
        assert len(ranks) == 2
        for rank in ranks:
            rank.suspend()
        yield
        for rank in ranks:
            with contextlib.suppress(psutil.NoSuchProcess):
                rank.resume()

    @property
    def client(self) -> dict[str, str]:
        """The environment of who uses it."""
        return {**self._environment, "RAY_ADDRESS": self.address, "GLOO_SOCKET_IFNAME": "lo"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    """A head without room for ranks."""
    temporary = tempfile.mkdtemp(prefix="cgdn", dir="/tmp")
    Path("/tmp/ray").mkdir(exist_ok=True)  # where `Cluster` notes its address
    environment = os.environ | SETTINGS | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name in ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_API_SERVER_ADDRESS"):  # of a cluster of our own, earlier
        environment.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("cluster_process.py")), temporary],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Nodes(process, environment)
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=30)
        for member in [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []:
            member.kill()
        process.kill()
        process.wait()
        shutil.rmtree(temporary, ignore_errors=True)


def start(config: Config, cluster: Nodes) -> "subprocess.Popen[str]":
    path = config.run_dir.parent / f"{config.name}.yaml"
    path.write_text(dump_config(config))
    command = [sys.executable, "-m", "cyclegan_dist.train", str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=cluster.client)


def wait_for(seen: Callable[[], Any], process: "subprocess.Popen[str]") -> None:
    """Wait until it is true, while the training runs."""
    limit = time.monotonic() + 120
    while not seen():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.02)


def steps_said(config: Config, pattern: str) -> list[int]:
    """The numbers in the run's messages of a pattern."""
    texts = (record["text"] for record in records(config) if record["kind"] == "message")
    return [int(found[1]) for text in texts if (found := re.search(pattern, text))]


def test_a_run_continues_after_a_node_is_replaced(tiny_run: Callable[..., Config], cluster: Nodes) -> None:
    options = {"schedule__n_epochs": 24, "every__checkpoint": 64, "every__log": 2, "world__num_workers": 2}
    options["world__node_labels"] = ("pool=ranks",)
    config, whole = (tiny_run(name=name, **options) for name in ("moved", "whole"))
    cluster.tell("add", "127.0.0.3")
    cluster.tell("add", "127.0.0.4")
    write_plan(config.run_dir, [])  # nothing breaks by itself, but steps are noted
    process = start(config, cluster)
    go_on(2, whole)
    try:
        wait_for(lambda: len(read_steps(config.run_dir)) >= 15, process)
        with cluster.paused():
            cluster.tell("drain", "127.0.0.4")
            wait_for(lambda: config.run_dir.joinpath("SAVE").exists(), process)
        wait_for(lambda: steps_said(config, SAVED), process)
        with cluster.paused():
            cluster.tell("remove", "127.0.0.4")
        cluster.tell("add", "127.0.0.5")
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, err
    attempts = [record["world_size"] for record in records(config) if record["kind"] == "run"]
    assert attempts == [2, 2]  # each on two nodes, as none has room for two
    assert steps_said(config, r"resumed at step (\d+)")[0] >= steps_said(config, SAVED)[0] > 0
    found = compare(config, whole)
    assert (found.equal, found.lost, found.doubled, found.points_missing, found.points_doubled) == (True, 0, 0, 0, 0)
