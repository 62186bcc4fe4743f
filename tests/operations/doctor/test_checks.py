import os
from collections.abc import Callable
from typing import Any

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.doctor import checks
from cyclegan_dist.operations.doctor.checks import Target, run_checks
from cyclegan_dist.operations.doctor.nodes import LocalFleet
from cyclegan_dist.operations.doctor.report import Finding, Report
from cyclegan_dist.tracking.config import TrackingConfig
from tests.operations.doctor.fleets import ForkedFleet

CONFIG = Config(tracking=TrackingConfig(mlflow=False))
LOCAL = ["cluster", "versions", "GPUs", "cores", "memory", "shared memory", "runs folder", "data set", "free space"]
LOCAL += ["MLflow", "token files", "open ports"]
FLEET = ForkedFleet("a", "b")


def run(target: Target, config: Config = CONFIG, *, network: bool = False) -> list[Finding]:
    report = Report()
    run_checks(target, config, report, network=network, timeout_s=1.0)
    return report.findings


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Names of the checks on a target, whose network is not measured."""
    monkeypatch.setattr(
        checks, "check_links", lambda report, fleet, announced, backend, timeout_s: report.add("green", backend)
    )

    def names(*arguments: Any, **options: Any) -> list[str]:
        found = run(*arguments, **options)
        assert not any(f.found.startswith("cannot be checked") for f in found), found
        return [*dict.fromkeys(f.check for f in found)]

    return names


def test_which_checks_run(names: Callable[..., list[str]]) -> None:
    assert names(Target(fleet=LocalFleet()), network=True) == LOCAL
    assert names(Target(fleet=FLEET, address="head:1")) == [*LOCAL, "job stop"]
    api: Any = {"job_api": "http://head", "ask_job_api": lambda url, token: 401}
    assert names(Target(fleet=FLEET, address="head:1", **api)) == [*LOCAL, "job API", "job stop"]
    both = names(Target(fleet=FLEET, address="head:1", nccl=FLEET), network=True)
    assert both == [*LOCAL, "job stop", "network, gloo", "network, nccl"]
    elsewhere = Config(tracking=CONFIG.tracking, checkpoints="memory://bucket")
    assert {*names(Target(fleet=LocalFleet()), elsewhere)} == {*LOCAL, "checkpoints"}


def test_one_call_to_each_node_measures_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Besides those that write and read shared storage, and read the data set."""
    calls: list[Any] = []

    class Counting(ForkedFleet):
        def call(self, calls_: Any, timeout_s: float = 60.0) -> dict[str, Any]:
            calls.extend((name, function.__module__.split(".")[-1]) for name, (function, _) in calls_.items())
            return super().call(calls_, timeout_s)

    run(Target(fleet=Counting("a", "b"), address="head:1"))
    assert [call for call in calls if call[1] != "storage"] == [("a", "checks"), ("b", "checks")]


def test_a_node_that_fails_hides_neither_its_other_measurements_nor_other_nodes() -> None:
    fleet = ForkedFleet("a", "b", prepare={"b": lambda: os.environ.update(RAY_JOB_STOP_WAIT_TIME_S="soon")})
    red = [f for f in run(Target(fleet=fleet, address="head:1")) if f.check in ("cluster", "versions", "job stop")]
    assert [(f.check, f.level) for f in red] == [
        ("cluster", "green"),
        ("versions", "green"),
        ("job stop", "red"),
        ("job stop", "yellow"),
    ]
    assert red[2].found.startswith("b: ValueError: ") and red[3].found.startswith("3 s between")


def test_a_dead_node_is_red_and_the_others_are_checked() -> None:
    found = run(Target(fleet=ForkedFleet("a", "b", prepare={"b": lambda: os._exit(1)}), address="head:1"))
    (red,) = [f for f in found if f.check == "cluster" and f.level == "red"]
    assert red.found == "b: RuntimeError: the process died"
    assert {f.check for f in found} >= {*LOCAL, "job stop"}
    assert [f.level for f in found if f.check in ("versions", "GPUs")] == ["green", "green"]
