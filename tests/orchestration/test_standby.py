"""Which standby processes are started for the ranks, and with what environment."""

import pickle
import sys
import threading
from collections import Counter
from typing import Any

import pytest

from cyclegan_dist.orchestration import standby
from cyclegan_dist.orchestration.standby import HOOK, StandbyProcesses, preload, rank_environment

WITH_HOOK = str(rank_environment(enabled=True))


class Cluster:
    """Three nodes with two devices each; records what is started on which."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.started = Counter[str]()
        self.free: dict[str, dict[str, float]] = {"a": {}, "b": {}, "c": {"CPU": 2.0}}
        monkeypatch.setattr(standby.ray, "nodes", lambda: [{"NodeID": name, "Alive": True} for name in self.free])
        monkeypatch.setattr(standby, "available_resources_per_node", lambda: self.free)
        monkeypatch.setattr(standby, "_start", self._start)
        monkeypatch.setattr(standby.threading, "Timer", _AtOnce)

    def _start(self, node: dict[str, Any], count: int, environment: str) -> None:
        self.started[node["NodeID"]] += count


class _AtOnce(threading.Timer):
    def start(self) -> None:
        self.function(*self.args, **self.kwargs)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


def test_there_is_one_for_each_rank_and_for_one_free_node(cluster: Cluster) -> None:
    processes = StandbyProcesses()
    processes.ranks_started(["a", "a", "b"], WITH_HOOK, "CPU")
    assert cluster.started == {"a": 2, "b": 1, "c": 2}


def test_restarted_ranks_take_them_and_only_what_is_missing_is_started(cluster: Cluster) -> None:
    processes = StandbyProcesses()
    processes.ranks_started(["a", "a", "b"], WITH_HOOK, "CPU")
    cluster.started.clear()
    processes.ranks_started(["a", "a", "b"], WITH_HOOK, "CPU")
    assert cluster.started == {"a": 2, "b": 1}  # those of c are still idle
    cluster.started.clear()
    cluster.free |= {"b": {"CPU": 1.0}, "c": {"CPU": 1.0}}
    processes.ranks_started(["a", "a", "c"], WITH_HOOK, "CPU")
    assert cluster.started == {"a": 2}  # one of c and that of b are still idle


def test_a_node_that_has_gone_gets_none(cluster: Cluster) -> None:
    del cluster.free["b"], cluster.free["c"]
    StandbyProcesses().ranks_started(["a", "b"], WITH_HOOK, "CPU")
    assert cluster.started == {"a": 1}


def test_none_is_started_where_it_would_load_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOOK, "theirs.setup")
    for environment in (rank_environment(enabled=True), rank_environment(enabled=False)):
        assert environment == {}
        StandbyProcesses().ranks_started(["a"], str(environment), "CPU")
    assert not cluster.started


def test_stopped_ranks_get_none() -> None:
    processes = StandbyProcesses()
    processes.ranks_started(["a"], WITH_HOOK, "CPU")
    (timer,) = (thread for thread in threading.enumerate() if isinstance(thread, threading.Timer))
    processes.cancel()
    timer.join(5)
    assert not timer.is_alive()


def test_it_can_be_sent_to_the_controller() -> None:
    pickle.loads(pickle.dumps(StandbyProcesses())).cancel()


def test_a_failure_to_ask_is_no_failure_of_the_training(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no raylet")

    monkeypatch.setattr(standby, "_start", refuse)
    StandbyProcesses().ranks_started(["a"], WITH_HOOK, "CPU")


def test_what_cannot_be_loaded_is_left_to_the_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standby, "MODULES", ("email.mime.nonmultipart", "there.is.none"))
    monkeypatch.delitem(sys.modules, "email.mime.nonmultipart", raising=False)
    preload()
    assert "email.mime.nonmultipart" in sys.modules
