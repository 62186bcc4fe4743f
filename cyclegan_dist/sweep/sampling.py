"""The values of a sweep's trials. They depend on the sweep's seed, the trial's number and, with sampler optuna, on the
trials before it; so a sweep that is interrupted neither loses nor repeats one.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from cyclegan_dist.errors import UsageError
from cyclegan_dist.sweep.config import SweepConfig
from cyclegan_dist.sweep.record import Trial, direction, distribution


def draw(spec: SweepConfig, number: int, before: Sequence[FrozenTrial] = ()) -> dict[str, Any]:
    """The values of trial `number` by the keys of the space, given the trials before it."""
    combinations = spec.combinations()
    values = dict(combinations[number % len(combinations)])
    seed = int(np.random.SeedSequence([spec.seed, number]).generate_state(1)[0])
    learns = spec.sampler == "optuna"
    sampler = TPESampler(seed=seed, constant_liar=True) if learns else RandomSampler(seed=seed)
    # In memory: in the sweep's own study `ask` would write a line per value, and a kill could leave half a trial.
    study = optuna.create_study(direction=direction(spec), sampler=sampler)
    study.add_trials(before if learns else ())
    drawn = study.ask({key: distribution(v) for key, v in spec.space.items() if key not in values})
    for key, value in drawn.params.items():
        if isinstance(value, str):
            values[key] = json.loads(value)
        elif isinstance(value, float):
            low, high = spec.space[key].bounds or (value, value)
            values[key] = min(max(float(f"{value:.4g}"), low), high)  # enough to distinguish trials, and fits a table
        else:
            values[key] = value
    return {key: values[key] for key in spec.space}


def draw_all(spec: SweepConfig) -> list[Trial]:
    """The trials that depend on no results, checked.

    Raises:
        UsageError: naming the first whose values do not fit together.
    """
    trials = [Trial(number, draw(spec, number)) for number in range(1 if spec.sampler == "optuna" else spec.trials)]
    for trial in trials:
        try:
            spec.config(trial.values, "values").micro_batches(spec.workers_per_trial)
        except UsageError as error:
            raise UsageError(f"{trial.name} of sweep {spec.name} with {trial.values}: {error}") from error
    return trials
