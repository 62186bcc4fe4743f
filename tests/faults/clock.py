"""A12: clocks that are wrong."""

import itertools
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

from cyclegan_dist.config.config import Config
from tests.faults.matrix import Measured, Stage, row
from tests.faults.storage import store
from tests.training.trainings import go, records

DAY_S, HOUR_S = 86400, 3600


@row(
    "A12",
    "files are dated a day back or ahead, the clock is set back an hour in the middle of training",
    "the newest checkpoint is the one of the highest step; no duration is negative; points keep their order in MLflow",
    slow=True,
)
def wrong_clocks(stage: Stage) -> Measured:
    right, tries = _dated(stage)
    config = _set_back(stage)
    told = records(config)
    back = sum(later["time"] < earlier["time"] for earlier, later in itertools.pairwise(told))
    figures = [value for r in told if r["kind"] == "metrics" for key, value in r["values"].items() if "perf" in key]
    negative = sum(value < 0 for value in figures)
    points = [(r["step"], r["values"]["loss/G"]) for r in told if r["kind"] == "metrics"]
    arrived, duration_ms = _in_mlflow(stage, config) if stage.thorough else (points, 0)
    return Measured(
        f"the right one of {tries} orders of dates: {right}; set back {back} time in a run of {len(points)} points: "
        f"negative durations {negative} of {len(figures)}; in MLflow {len(arrived)} points, the same: {arrived == points}, "
        f"duration of the run {duration_ms} ms",
        right == tries and back == 1 and not negative and arrived == points and duration_ms >= 0,
    )


def _dated(stage: Stage) -> tuple[int, int]:
    """For how many orders of the checkpoints' dates the one of the highest step was taken."""
    config = stage.run(name="dated", every__checkpoint=4, stop_after=12, keep_checkpoints=3)
    go(config)
    folders = sorted((config.run_dir / "checkpoints").glob("step-*"))
    orders = list(itertools.permutations((-DAY_S, 0, DAY_S), len(folders)))
    right = 0
    for order in orders:
        for folder, shift in zip(folders, order, strict=True):
            for path in (*folder.iterdir(), folder):
                os.utime(path, (time.time() + shift, time.time() + shift))
        found = store(config.run_dir / "checkpoints").load_latest()
        right += found is not None and found.step == 6
    go(stage.run(name="dated", every__checkpoint=4, stop_after=16, keep_checkpoints=3))
    resumed = any("resumed at step 6" in r.get("text", "") for r in records(config))
    return right + resumed, len(orders) + 1


def _set_back(stage: Stage) -> Config:
    """A run in whose middle the clock is set back by an hour."""
    config = stage.run(name="back", every__log=2, stop_after=40)
    real, calls = time.time, itertools.count()
    with mock.patch.object(time, "time", lambda: real() - (HOUR_S if next(calls) > 10 else 0)):
        go(config)
    return config


def _in_mlflow(stage: Stage, config: Config) -> tuple[list[tuple[int, float]], int]:
    """The points of a loss as MLflow shows them, by step, and how long it says the run took."""
    database = stage.folder / "mlflow.db"
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{database}"}
    command = [sys.executable, "-m", "pipelines.sync", str(config.run_dir)]
    subprocess.run(command, env=environment, check=True, capture_output=True, cwd=Path(__file__).parents[2])
    with sqlite3.connect(database) as connection:
        points: list[Any] = connection.execute(
            "select step, value from metrics where key = 'loss/G' order by step, timestamp"
        ).fetchall()
        latest = connection.execute("select step from latest_metrics where key = 'loss/G'").fetchone()[0]
        began, ended = connection.execute("select start_time, end_time from runs").fetchone()
    assert latest == points[-1][0], "the value that is shown for the run is not its last"
    return points, ended - began
