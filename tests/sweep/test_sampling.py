"""A trial's values depend on the seed, its number and what is known; on nothing else."""

import warnings
from collections import Counter

import pytest

from cyclegan_dist.sweep.record import Result, Trial
from cyclegan_dist.sweep.sampling import draw, draw_all
from cyclegan_dist.sweep.spec import SweepConfig, Values

SPACE = {
    "method.lambda_cycle_A,method.lambda_cycle_B": Values(loguniform=(1, 100)),
    "method.lambda_identity": Values(uniform=(0, 1)),
    "method.pool_size": Values(choice=(0, 50)),
    "schedule.n_epochs_decay": Values(randint=(1, 3)),
}
SPEC = SweepConfig(base="demo", space=SPACE, num_trials=300, scheduler="none")
PLAIN = {"base": "demo", "scheduler": "none"}


def test_draws_are_the_same_in_any_order_and_others_with_another_seed() -> None:
    forth = [draw(SPEC, number, []) for number in range(20)]
    back = [draw(SPEC, number, []) for number in reversed(range(20))]
    assert forth == back[::-1]
    assert len({str(values) for values in forth}) == 20
    other = SweepConfig(base="demo", space=SPACE, num_trials=20, scheduler="none", seed=1)
    assert draw(other, 0, []) not in forth


def test_draws_cover_their_ranges_evenly() -> None:
    drawn = [draw(SPEC, number, []) for number in range(300)]
    weights = [values["method.lambda_cycle_A,method.lambda_cycle_B"] for values in drawn]
    assert 1 <= min(weights) < 1.2 and 80 < max(weights) <= 100
    assert 110 < sum(weight < 10 for weight in weights) < 190  # half of the factors
    for key, expected in (("method.pool_size", {0, 50}), ("schedule.n_epochs_decay", {1, 2, 3})):
        counts = Counter(values[key] for values in drawn)
        assert set(counts) == expected
        assert min(counts.values()) > 200 / len(expected)


def test_a_grid_is_every_combination_once() -> None:
    space = {"method.pool_size": Values(grid=(0, 50)), "schedule.policy": Values(choice=("linear", "step", "cosine"))}
    spec = SweepConfig(**PLAIN, space=space, sampler="grid")
    assert spec.trials == 6
    assert [tuple(trial.values.values()) for trial in draw_all(spec)] == [
        (0, "linear"), (0, "step"), (0, "cosine"), (50, "linear"), (50, "step"), (50, "cosine"),
    ]  # fmt: skip
    assert SweepConfig(**PLAIN, space=space, sampler="grid", num_trials=4).trials == 4


def test_random_takes_a_grid_in_turn() -> None:
    space = {"optim.lr": Values(loguniform=(1e-4, 1e-2)), "method.pool_size": Values(grid=(0, 50, 100))}
    drawn = [trial.values for trial in draw_all(SweepConfig(**PLAIN, space=space, num_trials=6))]
    assert [values["method.pool_size"] for values in drawn] == [0, 50, 100, 0, 50, 100]
    assert len({values["optim.lr"] for values in drawn}) == 6
    assert list(drawn[0]) == list(space)


OPTUNA = SweepConfig(**PLAIN, space=SPACE, num_trials=40, sampler="optuna")


def tried(count: int) -> list[Trial]:
    """Trials that Optuna proposed, whose value is best at a low weight of the cycle; one in five gets lost."""
    trials: list[Trial] = []
    for number in range(count):
        values = draw(OPTUNA, number, trials)
        value = values["method.lambda_cycle_A,method.lambda_cycle_B"]
        status = ("finished", "finished", "cut", "finished", "diverged")[number % 5]
        results = () if status == "diverged" else (Result(100, 10, value),)
        trials.append(Trial(number, values, results, status=status))
    return trials


def test_optuna_proposes_the_same_when_asked_again_with_the_same_knowledge() -> None:
    known = tried(14)
    assert draw(OPTUNA, 14, known) == draw(OPTUNA, 14, known)
    assert draw(OPTUNA, 14, known) != draw(OPTUNA, 15, known)
    # Who is still at work is known too.
    draw(OPTUNA, 15, [*known, Trial(14, draw(OPTUNA, 14, known))])


def test_optuna_learns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weights = [trial.values["method.lambda_cycle_A,method.lambda_cycle_B"] for trial in tried(40)]
    assert sum(weights[25:]) / 15 < sum(weights[:10]) / 10 / 2


@pytest.mark.parametrize("mode", ["min", "max"])
def test_optuna_is_told_which_end_is_best(mode: str) -> None:
    space = {"method.lambda_identity": Values(uniform=(0, 1))}
    spec = SweepConfig(base="demo", scheduler="none", space=space, num_trials=40, sampler="optuna", mode=mode)  # pyright: ignore
    trials: list[Trial] = []
    for number in range(30):
        values = draw(spec, number, trials)
        result = Result(100, 10, values["method.lambda_identity"])
        trials.append(Trial(number, values, (result,), status="finished"))
    late = sum(trial.values["method.lambda_identity"] for trial in trials[20:]) / 10
    assert late < 0.35 if mode == "min" else late > 0.65
