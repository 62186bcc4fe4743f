"""Which standby processes are started for the ranks, and with what environment."""

import os
import pickle
import subprocess
import sys
import threading
from collections import Counter
from typing import Any

import pytest

from cyclegan_dist.orchestration import standby
from cyclegan_dist.orchestration.standby import HOOK, StandbyProcesses, preload, rank_environment
from cyclegan_dist.step.world_config import STANDBY, WorldConfig
from tests.multinode.lab import wait_for

WITH_HOOK = str(rank_environment(WorldConfig()))


class Cluster:
    """Three nodes with two devices each; records what is started on which."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.started = Counter[str]()
        self.free: dict[str, dict[str, float]] = {"a": {}, "b": {}, "c": {"CPU": 2.0}}
        monkeypatch.setattr(standby.ray, "nodes", lambda: [{"NodeID": name, "Alive": True} for name in self.free])
        monkeypatch.setattr(standby, "available_resources_per_node", lambda: self.free)
        monkeypatch.setattr(standby, "_start", self._start)

    def _start(self, node: dict[str, Any], environment: str) -> None:
        self.started[node["NodeID"]] += 1


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look comes soon, and the second one as soon after it."""
    monkeypatch.setattr(standby, "DELAY_S", 0.01)
    monkeypatch.setattr(standby, "SPACED_S", 0.01)
    monkeypatch.setattr(standby, "AGAIN_S", 0.01)


def started(processes: StandbyProcesses, cluster: Cluster, *nodes: str) -> Counter[str]:
    """What is started for ranks on these nodes."""
    cluster.started.clear()
    while processes.start_missing(Counter(nodes), WITH_HOOK, "CPU"):
        assert len(cluster.started) <= len(cluster.free)
    return cluster.started


def test_there_is_one_for_each_rank_and_for_one_free_node(cluster: Cluster) -> None:
    assert started(StandbyProcesses(), cluster, "a", "a", "b") == {"a": 2, "b": 1, "c": 2}


def test_restarted_ranks_take_them_and_only_what_is_missing_is_started(cluster: Cluster) -> None:
    processes = StandbyProcesses()
    started(processes, cluster, "a", "a", "b")
    processes.ranks_started(["a", "a", "b"], "{}", "CPU")
    assert started(processes, cluster, "a", "a", "b") == {"a": 2, "b": 1}  # those of c are still idle
    cluster.free |= {"b": {"CPU": 1.0}, "c": {"CPU": 1.0}}
    processes.ranks_started(["a", "a", "c"], "{}", "CPU")
    assert started(processes, cluster, "a", "a", "c") == {"a": 2}  # one of c and that of b are still idle


def test_a_node_that_has_gone_gets_none_and_one_that_joins_gets_some(cluster: Cluster) -> None:
    processes = StandbyProcesses()
    cluster.free = {"a": {}}
    assert started(processes, cluster, "a", "b") == {"a": 1}
    cluster.free |= {"b": {}, "d": {"CPU": 4.0}}
    assert started(processes, cluster, "a", "b") == {"b": 1, "d": 1}


@pytest.mark.usefixtures("at_once")
def test_it_looks_again_until_the_ranks_are_stopped(cluster: Cluster) -> None:
    processes = StandbyProcesses()
    processes.ranks_started(["a"], WITH_HOOK, "CPU")
    wait_for(lambda: cluster.started == {"a": 1, "c": 1}, 5)
    cluster.free = {"a": {}, "d": {"CPU": 4.0}}
    wait_for(lambda: cluster.started["d"] == 1, 5)
    processes.cancel()
    wait_for(lambda: not any("_start_missing" in thread.name for thread in threading.enumerate()), 5)


def test_none_is_started_where_it_would_load_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ((HOOK, "theirs.setup"), (STANDBY, "0")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert rank_environment(WorldConfig()) == {}
    assert rank_environment(WorldConfig(max_failures=0)) == {}
    before = threading.active_count()
    StandbyProcesses().ranks_started(["a"], "{}", "CPU")
    assert threading.active_count() == before


def test_it_can_be_sent_to_the_controller() -> None:
    pickle.loads(pickle.dumps(StandbyProcesses())).cancel()


@pytest.mark.usefixtures("at_once")
def test_a_failure_to_ask_is_no_failure_of_the_training_and_logged_once(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = threading.Semaphore(0)

    def refuse(*_: object) -> None:
        asked.release()
        raise OSError("no raylet")

    monkeypatch.setattr(standby, "_start", refuse)
    processes = StandbyProcesses()
    processes.ranks_started(["a"], WITH_HOOK, "CPU")
    for _ in range(3):  # it asks again
        assert asked.acquire(timeout=5)
    processes.cancel()
    assert caplog.messages == ["no standby processes, restarts take longer: OSError: no raylet"]


def test_what_cannot_be_loaded_is_left_to_the_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standby, "MODULES", ("email.mime.nonmultipart", "there.is.none"))
    monkeypatch.delitem(sys.modules, "email.mime.nonmultipart", raising=False)
    preload()
    assert "email.mime.nonmultipart" in sys.modules


def test_a_standby_process_has_the_threads_of_a_rank() -> None:
    """torch chooses their number when it is loaded, which is before Ray says how many cores the rank has."""
    code = (
        f"from {standby.__name__} import preload\npreload()\nimport sys\nprint(sys.modules['torch'].get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
