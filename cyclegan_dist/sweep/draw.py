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
        return _asked(spec, number, known)
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
        return _short(math.exp(generator.uniform(math.log(low), math.log(high))), low, high)
    low, high = values.uniform or (0.0, 1.0)
    return _short(float(generator.uniform(low, high)), low, high)


def _short(value: float, low: float, high: float) -> float:
    """Four digits are enough to tell trials apart, and fit a table."""
    return min(max(float(f"{value:.4g}"), low), high)


def _asked(spec: SweepConfig, number: int, known: Sequence[Trial]) -> dict[str, Any]:
    """What Optuna proposes. The study is made anew each time: what it knows is what the sweep's record says."""
    try:
        import optuna
    except ImportError as error:
        raise UsageError("sampler optuna needs Optuna: pip install optuna, or choose sampler random") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = {key: _distribution(optuna, values) for key, values in spec.space.items()}
    seed = int(np.random.SeedSequence([spec.seed, number]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    study = optuna.create_study(direction="minimize" if spec.mode == "min" else "maximize", sampler=sampler)
    state = optuna.trial.TrialState
    states = {"finished": state.COMPLETE, "open": state.RUNNING}  # any other was given up: a bad sign
    for trial in known:
        told = states.get(trial.status, state.PRUNED) if trial.results else state.PRUNED
        told = state.RUNNING if trial.status == "open" else told
        study.add_trial(
            optuna.trial.create_trial(
                state=told,
                value=trial.value if told == state.COMPLETE else None,
                params={key: _told(spec.space[key], value) for key, value in trial.values.items()},
                distributions=space,
                intermediate_values={result.nimg: result.value for result in trial.results},
            )
        )
    proposed = study.ask(space).params
    return {key: _meant(values, proposed[key]) for key, values in spec.space.items()}


def _distribution(optuna: Any, values: Values) -> Any:
    """A choice is told to Optuna by its place, for it may be a list, which Optuna does not take."""
    if values.choice:
        return optuna.distributions.CategoricalDistribution(tuple(range(len(values.choice))))
    if values.randint:
        return optuna.distributions.IntDistribution(*values.randint)
    return optuna.distributions.FloatDistribution(*(values.bounds or (0.0, 1.0)), log=bool(values.loguniform))


def _told(values: Values, value: Any) -> Any:
    return values.choice.index(value) if values.choice else value


def _meant(values: Values, proposed: Any) -> Any:
    if values.choice:
        return values.choice[proposed]
    return _short(proposed, *(values.bounds or (0.0, 1.0))) if isinstance(proposed, float) else proposed
