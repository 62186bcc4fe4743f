"""Real runs, as commands and as what they leave."""

import sys

from benchmarks.runs import Arrangement, step_s


def test_seconds_of_a_step_leave_the_first_points_out() -> None:
    points = [(0, 0), (10, 5000), (20, 6000), (40, 8000)]
    journal = [{"kind": "run"}, *({"kind": "metrics", "step": step, "time": time} for step, time in points)]
    assert step_s(journal, skip=1) == 0.1


def test_an_arrangements_own_options_win() -> None:
    mlflow = Arrangement("torchrun", 2, {"tracking.mlflow": True})
    words = mlflow.command("demo", {"name": "x", "tracking.mlflow": False})
    assert words[0] == sys.executable and "--nproc-per-node=2" in words
    assert words[words.index("demo") :] == ["demo", "--name", "x", "--tracking.mlflow", "True"]
