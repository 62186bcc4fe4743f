"""The doctor on a real cluster of two nodes on this machine, each with an address of its own."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.doctor.checks import Target, run_checks
from cyclegan_dist.operations.doctor.nodes import call_all
from cyclegan_dist.operations.doctor.report import Report

pytestmark = [
    pytest.mark.ray,
    pytest.mark.multinode,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray's, of processes that it ends
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
]
CHECKS = ("job API", "network, gloo", "runs folder", "open ports", "versions", "job stop")


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """The cluster of RAY_ADDRESS. Importing `orchestration` has put a token into the environment."""
    from cyclegan_dist.orchestration.probing import joined  # isort: skip
    from ray.cluster_utils import Cluster  # isort: skip

    temporary = tempfile.mkdtemp(prefix="cgdd", dir="/tmp")
    Path("/tmp/ray").mkdir(exist_ok=True)  # where `Cluster` notes its address
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("RAY_API_SERVER_ADDRESS", raising=False)
        memory: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20}
        head = {"node_ip_address": "127.0.0.2", "dashboard_host": "127.0.0.1", "dashboard_port": 8297, **memory}
        cluster = Cluster(
            initialize_head=True, head_node_args={**head, "include_dashboard": True, "temp_dir": temporary}
        )
        try:
            cluster.add_node(node_ip_address="127.0.0.3", **memory)
            environment.setenv("RAY_ADDRESS", cluster.address)
            with joined(Report()) as found:
                yield found
        finally:
            cluster.shutdown()
            shutil.rmtree(temporary, ignore_errors=True)


def test_a_node_is_a_row_and_the_head_is_known(target: Target) -> None:
    assert [(n.name, n.address, n.is_head, n.cpus, n.gpus) for n in target.fleet.nodes] == [
        ("127.0.0.2", "127.0.0.2", True, 1, 0),
        ("127.0.0.3", "127.0.0.3", False, 1, 0),
    ]


def test_functions_are_called_in_a_process_of_each_node(target: Target) -> None:
    pids = call_all(target.fleet, os.getpid)
    assert len({*pids.values(), os.getpid()}) == 3
    assert call_all(target.fleet, os.getpid) == pids  # the same ones: the libraries are loaded once


def test_nothing_but_the_missing_data_set_is_red(target: Target) -> None:
    report = Report()
    run_checks(target, Config(), report, network=True, timeout_s=20)
    found = {check: " ".join(f.found for f in report.findings if f.check == check) for check in CHECKS}
    assert {f.check for f in report.findings if f.level == "red"} == {"data set"}, report.findings
    assert "http://127.0.0.1:8297 refuses requests without a token (401) and with a wrong one (403)" in found["job API"]
    assert found["network, gloo"].startswith("2 nodes: ")
    assert "2 nodes write and read each other's files" in found["runs folder"]
    assert "a token is required" in found["open ports"] and "the same on 2 nodes" in found["versions"]
    assert "3 s between ray job stop" in found["job stop"]


def test_exceptions_of_a_node_are_returned(target: Target) -> None:
    for answer in call_all(target.fleet, os.stat, "/not/there").values():
        assert isinstance(answer, FileNotFoundError)


def test_a_process_that_dies_or_hangs_is_reported_and_replaced(target: Target) -> None:
    import time

    names = [node.name for node in target.fleet.nodes]
    answers = target.fleet.call({names[0]: (os.abort, ()), names[1]: (time.sleep, (60,))}, 3)
    assert isinstance(answers[names[0]], RuntimeError)
    assert isinstance(answers[names[1]], TimeoutError) and "3 s" in str(answers[names[1]])
    assert all(isinstance(pid, int) for pid in call_all(target.fleet, os.getpid).values())


def test_a_cluster_that_is_not_there_is_found_in_seconds() -> None:
    from cyclegan_dist.orchestration.probing import join

    with pytest.raises(ConnectionRefusedError):
        join("127.0.0.1:9")
