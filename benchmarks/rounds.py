"""Measuring works against each other on a machine whose mood changes: in turns, and by the ratios of neighbours."""

import statistics
from collections.abc import Callable, Mapping

from cyclegan_dist.errors import UsageError


def alternate(works: Mapping[str, Callable[[], float]], rounds: int, *, warm_up: bool = True) -> dict[str, list[float]]:
    """Call all works in turn (A B C A B C ...).

    Args:
        works: each returns its figure, say images a second.
        rounds: that count; below 5 their medians mean little.
        warm_up: call each once before.

    Returns:
        The figures of each work, one a round.

    Raises:
        UsageError: for fewer rounds than have quartiles.
    """
    if rounds < 2:
        raise UsageError(f"{rounds} rounds have no spread: give at least 2, better 5")
    if warm_up:
        for work in works.values():
            work()
    figures: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            figures[name].append(work())
    return figures


def ratios(figures: Mapping[str, list[float]], name: str, to: str) -> list[float]:
    """In each round, the figure of `name` divided by that of `to`."""
    return [a / b for a, b in zip(figures[name], figures[to], strict=True)]


def with_quartiles(values: list[float], form: str = ".3g") -> str:
    """The median, with the lower and the upper quartile, as a table's cell."""
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return f"{median:{form}} ({lower:{form}} - {upper:{form}})"
