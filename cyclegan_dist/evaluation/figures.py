"""A figure with its uncertainty, and how two of them compare."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import scipy.stats


@dataclass(frozen=True)
class Figure:
    """A mean over parts of the data that are independent of each other: images, or disjoint subsets of them.

    Attributes:
        value: the mean.
        parts: what it is the mean of; empty where only the whole has a value, which then has no interval.
        n: images it was taken from.
    """

    value: float
    parts: tuple[float, ...] = ()
    n: int = 0

    @classmethod
    def mean(cls, parts: Sequence[float], n: int | None = None) -> "Figure":
        """Of parts."""
        return cls(math.fsum(parts) / len(parts), tuple(parts), len(parts) if n is None else n)

    @property
    def margin(self) -> float:
        """Half the width of the 95 % confidence interval, after Student's t; NaN where there is none."""
        k = len(self.parts)
        if k < 2:
            return math.nan
        return float(scipy.stats.t.ppf(0.975, k - 1)) * statistics.stdev(self.parts) / math.sqrt(k)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the mean."""
        return self.value - self.margin, self.value + self.margin


def difference(one: Figure, two: Figure) -> Figure:
    """`one` - `two`, part by part where both were taken of the same parts: what they share then cancels out.

    Raises:
        ValueError: if they have not as many parts.
    """
    if len(one.parts) != len(two.parts):
        raise ValueError("figures of different parts cannot be compared: evaluate both on the same images")
    if not one.parts:
        return Figure(one.value - two.value, (), one.n)
    return Figure.mean([a - b for a, b in zip(one.parts, two.parts, strict=True)], one.n)
