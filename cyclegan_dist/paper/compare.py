"""Means over seeds with intervals, whether two of them differ, and whether the paper's statements hold."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cyclegan_dist.evaluation.figures import Figure, student_t
from cyclegan_dist.paper.formats import DIGITS, number
from cyclegan_dist.paper.tables import Check

Cells = Mapping[tuple[str, str], Figure]
"""The measured values, by row and column; each part of a figure is a seed's."""


@dataclass(frozen=True)
class Verdict:
    """Whether a statement holds.

    Attributes:
        outcome: `undecided` if the interval of a difference contains 0, or there is no difference to take a share of.
        text: the figures, with the number of runs.
    """

    outcome: Literal["held", "did not hold", "undecided", "not measured"]
    text: str


def welch(one: Figure, two: Figure) -> tuple[float, float]:
    """The 95 % confidence interval of `one` - `two`, means of independent parts of unequal variance (Welch 1947), with
    the degrees of freedom rounded down. NaN if one of them has fewer than two parts.
    """
    if min(len(one.parts), len(two.parts)) < 2:
        return math.nan, math.nan
    shares = [statistics.variance(figure.parts) / len(figure.parts) for figure in (one, two)]
    total, difference = sum(shares), one.value - two.value
    if not total:
        return difference, difference
    weights = [share**2 / (len(f.parts) - 1) for share, f in zip(shares, (one, two), strict=True)]
    half = student_t(max(1, math.floor(total**2 / sum(weights)))) * math.sqrt(total)
    return difference - half, difference + half


def shown(figure: Figure, places: int) -> str:
    """Mean, half the width of its interval, with so many decimals, and the number of runs."""
    half = f" ± {number(figure.margin, places)}" if len(figure.parts) > 1 else ""
    return f"{number(figure.value, places)}{half} (n={len(figure.parts)})"


def judge(check: Check, cells: Cells, places: int = DIGITS, best: Literal["highest", "lowest"] = "highest") -> Verdict:
    """Whether a statement holds of the means of a column, whose best value is the highest or the lowest. The text has
    values with `places` decimals.
    """
    missing = [name for name in check.rows if (name, check.column) not in cells]
    if missing:
        return Verdict("not measured", f"no figure of {' and '.join(missing)}")
    figures = [cells[name, check.column] for name in check.rows]
    text = ", ".join(f"{name} {shown(figure, places)}" for name, figure in zip(check.rows, figures, strict=True))
    if check.above:
        low, high = welch(*figures)
        if math.isnan(low):
            return Verdict("undecided", f"{text}: too few runs for an interval")
        outcome = "held" if low > 0 else "did not hold" if high < 0 else "undecided"
        return Verdict(outcome, f"{text}: difference {number(low, places)} to {number(high, places)} (95 %, Welch)")
    if check.between:
        assert check.at_least is not None
        value, low, high = (figure.value for figure in figures)
        if (high - low if best == "highest" else low - high) <= 0:
            return Verdict("undecided", f"{text}: {check.between[1]} is not better than {check.between[0]}")
        share = (value - low) / (high - low)
        said = f"{text}: {share:.3f} of the way, wanted at least {check.at_least:g}"
        return Verdict("held" if share >= check.at_least else "did not hold", said)
    assert check.at_most is not None
    if not check.of:
        return Verdict(_within(figures[0].value, check.at_most), f"{text}, wanted at most {check.at_most:g}")
    share = figures[0].value / figures[1].value if figures[1].value else math.inf
    return Verdict(_within(share, check.at_most), f"{text}: a share of {share:.3f}, wanted at most {check.at_most:g}")


def _within(value: float, at_most: float) -> Literal["held", "did not hold"]:
    return "held" if value <= at_most else "did not hold"
