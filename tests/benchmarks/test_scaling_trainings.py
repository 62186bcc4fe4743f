"""Tests that each rank has the same work under every launcher."""

from pathlib import Path
from typing import Any, get_args

import pytest

from benchmarks import scaling_trainings
from benchmarks.runs import LaunchSetup
from benchmarks.scaling_trainings import COSTS, TITLES, Training, launch_setup, timed


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, dict[str, Any]]]:
    """Replaces training. Returns launcher, name and options of each run."""
    runs = []

    def train(folder: Path, how: LaunchSetup, preset: str, name: str, options: dict[str, Any]) -> list[dict[str, Any]]:
        runs.append((how.launcher, name, {**options, **how.options}))
        points = ((0, 0), (3, 3000), (6, 9000))
        return [{"kind": "metrics", "step": step, "time": time} for step, time in points]

    monkeypatch.setattr(scaling_trainings, "run", train)
    return runs


@pytest.mark.parametrize("training", get_args(Training))
def test_each_rank_has_the_same_number_of_images_and_steps(training, started, tmp_path: Path) -> None:
    candidate = timed(training, tmp_path, {"data.load_size": 64}, micro_batch=4, steps=15)
    assert [candidate(), candidate()] == [2.0, 2.0]
    (launcher, first, options), (_, second, _) = started
    batch = 4 * launch_setup(training, 4).ranks
    assert options["optim.batch_size"] == batch and options["stop_after"] == 15 * batch
    assert options["every.log"] == 3 * batch and options["data.load_size"] == 64
    assert first != second
    assert options["tracking.mlflow"] is (training == "mlflow")
    assert options["every.checkpoint"] == (5 * batch if training == "checkpoints" else 0)
    assert launcher.split()[0].lower() in TITLES[training].lower()


def test_overheads_compare_trainings_with_the_same_number_of_ranks() -> None:
    for name, base in COSTS:
        assert launch_setup(name, 4).ranks == launch_setup(base, 4).ranks
