"""A figure with its uncertainty, and how two of them compare."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


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
    def mean(cls, parts: Sequence[float], n: int | None = None) -> Self:
        """Of parts."""
        return cls(math.fsum(parts) / len(parts), tuple(parts), len(parts) if n is None else n)

    @property
    def margin(self) -> float:
        """Half the width of the 95 % confidence interval, after Student's t; NaN where there is none."""
        k = len(self.parts)
        if k < 2:
            return math.nan
        import scipy.stats  # a GPU machine that only measures values may lack it

        return float(scipy.stats.t.ppf(0.975, k - 1)) * statistics.stdev(self.parts) / math.sqrt(k)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the mean."""
        return self.value - self.margin, self.value + self.margin


class Share(Figure):
    """A share of images; each part is 1 or 0."""

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval after Wilson (1927), which lies within 0 and 1, and is no point at either."""
        n, z2 = len(self.parts), statistics.NormalDist().inv_cdf(0.975) ** 2
        middle = (self.value + z2 / (2 * n)) / (1 + z2 / n)
        half = math.sqrt(z2 * (self.value * (1 - self.value) / n + z2 / (4 * n**2))) / (1 + z2 / n)
        return max(0.0, middle - half), min(1.0, middle + half)


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
