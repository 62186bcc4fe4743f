"""Tests of the command lines and the step times of training runs."""

import sys

from benchmarks.runs import LaunchSetup, step_s


def test_step_time_excludes_the_first_points() -> None:
    points = [(0, 0), (10, 5000), (20, 6000), (40, 8000)]
    journal = [{"kind": "run"}, *({"kind": "metrics", "step": step, "time": time} for step, time in points)]
    assert step_s(journal, skip=1) == 0.1


def test_a_launch_setups_own_options_take_precedence() -> None:
    mlflow = LaunchSetup("torchrun", 2, {"tracking.mlflow": True})
    words = mlflow.command("demo", {"name": "x", "tracking.mlflow": False})
    assert words[0] == sys.executable and "--nproc-per-node=2" in words
    assert words[words.index("demo") :] == ["demo", "--name", "x", "--tracking.mlflow", "True"]
