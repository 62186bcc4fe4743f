import time
from collections.abc import Mapping
from typing import Any

import pytest

from cyclegan_dist.operations.doctor.clock import check_clock, judge
from cyclegan_dist.operations.doctor.fleet import Call, Node
from tests.operations.doctor.fleets import levels


class Skewed:
    """Nodes whose clocks are some seconds ahead; `delay_s` there and none back is the worst that a network can do."""

    def __init__(self, delay_s: float = 0.0, **ahead_s: float):
        self.nodes = [Node(name=name, address="10.0.0.1") for name in ahead_s]
        self._ahead_s, self._delay_s = ahead_s, delay_s

    def ask(self, calls: Mapping[str, Call], timeout_s: float = 60.0) -> dict[str, Any]:
        time.sleep(self._delay_s)
        return {name: function() + self._ahead_s[name] for name, (function, _) in calls.items()}


@pytest.mark.parametrize(
    ("ahead_s", "level", "words"),
    [(5.0, "yellow", "b is 5.0 s ahead of"), (-90.0, "red", "b is 90.0 s behind"), (61.0, "red", "b is 61.0 s ahead")],
)
def test_a_clock_that_is_off_is_named(ahead_s: float, level: str, words: str) -> None:
    (found,) = check_clock(Skewed(a=0.0, b=ahead_s))
    assert found.level == level and words in found.found


def test_clocks_that_agree_are_green_with_the_largest_difference() -> None:
    (found,) = check_clock(Skewed(a=0.0, b=-0.5))
    assert found.level == "green"
    assert "2 nodes within 5" in found.found and found.figures["b"] == pytest.approx(-0.5, abs=0.05)


def test_what_the_way_may_have_taken_is_not_held_against_a_clock() -> None:
    assert levels(judge("a", 1.2, 0.1)) == ["yellow"]
    assert judge("a", 1.2, 0.6) == []


def test_the_way_there_is_halved() -> None:
    (found,) = check_clock(Skewed(delay_s=0.02, a=0.0))
    assert found.figures["a"] == pytest.approx(0.01, abs=0.009)


def test_a_node_that_does_not_answer_is_red_and_hides_no_other() -> None:
    class Dead(Skewed):
        def ask(self, calls: Mapping[str, Call], timeout_s: float = 60.0) -> dict[str, Any]:
            return {n: RuntimeError("died") if n == "a" else c[0]() + 5 for n, c in calls.items()}

    assert levels(check_clock(Dead(a=0.0, b=0.0))) == ["red", "yellow"]
