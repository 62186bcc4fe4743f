"""A figure with its uncertainty, and how two of them compare."""

import functools
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
        return student_t(k - 1) * statistics.stdev(self.parts) / math.sqrt(k)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the mean."""
        return self.value - self.margin, self.value + self.margin

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.4g} ({low:.4g} to {high:.4g})" if len(self.parts) > 1 else f"{self.value:.4g}"


class Share(Figure):
    """A share of images; each part is 1 or 0."""

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval after Wilson (1927), which lies within 0 and 1, and is no point at either."""
        n, z2 = len(self.parts), statistics.NormalDist().inv_cdf(0.975) ** 2
        middle = (self.value + z2 / (2 * n)) / (1 + z2 / n)
        half = math.sqrt(z2 * (self.value * (1 - self.value) / n + z2 / (4 * n**2))) / (1 + z2 / n)
        return max(0.0, middle - half), min(1.0, middle + half)


@functools.cache
def student_t(degrees: int) -> float:
    """What Student's t of so many degrees of freedom exceeds in absolute value in 5 % of cases.

    By bisection of the closed form for whole degrees (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4), because SciPy may
    be missing on a bare GPU machine.
    """
    low, high = 0.0, math.pi / 2  # of the angle whose tangent is t / sqrt(degrees)
    while (angle := (low + high) / 2) not in (low, high):
        sine, cosine = math.sin(angle), math.cos(angle)
        term = cosine if degrees % 2 else 1.0
        total = 0.0 if degrees == 1 else term
        for i in range(3 if degrees % 2 else 2, degrees - 1, 2):
            term *= cosine**2 * (i - 1) / i
            total += term
        within = 2 / math.pi * (angle + sine * total) if degrees % 2 else sine * total
        low, high = (angle, high) if within < 0.95 else (low, angle)
    return math.tan(low) * math.sqrt(degrees)


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
