"""A training whose ranks are on nodes of their own: one node is lost, another comes. On addresses of this machine, so
without root; tests/multinode has real networks.
"""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cyclegan_dist.config import Config, dump_config
from cyclegan_dist.drill.measure import compare, read_steps
from cyclegan_dist.drill.plan import write_plan
from tests.training import go_on, records

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray's, of processes that it ends
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
]

NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without room for ranks. Not on 127.0.0.1, which Ray takes for another name of the machine's own address. What
    it and its clients need is in the environment.
    """
    temporary = tempfile.mkdtemp(prefix="cgdn", dir="/tmp")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "token")
        environment.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        environment.setenv("RAY_health_check_initial_delay_ms", "500")
        environment.setenv("RAY_health_check_period_ms", "500")
        from ray.cluster_utils import Cluster

        Path("/tmp/ray").mkdir(exist_ok=True)  # where `Cluster` notes its address
        head = {**NODE, "num_cpus": 0, "node_ip_address": "127.0.0.2", "temp_dir": temporary}
        cluster = Cluster(initialize_head=True, head_node_args={**head, "include_dashboard": False})
        try:
            yield cluster
        finally:
            cluster.shutdown()
            shutil.rmtree(temporary, ignore_errors=True)


def start(config: Config, address: str) -> "subprocess.Popen[str]":
    path = config.run_dir.parent / f"{config.name}.yaml"
    path.write_text(dump_config(config))
    command = [sys.executable, "-m", "cyclegan_dist.train", str(path)]
    environment = os.environ | {"RAY_ADDRESS": address, "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for_step(config: Config, step: int, process: "subprocess.Popen[str]") -> None:
    limit = time.monotonic() + 120
    while not any(done["step"] >= step for done in read_steps(config.run_dir)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit, f"step {step} was not reached"
        time.sleep(0.05)


def test_a_node_is_lost_and_another_takes_its_place(tiny_run: Callable[..., Config], cluster: Any) -> None:
    options = {"schedule__n_epochs": 16, "every__checkpoint": 20, "every__log": 2, "world__num_workers": 2}
    config, whole = (tiny_run(name=name, **options) for name in ("moved", "whole"))
    cluster.add_node(node_ip_address="127.0.0.3", **NODE)
    lost = cluster.add_node(node_ip_address="127.0.0.4", **NODE)
    write_plan(config.run_dir, [])  # nothing breaks by itself, but steps are noted
    process = start(config, cluster.address)
    go_on(2, whole)
    try:
        wait_for_step(config, 15, process)
        cluster.remove_node(lost, allow_graceful=False)
        cluster.add_node(node_ip_address="127.0.0.5", **NODE)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, err
    attempts = [record["world_size"] for record in records(config) if record["kind"] == "run"]
    assert attempts == [2, 2]  # each on two nodes, as none has room for two
    found = compare(config, whole)
    assert (found.equal, found.lost, found.doubled, found.points_missing, found.points_doubled) == (True, 0, 0, 0, 0)
