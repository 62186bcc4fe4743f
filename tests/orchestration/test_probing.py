"""The doctor on a real cluster of two nodes, which have addresses of their own on this machine."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.doctor.examination import Target, checks
from cyclegan_dist.operations.doctor.findings import attempt, worst
from cyclegan_dist.operations.doctor.fleet import everywhere

pytestmark = [
    pytest.mark.ray,
    pytest.mark.multinode,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray's, of processes that it ends
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
]


@pytest.fixture(scope="module")
def patient() -> Iterator[Target]:
    """As `pipelines.doctor` has it: RAY_ADDRESS and a token are in the environment. Importing us has made the token."""
    from cyclegan_dist.orchestration.probing import patient as joined  # isort: skip
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
            with joined(Config()) as found:
                yield found
        finally:
            cluster.shutdown()
            shutil.rmtree(temporary, ignore_errors=True)


def test_a_node_is_a_row_and_the_head_is_known(patient: Target) -> None:
    assert [(n.name, n.address, n.is_head, n.cpus, n.gpus) for n in patient.fleet.nodes] == [
        ("127.0.0.2", "127.0.0.2", True, 1, 0),
        ("127.0.0.3", "127.0.0.3", False, 1, 0),
    ]


def test_questions_are_answered_by_a_process_of_each_node(patient: Target) -> None:
    pids = everywhere(patient.fleet, os.getpid)
    assert len({*pids.values(), os.getpid()}) == 3
    assert everywhere(patient.fleet, os.getpid) == pids  # the same ones: the libraries are loaded once


def test_the_cluster_is_fit(patient: Target) -> None:
    found = {name: attempt(name, look) for name, look in checks(patient, network=True, timeout_s=20)}
    said = {name: " ".join(f.found for f in findings) for name, findings in found.items()}
    assert worst(f for name, fs in found.items() if name != "data set" for f in fs) == "yellow", said
    assert "http://127.0.0.1:8297 refuses requests without a token (401) and with a wrong one (403)" in said["job API"]
    assert "1 of 1 pairs" in said["network"] and "all 2 nodes together" in said["network"]
    assert "2 nodes write and read each other's files" in said["runs folder"]
    assert "a token is asked for" in said["open ports"] and "alike on 2 nodes" in said["versions"]
    assert "3 s between ray job stop" in said["job stop"]


def test_what_a_node_raises_comes_back_as_it_is(patient: Target) -> None:
    for answer in everywhere(patient.fleet, os.stat, "/not/there").values():
        assert isinstance(answer, FileNotFoundError)


def test_a_process_that_dies_or_hangs_is_an_answer_and_the_next_question_finds_another(patient: Target) -> None:
    import time

    names = [node.name for node in patient.fleet.nodes]
    answers = patient.fleet.ask({names[0]: (os.abort, ()), names[1]: (time.sleep, (60,))}, 3)
    assert isinstance(answers[names[0]], RuntimeError)
    assert isinstance(answers[names[1]], TimeoutError) and "3 s" in str(answers[names[1]])
    assert all(isinstance(pid, int) for pid in everywhere(patient.fleet, os.getpid).values())


def test_a_cluster_that_is_not_there_is_found_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    from cyclegan_dist.orchestration.probing import _join

    with pytest.raises(ConnectionRefusedError):
        _join("127.0.0.1:9")
