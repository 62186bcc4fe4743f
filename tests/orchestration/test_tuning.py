"""Trials of a sweep on Ray Tune: starting, reporting and stopping."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.sweep.progress import SweepProgress
from cyclegan_dist.sweep.state import Sweep, open_sweep
from tests.sweep.sweeps import tiny_sweep

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Ray's own imports
]


@pytest.fixture
def sweep(tiny_run: Callable[..., Config]) -> Iterator[Sweep]:
    with open_sweep(tiny_sweep(tiny_run(), scheduler="asha", max_images=90, grace_images=10)) as sweep:
        yield sweep


@pytest.fixture
def trials(sweep: Sweep) -> Iterator[Any]:
    from cyclegan_dist.orchestration.tuning import Trials

    with Trials(sweep, False, SweepProgress(sweep.spec, sweep.record.trials, Console(quiet=True))) as trials:
        yield trials


def started(trials: Any, error_file: Path | None = None) -> Any:
    """A trial as Tune has it."""
    return SimpleNamespace(config=trials.start_next(), error_file=error_file)


def report(trials: Any, trial: Any, nimg: int, value: float | None) -> bool:
    """A trial reports. Returns whether a stop was requested."""
    trials.on_trial_result(0, [], trial, {"nimg": nimg, "value": value})
    return (Path(trial.config["run_dir"]) / "STOP").exists()


def test_a_trial_that_is_behind_is_stopped(trials: Any) -> None:
    first, second = started(trials), started(trials)
    assert not report(trials, first, 10, 1.0)
    assert not report(trials, second, 10, None)  # another record of its journal
    assert report(trials, second, 12, 2.0)
    assert trials.sweep.record.trials[1].results == {12: 2.0}


def test_crashes_are_counted_and_the_last_one_ends_the_trial(trials: Any, tmp_path: Path) -> None:
    (tmp_path / "error").write_text("Traceback\n  somewhere\ncyclegan_dist.errors.UsageError: rank 0 died\n")
    trial = started(trials, tmp_path / "error")
    trials.on_trial_recover(0, [], trial)
    trials.on_trial_recover(0, [], trial)
    trials.on_trial_error(0, [], trial)
    ended = trials.sweep.record.trials[0]
    assert (ended.status, ended.text, ended.crashes) == ("crashed", "rank 0 died", 2)


def test_a_stop_reaches_every_trial_and_no_other_starts(trials: Any) -> None:
    running = [started(trials), started(trials)]
    trials.stop()
    assert trials.start_next() is None
    for trial in running:
        assert (Path(trial.config["run_dir"]) / "STOP").exists()
        trials.on_trial_complete(0, [], trial)
    assert [trial.status for trial in trials.sweep.record.trials.values()] == ["open", "open"]


@pytest.mark.parametrize(("workers", "wanted", "at_once"), [(1, 0, 5), (2, 0, 2), (2, 1, 1), (5, 1, 1)])
def test_trials_never_wait_for_each_others_workers(
    tiny_run: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, workers: int, wanted: int, at_once: int
) -> None:
    from cyclegan_dist.orchestration import tuning

    monkeypatch.setattr(tuning, "room_for", lambda config: (5, False))
    with open_sweep(tiny_sweep(tiny_run(), workers_per_trial=workers, max_concurrent=wanted)) as sweep:
        assert tuning.trials_at_once(sweep) == (at_once, False)


def test_more_trials_than_the_cluster_has_room_for_are_refused(
    tiny_run: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cyclegan_dist.orchestration import tuning

    monkeypatch.setattr(tuning, "room_for", lambda config: (5, False))
    message = "3 trials at once of 2 workers each are more than the cluster's 5 CPU cores"
    with (
        open_sweep(tiny_sweep(tiny_run(), workers_per_trial=2, max_concurrent=3)) as sweep,
        pytest.raises(UsageError, match=message),
    ):
        tuning.trials_at_once(sweep)
