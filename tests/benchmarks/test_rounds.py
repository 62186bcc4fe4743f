"""Figures come in turns, and ratios from neighbours."""

import itertools
import sys

from benchmarks.rounds import alternate, ratio, spread
from benchmarks.runs import Arrangement, step_s


def test_works_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []
    numbers = itertools.count()

    def work(name: str):
        def called() -> float:
            calls.append(name)
            return next(numbers)

        return called

    assert alternate({"a": work("a"), "b": work("b")}, rounds=2) == {"a": [2, 4], "b": [3, 5]}
    assert calls == ["a", "b"] * 3


def test_the_ratio_is_of_neighbours() -> None:
    # The machine becomes ten times as fast in the middle: the ratio of medians would be 1.
    figures = {"a": [2.0, 2.0, 20.0, 20.0], "b": [1.0, 1.0, 10.0, 10.0]}
    assert ratio(figures, "a", to="b") == 2
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 4.0)


def test_seconds_of_a_step_leave_the_first_points_out() -> None:
    points = [(0, 0), (10, 5000), (20, 6000), (40, 8000)]
    journal = [{"kind": "run"}, *({"kind": "metrics", "step": step, "time": time} for step, time in points)]
    assert step_s(journal, skip=1) == 0.1


def test_an_arrangements_own_options_win() -> None:
    mlflow = Arrangement("torchrun", 2, {"tracking.mlflow": True})
    words = mlflow.command("demo", {"name": "x", "tracking.mlflow": False})
    assert words[0] == sys.executable and "--nproc-per-node=2" in words
    assert words[words.index("demo") :] == ["demo", "--name", "x", "--tracking.mlflow", "True"]
