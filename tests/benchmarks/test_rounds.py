"""Tests of alternating rounds and of ratios within a round."""

import itertools

import pytest

from benchmarks.rounds import alternate, ratios, with_quartiles
from cyclegan_dist.errors import UsageError


def test_candidates_alternate_and_the_first_round_is_a_warm_up() -> None:
    calls: list[str] = []
    numbers = itertools.count()

    def candidate(name: str):
        def called() -> float:
            calls.append(name)
            return next(numbers)

        return called

    assert alternate({"a": candidate("a"), "b": candidate("b")}, rounds=2) == {"a": [2, 4], "b": [3, 5]}
    assert calls == ["a", "b"] * 3


def test_ratios_are_taken_within_a_round() -> None:
    # The machine becomes ten times as fast in the middle: the ratio of medians would be 1.
    figures = {"a": [2.0, 2.0, 20.0, 20.0], "b": [1.0, 1.0, 10.0, 10.0]}
    assert ratios(figures, "a", to="b") == [2.0] * 4


def test_a_cell_has_median_and_quartiles() -> None:
    assert with_quartiles([5.0, 1.0, 2.0, 4.0, 3.0]) == "3 (2 - 4)"
    assert with_quartiles([1.0, 2.0], ".2f") == "1.50 (1.25 - 1.75)"


def test_a_single_round_is_refused_before_it_runs() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        alternate({"a": lambda: 1 / 0}, rounds=1)
