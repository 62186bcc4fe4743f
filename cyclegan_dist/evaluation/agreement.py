"""How far evaluators agree in what they rank."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FEWEST = 3  # models, of which fewer have hardly an order


@dataclass(frozen=True)
class Agreement:
    """Of two evaluators.

    Attributes:
        tau: Kendall's tau-b: 1 for one order of the models, 0 for orders that have nothing to do with each other, -1
            for opposite ones.
        p: probability of a tau at least so far from 0 if they had nothing to do with each other.
        n: models.
    """

    tau: float
    p: float
    n: int


def agreements(values: Mapping[str, Sequence[float]]) -> dict[tuple[str, str], Agreement]:
    """Kendall's tau of every two evaluators; those that give all models one value, and fewer than 3 models, have none.

    Args:
        values: for each evaluator, one for each model, in the same order; NaN where there is none.
    """
    from scipy.stats import kendalltau

    found: dict[tuple[str, str], Agreement] = {}
    for one, two in itertools.combinations(values, 2):
        both = [pair for pair in zip(values[one], values[two], strict=True) if all(map(math.isfinite, pair))]
        if len(both) < FEWEST:
            continue
        result: Any = kendalltau(*zip(*both, strict=True))
        if math.isfinite(result.statistic):
            found[one, two] = Agreement(float(result.statistic), float(result.pvalue), len(both))
    return found
