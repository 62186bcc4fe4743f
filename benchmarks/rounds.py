"""Comparative timing in alternating rounds, for machines whose speed changes over time."""

import statistics
from collections.abc import Callable, Mapping

from cyclegan_dist.errors import UsageError


def alternate(
    candidates: Mapping[str, Callable[[], float]], rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Call all candidates in turn (A B C A B C ...).

    Args:
        candidates: functions that each return a figure, such as images per second.
        rounds: rounds to measure; below 5 the medians are unreliable.
        warm_up: call each candidate once before.

    Returns:
        The figures of each candidate, one per round.

    Raises:
        UsageError: for fewer rounds than quartiles need.
    """
    if rounds < 2:
        raise UsageError(f"{rounds} rounds have no quartiles: give at least 2, preferably 5")
    if warm_up:
        for candidate in candidates.values():
            candidate()
    figures: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            figures[name].append(candidate())
    return figures


def ratios(figures: Mapping[str, list[float]], name: str, to: str) -> list[float]:
    """The figure of `name` divided by that of `to`, for each round."""
    return [a / b for a, b in zip(figures[name], figures[to], strict=True)]


def with_quartiles(values: list[float], form: str = ".3g") -> str:
    """Median, lower and upper quartile, as a table cell."""
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return f"{median:{form}} ({lower:{form}} - {upper:{form}})"
