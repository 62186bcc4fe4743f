"""Losses that a resumed run records are those of an uninterrupted one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cyclegan_dist.config.config import Config
from cyclegan_dist.training.hooks.log import LogWindow
from cyclegan_dist.training.hooks.progress import Progress
from tests.training.trainings import ALONE, go, go_on, records

MakeRun = Callable[..., Config]


def losses(config: Config) -> dict[int, dict[str, float]]:
    return {
        r["step"]: {key: value for key, value in r["values"].items() if not key.startswith("perf/")}
        for r in records(config)
        if r["kind"] == "metrics"
    }


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_resumed_run_records_the_same_means(tiny_run: MakeRun, ranks: int) -> None:
    """The checkpoint of step 4 is in the middle of the window of steps 3 to 5."""
    options: dict[str, Any] = {"optim__batch_size": 4, "every__log": 12, "every__checkpoint": 16}
    whole = tiny_run(name="whole", stop_after=32, **options)
    go_on(ranks, whole)
    go_on(ranks, tiny_run(name="cut", stop_after=16, **options))
    cut = tiny_run(name="cut", stop_after=32, **options)
    go_on(ranks, cut)
    expected, found = losses(whole), losses(cut)
    assert set(found) - set(expected) == {4}  # the record of the stop
    assert {step: found[step] for step in expected} == expected


def at(step: int, value: float, seconds: float = 1.0) -> Progress:
    return Progress(step, 2 * step, 2, 10, 20, {"G": 0.1}, {"G": torch.tensor(value)}, seconds, seconds / 2)


def test_a_window_begins_after_the_step_of_a_record() -> None:
    window = LogWindow(4)
    for step, value in enumerate((1.0, 3.0, 5.0), start=1):
        window(at(step, value))
        assert window.values(at(step, value), ALONE)["loss/G"] == {1: 1.0, 2: 2.0, 3: 5.0}[step]


def test_a_window_is_restored_on_another_number_of_ranks() -> None:
    states = []
    for value in (1.0, 3.0):
        window = LogWindow(100)
        window(at(1, value))
        states.append(window.state_dict())
    restored = LogWindow(100)
    restored.load(states, {"total": 4.0, "wait": 1.0})
    values = restored.values(restored.resumed(at(1, 0)), ALONE)
    assert (values["loss/G"], values["lr/G"]) == (2.0, 0.1)
    assert (values["perf/images_per_s"], values["perf/data_wait_frac"]) == (0.5, 0.25)


def test_nothing_is_recorded_before_the_first_step(tiny_run: MakeRun) -> None:
    assert LogWindow(1).values(at(0, 0), ALONE) == {}
    config = tiny_run()
    (config.run_dir / "STOP").touch()
    assert go(config) == "KILLED"
    assert not losses(config)
