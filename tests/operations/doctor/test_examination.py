from typing import Any

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.doctor import clock, job_api
from cyclegan_dist.operations.doctor.examination import Target, checks
from cyclegan_dist.operations.doctor.findings import Finding, attempt
from cyclegan_dist.operations.doctor.fleet import Alone
from tests.operations.doctor.fleets import Forked
from tests.operations.doctor.test_job_api import closed, dashboard

ALONE = ["cluster", "versions", "GPUs", "shared memory", "open files", "runs folder", "checkpoints", "data set"]
ALONE += ["free space", "MLflow", "token files", "open ports"]
BETWEEN = {"job API", "job stop", "clock", "host names", "network"}


def names(patient: Target, **options: Any) -> list[str]:
    return [name for name, _ in checks(patient, **{"network": True, "timeout_s": 1.0, **options})]


def look(patient: Target, name: str) -> list[Finding]:
    return dict(checks(patient, network=True, timeout_s=1.0))[name]()


def test_what_is_looked_at() -> None:
    assert names(Target(config=Config(), fleet=Alone())) == ALONE
    cluster = Target(config=Config(), fleet=Forked("a", "b"), address="head:1")
    assert {*names(cluster)} == {*ALONE} | BETWEEN
    assert {*names(cluster, network=False)} == ({*ALONE} | BETWEEN) - {"network"}


def test_nccl_is_measured_where_there_are_gpus_for_it() -> None:
    fleet = Forked("a", "b")
    patient = Target(config=Config(), fleet=fleet, address="head:1", nccl=fleet)
    assert names(patient).count("network") == 2


def test_troubles_come_first() -> None:
    trouble = Finding(check="cluster", level="red", found="cannot be joined")
    found = look(Target(config=Config(), fleet=Alone(), troubles=[trouble]), "cluster")
    assert found[0] is trouble and "this machine alone" in found[1].found


def test_a_check_that_fails_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(fleet: object) -> list[Finding]:
        raise MemoryError("no more")

    monkeypatch.setattr(clock, "check_clock", fails)
    patient = Target(config=Config(), fleet=Forked("a"), address="head:1")
    found = [f for name, check in checks(patient, network=False, timeout_s=1.0) for f in attempt(name, check)]
    assert [f.found for f in found if f.check == "clock"] == ["cannot be checked: MemoryError: no more"]
    assert {f.check for f in found} >= {*ALONE} | {"job stop", "host names"}


@pytest.mark.parametrize(("without", "level"), [(401, "green"), (200, "red")])
def test_open_ports_are_judged_by_what_the_job_api_shows(
    without: int, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    asked = []
    monkeypatch.setattr(
        "cyclegan_dist.operations.doctor.ports.check_ports", lambda fleet, guarded: asked.append(guarded) or []
    )
    with dashboard(without=without, wrong=403) as url:
        patient = Target(config=Config(), fleet=Forked("a"), address="head:1", dashboard=url)
        assert look(patient, "job API")[0].level == level
        look(patient, "open ports")
    assert asked == [level == "green"]


def test_a_cluster_without_a_dashboard_is_asked_how_it_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    asked = []
    monkeypatch.setattr(
        "cyclegan_dist.operations.doctor.ports.check_ports", lambda fleet, guarded: asked.append(guarded) or []
    )
    for mode in ("token", "disabled"):
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
        look(Target(config=Config(), fleet=Forked("a"), address="head:1"), "open ports")
    look(Target(config=Config(), fleet=Forked("a")), "open ports")
    assert asked == [True, False, False]


def test_a_dashboard_that_is_not_reached_from_here_is_asked_from_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    url, real = closed(), job_api.ask

    class Head(Forked):
        """Its `localhost` is another machine's, where the dashboard is."""

        def ask(self, calls: Any, timeout_s: float = 60.0) -> dict[str, Any]:
            return {name: real(served, arguments[1]) for name, (_, arguments) in calls.items()}

    with dashboard(without=200, wrong=200) as served:
        (found,) = look(Target(config=Config(), fleet=Head("a"), address="head:1", dashboard=url), "job API")
    assert found.level == "red"
    (found,) = look(Target(config=Config(), fleet=Forked("a"), address="head:1", dashboard=url), "job API")
    assert found.level == "yellow"
