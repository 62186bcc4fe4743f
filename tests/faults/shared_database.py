"""Drill G34: several trainings send to one SQLite file at once."""

import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

from cyclegan_dist.config.config import Config, dump_config
from tests.faults.matrix import Measured, Stage, row
from tests.faults.ray_heads import end
from tests.training.trainings import records

TIMEOUT_S = 900.0


@row(
    "G34",
    "four trainings at once, and their senders, create and fill one SQLite file",
    "each is one run there with every point once, its images and its model; no training fails",
    nightly=True,
)
def four_at_once(stage: Stage) -> Measured:
    options = {"tracking__mlflow": True, "every__log": 2, "every__samples": 8}
    configs = [stage.run(name=f"run{number}", seed=number, **options) for number in range(4)]
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{stage.folder}/mlflow.db"}
    running = [_start(stage, config, environment) for config in configs]
    try:
        codes = [process.wait(TIMEOUT_S) for process in running]
    finally:
        for process in running:
            end(process)
    said = sum("not everything reached" in (stage.folder / f"{config.name}.log").read_text() for config in configs)
    wanted = missing = repeated = runs = 0
    with sqlite3.connect(stage.folder / "mlflow.db") as database:
        for config in configs:
            ids = database.execute("select run_uuid from runs where name = ?", (config.name,)).fetchall()
            runs += len(ids)
            metrics = [record for record in records(config) if record["kind"] == "metrics"]
            points = Counter((key, record["step"]) for record in metrics for key in record["values"])
            query = "select key, step from metrics where run_uuid = ?"
            found = Counter(point for (run,) in ids for point in database.execute(query, (run,)).fetchall())
            wanted += points.total()
            missing, repeated = missing + (points - found).total(), repeated + (found - points).total()
        finished = database.execute("select count(*) from runs where status = 'FINISHED'").fetchone()[0]
        models = database.execute("select count(*) from logged_models").fetchone()[0]
    return Measured(
        f"exit codes {codes}; {runs} runs in MLflow, {finished} of them finished; {wanted} points, lost {missing}, repeated "
        f"{repeated}; models {models}; trainings that waited for their sender in vain {said} (a busy machine)",
        codes == [0] * 4 and (runs, finished, models) == (4, 4, 4) and wanted > 0 and not missing + repeated,
    )


def _start(stage: Stage, config: Config, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    path = stage.folder / f"{config.name}.yaml"
    path.write_text(dump_config(config))
    command = [sys.executable, "-m", "cyclegan_dist.train", str(path), "--launcher", "local"]
    with (stage.folder / f"{config.name}.log").open("w") as log:
        root = Path(__file__).parents[2]
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=root)
