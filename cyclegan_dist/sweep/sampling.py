"""The values of a sweep's trials. What a trial gets depends on the sweep's seed, its number and, with Optuna, on what
is known of the others; so a sweep that is interrupted neither loses nor repeats one.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cyclegan_dist.errors import UsageError
from cyclegan_dist.sweep.record import Trial
from cyclegan_dist.sweep.spec import SweepConfig, Values


def draw(spec: SweepConfig, number: int, known: Sequence[Trial]) -> dict[str, Any]:
    """The values of trial `number` by the keys of the space, when `known` are the trials before it."""
    if spec.sampler == "optuna":
        from cyclegan_dist.sweep.optuna_sampler import propose  # Optuna is loaded from here on

        return propose(spec, number, known)
    combinations = spec.combinations()
    if spec.sampler == "grid":
        return next(itertools.islice(combinations, number, None))
    turned = list(combinations)
    generator = np.random.default_rng([spec.seed, number])
    drawn = {key: _drawn(values, generator) for key, values in spec.space.items() if not values.grid}
    in_turn = turned[number % len(turned)]
    return {key: in_turn[key] if key in in_turn else drawn[key] for key in spec.space}


def draw_all(spec: SweepConfig) -> list[Trial]:
    """The trials that depend on nobody's results, checked.

    Raises:
        UsageError: naming the first whose values do not fit together.
    """
    trials = []
    for number in range(spec.trials if spec.sampler != "optuna" else 1):
        trial = Trial(number, draw(spec, number, []))
        try:
            spec.config(trial.values, "values").optim.micro_batches(spec.workers_per_trial)
        except UsageError as error:
            raise UsageError(f"{trial.name} of sweep {spec.name} with {trial.values}: {error}") from error
        trials.append(trial)
    return trials


def _drawn(values: Values, generator: np.random.Generator) -> Any:
    if values.choice:
        return values.choice[int(generator.integers(len(values.choice)))]
    if values.randint:
        low, high = values.randint
        return int(generator.integers(low, high, endpoint=True))
    if values.loguniform:
        low, high = values.loguniform
        return short_number(math.exp(generator.uniform(math.log(low), math.log(high))), low, high)
    low, high = values.uniform or (0.0, 1.0)
    return short_number(float(generator.uniform(low, high)), low, high)


def short_number(value: float, low: float, high: float) -> float:
    """Four digits are enough to tell trials apart, and fit a table."""
    return min(max(float(f"{value:.4g}"), low), high)
