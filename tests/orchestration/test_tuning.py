"""Tune's ASHA as a sweep uses it: budgets in images, and the same verdicts before and after an interruption."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from cyclegan_dist.config.config import Config
from cyclegan_dist.sweep.progress import SweepProgress
from cyclegan_dist.sweep.spec import SweepConfig
from cyclegan_dist.sweep.state import Sweep, open_sweep
from tests.sweep.sweeps import tiny_sweep

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Ray's own imports
]

TRIALS = 9


@pytest.fixture
def spec(tiny_run: Callable[..., Config]) -> SweepConfig:
    return tiny_sweep(tiny_run(), num_trials=TRIALS, scheduler="asha", max_images=90, grace_images=10)


def scheduler_of(sweep: Sweep) -> Any:
    from cyclegan_dist.orchestration.tuning import _Asha, _Trials

    return _Asha(_Trials(sweep, False, SweepProgress(sweep.spec, sweep.record.trials, Console(quiet=True))))


def tell(sweep: Sweep, scheduler: Any, number: int, nimg: int, value: float) -> bool:
    """A trial says something. Returns whether it is told to stop."""
    trial = SimpleNamespace(
        trial_id=f"tune's own {np.random.default_rng().integers(1 << 40)}", config={"number": number}
    )
    scheduler.on_trial_add(None, trial)
    result = {"number": number, "nimg": nimg, "step": nimg, "value": value}
    assert scheduler.on_trial_result(None, trial, result) == "CONTINUE"  # it ends by itself
    return (sweep.folder / f"trial-{number:04d}" / "STOP").exists()


def news() -> list[tuple[int, int, float]]:
    """What nine trials say, in an order as of trials that run beside each other."""
    generator = np.random.default_rng(3)
    told = [(number, nimg, float(generator.uniform())) for nimg in range(5, 95, 5) for number in range(TRIALS)]
    return sorted(told, key=lambda one: one[1] + 7 * one[0] % 11)


def verdicts(spec: SweepConfig, interrupted_after: int | None) -> list[int]:
    """The trials that are stopped, in order."""
    stopped: list[int] = []
    at = 0
    for until in (interrupted_after, None):
        with open_sweep(spec) as sweep:
            while (found := sweep.next()) is not None:
                (found[1].run_dir / "STOP").unlink(missing_ok=True)
            scheduler = scheduler_of(sweep)
            for number, nimg, value in news()[at:until]:
                if number not in stopped and tell(sweep, scheduler, number, nimg, value):
                    stopped.append(number)
            at = until or 0
        if until is None:
            return stopped
    return stopped


def test_those_that_are_behind_are_asked_to_stop(spec: SweepConfig) -> None:
    with open_sweep(spec) as sweep:
        while sweep.next() is not None:
            pass
        scheduler = scheduler_of(sweep)
        assert not tell(sweep, scheduler, 0, 5, 9.0)  # before grace_images nothing counts
        assert not tell(sweep, scheduler, 0, 10, 1.0)
        assert not tell(sweep, scheduler, 1, 10, 0.5)  # better than who came before
        assert tell(sweep, scheduler, 2, 10, 2.0)
        assert sweep.record.trials[2].is_cut
        assert not tell(sweep, scheduler, 3, 12, 0.4)
        assert not tell(sweep, scheduler, 1, 20, 99.0)  # between two rungs nothing counts
        assert not tell(sweep, scheduler, 1, 90, 0.2)  # at max_images a trial ends by itself


def test_an_interruption_changes_no_verdict(spec: SweepConfig, own_home: Path) -> None:
    whole = verdicts(spec, None)
    assert 2 < len(whole) < TRIALS
    shutil.rmtree(own_home / "runs" / "swept")
    assert verdicts(spec, 61) == whole


def test_trials_never_wait_for_each_others_workers(
    tiny_run: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cyclegan_dist.errors import UsageError
    from cyclegan_dist.orchestration import tuning

    monkeypatch.setattr(tuning, "room_for", lambda config: (5, False))
    for workers, asked, expected in ((1, 0, 5), (2, 0, 2), (2, 1, 1), (5, 1, 1)):
        with open_sweep(
            tiny_sweep(tiny_run(), name=f"{workers}-{asked}", workers_per_trial=workers, max_concurrent=asked)
        ) as s:
            assert tuning._at_once(s) == (expected, False)
    with (
        open_sweep(tiny_sweep(tiny_run(), workers_per_trial=2, max_concurrent=3)) as sweep,
        pytest.raises(UsageError, match="3 trials at once of 2 workers each are more than the cluster's 5 CPU cores"),
    ):
        tuning._at_once(sweep)
