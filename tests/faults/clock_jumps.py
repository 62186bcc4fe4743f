"""Drill G32: the clock jumps by hours, forward and back."""

import itertools
import os
import time
from pathlib import Path
from unittest import mock

from cyclegan_dist.translation.job import Job, Task
from cyclegan_dist.translation.resume import unfinished
from tests.faults.matrix import Measured, Stage, row
from tests.training.trainings import differences, final_state, go, records

HOUR_S = 3600
JUMPS_H = (5, -6, 48, -47.5)


@row(
    "G32",
    "the clock jumps forward and back by hours while a run trains, resumes and saves, and files of an older translation "
    "are dated in the future",
    "no timeout strikes, nothing is lost, the result is bit-identical; what an interrupted translation has not written is "
    "not taken as done",
)
def jumps(stage: Stage) -> Measured:
    options = {"every__log": 2, "every__checkpoint": 8, "keep_checkpoints": 2, "world__timeout_s": 5.0}
    undisturbed = stage.run(name="undisturbed", stop_after=40, **options)
    go(undisturbed)
    real, calls = time.time, itertools.count()

    def jumping() -> float:
        return real() + sum(hours * HOUR_S for n, hours in enumerate(JUMPS_H) if next(calls) > 6 * (n + 1))

    with mock.patch.object(time, "time", jumping):
        go(stage.run(name="jumps", stop_after=20, **options))
        config = stage.run(name="jumps", stop_after=40, **options)
        status = go(config)
    times = [record["time"] for record in records(config)]
    seen = sum(abs(later - earlier) > 1000 * HOUR_S for earlier, later in itertools.pairwise(times))
    figures = {(r["step"], k): v for r in records(config) if r["kind"] == "metrics" for k, v in r["values"].items()}
    wanted = {(r["step"], k) for r in records(undisturbed) if r["kind"] == "metrics" for k in r["values"]}
    negative = sum(value < 0 for (_, key), value in figures.items() if key.startswith("perf/"))
    unequal = differences(final_state(undisturbed, 1), final_state(config, 1))
    left = {hours: _left_of_a_translation(stage, hours) for hours in (-30, 0, 30)}
    return Measured(
        f"jumps by {', '.join(f'{hours:+g}' for hours in JUMPS_H)} hours, {seen} seen in the journal: {status}, values "
        f"missing {len(wanted - figures.keys())} of {len(wanted)}, negative durations {negative}, differences of the state "
        f"{len(unequal)}; a translation resumed over files dated -30, 0 and +30 hours: left to do {[*left.values()]} of 2",
        status == "FINISHED"
        and seen > 0
        and wanted == figures.keys()
        and not negative
        and not unequal
        and set(left.values()) == {1},
    )


def _left_of_a_translation(stage: Stage, hours: int) -> int:
    """Tasks left of an interrupted translation of two, over files of an older one that are dated so; one was done."""
    out = stage.folder / f"out{hours}"
    job = Job(snapshot=str(stage.folder), direction="AB")
    tasks = [Task(source=name, target=str(out / name)) for name in ("0.png", "1.png")]
    out.mkdir()
    for task in tasks:
        Path(task.target).write_bytes(b"of another model")
        os.utime(task.target, (time.time() + hours * HOUR_S,) * 2)
    try:
        with unfinished(out, job, str(stage.folder), tasks, overwrite=True):
            Path(tasks[0].target).write_bytes(b"of this one")
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    with unfinished(out, job, str(stage.folder), tasks) as left:
        return len(left)
