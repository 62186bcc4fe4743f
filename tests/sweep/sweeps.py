"""Builders of sweeps: one over the tiny config, and the record of one with trials in it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cyclegan_dist.config.config import Config, dump_config
from cyclegan_dist.sweep.config import SweepConfig, Values
from cyclegan_dist.sweep.record import Record
from cyclegan_dist.sweep.sampling import draw
from cyclegan_dist.sweep.state import Sweep
from cyclegan_dist.tracking.journal import Journal

LAMBDAS = "method.lambda_cycle_A,method.lambda_cycle_B"
SPACE = {
    LAMBDAS: Values(loguniform=(1, 100)),
    "method.lambda_identity": Values(uniform=(0, 1)),
    "method.pool_size": Values(choice=(0, 50)),
    "schedule.policy": Values(choice=("linear", "step", "cosine")),
    "schedule.n_epochs_decay": Values(randint=(1, 3)),
}


def make_sweep(**changes: Any) -> SweepConfig:
    """A sweep over the demo."""
    given = {"name": "swept", "base": "demo", "space": SPACE, "num_trials": 40, "scheduler": "none", **changes}
    return SweepConfig(**given)


def tiny_sweep(config: Config, **changes: Any) -> SweepConfig:
    """Four draws of lambda_cycle on an opened run's config, which becomes the base."""
    base = Path(config.runs_dir).parent / "base.yaml"
    base.write_text(dump_config(dataclasses.replace(config, name="base")))
    return make_sweep(**{"base": str(base), "space": {LAMBDAS: Values(uniform=(1, 20))}, "num_trials": 4, **changes})


def make_record(path: Path, spec: SweepConfig, *trials: tuple[str, Sequence[float]]) -> Record:
    """A record of drawn trials, each with a status and the values it reported, at 100, 200, ... images."""
    record = Record(path, spec)
    for status, values in trials:
        add_trial(record, status, {100 * (i + 1): value for i, value in enumerate(values)})
    return record


def add_trial(record: Record, status: str, results: Mapping[int, float]) -> None:
    """A drawn trial that has reported values and, unless its status is open, ended."""
    before = record.study.get_trials()
    trial = record.add(draw(record.spec, len(before), before))
    for nimg, value in results.items():
        record.report(trial.number, nimg, value)
    if status != "open":
        record.end(trial.number, status)


def end_run(sweep: Sweep, number: int, value: float, status: str = "FINISHED") -> None:
    """What happens when a trial has run: its run's journal ends, after a value of the metric."""
    sweep.report(number, 40, value)
    with Journal(sweep.folder / f"trial-{number:04d}") as journal:
        journal.write("end", status=status)
    sweep.finish(number)
