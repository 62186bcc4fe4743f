"""A trial's values depend on the seed, its number and the trials before it; on nothing else."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cyclegan_dist.sweep.config import Values
from cyclegan_dist.sweep.record import Record
from cyclegan_dist.sweep.sampling import draw, draw_all
from tests.sweep.sweeps import LAMBDAS, add_trial, make_record, make_sweep

POLICIES = ("linear", "step", "cosine")


def test_draws_are_the_same_in_any_order_and_others_with_another_seed() -> None:
    spec = make_sweep()
    forth = [draw(spec, number) for number in range(20)]
    back = [draw(spec, number) for number in reversed(range(20))]
    assert forth == back[::-1]
    assert len({str(values) for values in forth}) == 20
    assert draw(make_sweep(seed=1), 0) not in forth


def test_draws_cover_their_ranges_evenly() -> None:
    drawn = [draw(make_sweep(), number) for number in range(300)]
    weights = [values[LAMBDAS] for values in drawn]
    assert 1 <= min(weights) < 1.2 and 80 < max(weights) <= 100
    assert 110 < sum(weight < 10 for weight in weights) < 190  # half of the factors
    for key, expected in (("method.pool_size", {0, 50}), ("schedule.n_epochs_decay", {1, 2, 3})):
        counts = Counter(values[key] for values in drawn)
        assert set(counts) == expected
        assert min(counts.values()) > 200 / len(expected)


def test_a_grid_is_every_combination_once() -> None:
    space = {"method.pool_size": Values(grid=(0, 50)), "schedule.policy": Values(choice=POLICIES)}
    spec = make_sweep(space=space, sampler="grid", num_trials=0)
    assert spec.trials == 6
    assert [tuple(trial.values.values()) for trial in draw_all(spec)] == [
        (0, "linear"), (0, "step"), (0, "cosine"), (50, "linear"), (50, "step"), (50, "cosine"),
    ]  # fmt: skip
    assert make_sweep(space=space, sampler="grid", num_trials=4).trials == 4


def test_random_takes_a_grid_in_turn() -> None:
    space = {"optim.lr": Values(loguniform=(1e-4, 1e-2)), "method.pool_size": Values(grid=(0, 50, 100))}
    drawn = [trial.values for trial in draw_all(make_sweep(space=space, num_trials=6))]
    assert [values["method.pool_size"] for values in drawn] == [0, 50, 100, 0, 50, 100]
    assert len({values["optim.lr"] for values in drawn}) == 6
    assert list(drawn[0]) == list(space)


@pytest.mark.parametrize("values", [("a", ""), (1, 2.5), (True, False), ([0.5, 0.9], [0.9, 0.99])])
def test_a_choice_is_drawn_and_recorded_as_it_is_written(tmp_path: Path, values: tuple[Any, ...]) -> None:
    record = Record(tmp_path / "sweep.jsonl", make_sweep(space={"key": Values(choice=values)}))
    for _ in range(8):
        add_trial(record, "finished", {100: 1.0})
    for trials in (record.trials, Record(tmp_path / "sweep.jsonl", record.spec).trials):
        assert {repr(trial.values["key"]) for trial in trials.values()} == {repr(value) for value in values}


def optimized(path: Path, key: str, **changes: Any) -> list[float]:
    """What sampler optuna draws for a key whose value is the metric; every fifth trial diverges, every fifth is cut."""
    record = Record(path, make_sweep(sampler="optuna", **changes))
    for number in range(40):
        value = draw(record.spec, number, record.study.get_trials())[key]
        status = ("finished", "finished", "cut", "finished", "diverged")[number % 5]
        add_trial(record, status, {} if status == "diverged" else {100: value})
    return [trial.values[key] for trial in record.trials.values()]


def test_optuna_learns(tmp_path: Path) -> None:
    weights = optimized(tmp_path / "sweep.jsonl", LAMBDAS)
    assert sum(weights[25:]) / 15 < sum(weights[:10]) / 10 / 2


@pytest.mark.parametrize("mode", ["min", "max"])
def test_optuna_learns_in_the_direction_of_the_mode(tmp_path: Path, mode: str) -> None:
    space = {"method.lambda_identity": Values(uniform=(0, 1))}
    drawn = optimized(tmp_path / "sweep.jsonl", "method.lambda_identity", space=space, mode=mode)
    late = sum(drawn[30:]) / 10
    assert late < 0.35 if mode == "min" else late > 0.65


def test_optuna_draws_the_same_again_from_the_same_trials_and_otherwise_from_others(tmp_path: Path) -> None:
    record = make_record(
        tmp_path / "sweep.jsonl", make_sweep(sampler="optuna"), *[("finished", [0.1 * i]) for i in range(14)]
    )
    first = record.study.get_trials()
    again = Record(tmp_path / "sweep.jsonl", record.spec).study.get_trials()
    assert draw(record.spec, 14, first) == draw(record.spec, 14, again)
    assert draw(record.spec, 14, first) != draw(record.spec, 15, first)
    add_trial(record, "open", {})  # runs: nobody knows how good it is, and it is not drawn again
    assert draw(record.spec, 15, record.study.get_trials()) != draw(record.spec, 15, first)
