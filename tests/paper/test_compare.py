"""Intervals, and whether statements hold."""

import math

import pytest
from scipy import stats

from cyclegan_dist.evaluation.figures import Figure
from cyclegan_dist.paper.compare import judge, welch
from cyclegan_dist.paper.tables import Check

CELLS = {
    ("CycleGAN", "accuracy"): Figure.mean([0.70, 0.72, 0.71]),
    ("near", "accuracy"): Figure.mean([0.60, 0.75, 0.66]),
    ("far", "accuracy"): Figure.mean([0.10, 0.12, 0.14]),
    ("once", "accuracy"): Figure.mean([0.2]),
}


def test_welch_is_scipys_at_whole_degrees() -> None:
    one, two = Figure.mean([1.0, 2.0, 4.0, 3.0]), Figure.mean([2.0, 3.0, 5.0, 4.0])
    wanted = stats.ttest_ind(one.parts, two.parts, equal_var=False).confidence_interval(0.95)
    assert welch(one, two) == pytest.approx((wanted.low, wanted.high))


def test_degrees_are_rounded_down() -> None:
    one, two = Figure.mean([1.0, 2.0, 4.0]), Figure.mean([9.0, 9.1, 9.3])
    wanted = stats.ttest_ind(one.parts, two.parts, equal_var=False).confidence_interval(0.95)
    low, high = welch(one, two)
    assert low <= wanted.low and high >= wanted.high


def test_one_run_has_no_interval() -> None:
    assert all(map(math.isnan, welch(Figure.mean([1.0]), Figure.mean([1.0, 2.0]))))


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ({"row": "CycleGAN", "above": "far"}, "held"),
        ({"row": "CycleGAN", "above": "near"}, "undecided"),
        ({"row": "far", "above": "CycleGAN"}, "did not hold"),
        ({"row": "CycleGAN", "above": "once"}, "undecided"),
        ({"row": "CycleGAN", "above": "failed"}, "not measured"),
        ({"row": "far", "at_most": 0.25, "of": "CycleGAN"}, "held"),
        ({"row": "near", "at_most": 0.25, "of": "CycleGAN"}, "did not hold"),
        ({"row": "far", "at_most": 0.2}, "held"),
        ({"row": "near", "at_most": 0.2}, "did not hold"),
        ({"row": "near", "between": ("far", "CycleGAN"), "at_least": 0.9}, "held"),  # 0.67 of 0.12 to 0.71: 0.932
        ({"row": "near", "between": ("far", "CycleGAN"), "at_least": 0.95}, "did not hold"),
        ({"row": "near", "between": ("far", "far"), "at_least": 0.5}, "undecided"),
        (
            {"row": "once", "between": ("CycleGAN", "near"), "at_least": 0.5},
            "undecided",
        ),  # below both: 12 times the way
        ({"row": "near", "between": ("failed", "far"), "at_least": 0.5}, "not measured"),
    ],
)
def test_statements(options: dict[str, object], outcome: str) -> None:
    verdict = judge(Check(says="as said", column="accuracy", **options), CELLS)  # type: ignore[arg-type]
    assert verdict.outcome == outcome
    assert "n=" in verdict.text or outcome == "not measured"


def test_a_gap_is_one_to_the_better_row() -> None:
    """Of a column whose lowest value is best."""
    for between, outcome in ((("CycleGAN", "far"), "did not hold"), (("far", "CycleGAN"), "undecided")):
        check = Check(says="as said", column="accuracy", row="near", between=between, at_least=0.5)
        assert judge(check, CELLS, best="lowest").outcome == outcome
