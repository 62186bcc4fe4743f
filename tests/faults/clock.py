"""Drill A12: wrong file times and a clock that is set back."""

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
    "file times are a day off; the clock is set back by an hour during training",
    "the checkpoint of the highest step is taken; no duration is negative; points keep their order in MLflow",
    slow=True,
)
def wrong_clocks(stage: Stage) -> Measured:
    right, tries = _resume_with_file_times(stage)
    config = _train_while_the_clock_is_set_back(stage)
    journal = records(config)
    back = sum(later["time"] < earlier["time"] for earlier, later in itertools.pairwise(journal))
    figures = [value for r in journal if r["kind"] == "metrics" for key, value in r["values"].items() if "perf" in key]
    negative = sum(value < 0 for value in figures)
    points = [(r["step"], r["values"]["loss/G"]) for r in journal if r["kind"] == "metrics"]
    arrived, duration_ms = _in_mlflow(stage, config) if stage.thorough else (points, 0)
    return Measured(
        f"the right checkpoint for {right} of {tries} orders of file times; clock set back {back} time in a run of "
        f"{len(points)} points: negative durations {negative} of {len(figures)}; in MLflow {len(arrived)} points, equal: "
        f"{arrived == points}, duration of the run {duration_ms} ms",
        right == tries and back == 1 and not negative and arrived == points and duration_ms >= 0,
    )


def _resume_with_file_times(stage: Stage) -> tuple[int, int]:
    """Orders of the checkpoints' file times for which the checkpoint of the highest step was taken, and all orders."""
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


def _train_while_the_clock_is_set_back(stage: Stage) -> Config:
    """Train a run during which the clock is set back by an hour."""
    config = stage.run(name="back", every__log=2, stop_after=40)
    real, calls = time.time, itertools.count()
    with mock.patch.object(time, "time", lambda: real() - (HOUR_S if next(calls) > 10 else 0)):
        go(config)
    return config


def _in_mlflow(stage: Stage, config: Config) -> tuple[list[tuple[int, float]], int]:
    """The points of a loss in MLflow, by step, and the run's duration there."""
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
    assert latest == points[-1][0], "the latest value in MLflow is not that of the last step"
    return points, ended - began
