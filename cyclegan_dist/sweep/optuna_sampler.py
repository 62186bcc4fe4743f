"""What Optuna proposes. Its study is made anew for each trial: what it knows is what the sweep's record says."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from cyclegan_dist.sweep.record import Trial
from cyclegan_dist.sweep.sampling import short_number
from cyclegan_dist.sweep.spec import SweepConfig, Values


def propose(spec: SweepConfig, number: int, known: Sequence[Trial]) -> dict[str, Any]:
    """The values of trial `number` by the keys of the space, when `known` are the trials before it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = {key: _distribution(values) for key, values in spec.space.items()}
    seed = int(np.random.SeedSequence([spec.seed, number]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    study = optuna.create_study(direction="minimize" if spec.mode == "min" else "maximize", sampler=sampler)
    for trial in known:
        study.add_trial(_told(spec, trial, space))
    proposed = study.ask(space).params
    return {key: _meant(values, proposed[key]) for key, values in spec.space.items()}


def _distribution(values: Values) -> BaseDistribution:
    """A choice is told by its place, for it may be between lists, which Optuna does not take."""
    if values.choice:
        return CategoricalDistribution(tuple(range(len(values.choice))))
    if values.randint:
        return IntDistribution(*values.randint)
    low, high = values.bounds or (0.0, 1.0)
    return FloatDistribution(low, high, log=bool(values.loguniform))


def _told(spec: SweepConfig, trial: Trial, space: dict[str, BaseDistribution]) -> FrozenTrial:
    """A trial as Optuna knows it. One that was cut or lost is pruned, which it takes for a bad sign."""
    state = TrialState.PRUNED
    if trial.status == "open":
        state = TrialState.RUNNING
    elif trial.status == "finished" and trial.results:
        state = TrialState.COMPLETE
    params = {key: _place(spec.space[key], value) for key, value in trial.values.items()}
    return create_trial(
        state=state,
        value=trial.value if state == TrialState.COMPLETE else None,
        params=params,
        distributions=space,
        intermediate_values={result.nimg: result.value for result in trial.results},
    )


def _place(values: Values, value: Any) -> Any:
    return values.choice.index(value) if values.choice else value


def _meant(values: Values, proposed: Any) -> Any:
    if values.choice:
        return values.choice[proposed]
    return short_number(proposed, *(values.bounds or (0.0, 1.0))) if isinstance(proposed, float) else proposed
