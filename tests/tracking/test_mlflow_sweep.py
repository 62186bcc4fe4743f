"""A sweep in a real MLflow store: its trials are nested under one run, in any order and however often they are sent."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cyclegan_dist.config.config import Config
from cyclegan_dist.sweep.results import write_results
from cyclegan_dist.sweep.state import open_sweep
from cyclegan_dist.tracking.journal import Journal
from tests.conftest import MLFLOW
from tests.sweep.sweeps import tiny_sweep

pytestmark = MLFLOW


def test_trials_are_nested_under_one_run_of_the_sweep(tiny_run: Callable[..., Config], store: str) -> None:
    from mlflow import MlflowClient

    from cyclegan_dist.training.sender import sync

    done = threading.Event()
    done.set()
    with open_sweep(tiny_sweep(tiny_run(), num_trials=2)) as sweep:
        for number in range(2):
            found = sweep.next()
            assert found is not None
            with Journal(found[1].run_dir) as journal:
                journal.write("run", config={"optim.lr": 0.1}, data=[], nimg=0, total=40, world_size=1)
                journal.write("metrics", step=20, nimg=40, values={"loss/cycle_A": 0.5 + number})
                journal.write("end", status="FINISHED")
            sweep.report(number, 40, 0.5 + number)
            sweep.finish(number)
        write_results(sweep)
    folders = [sweep.folder / "trial-0000", sweep.folder / "trial-0001", sweep.folder]
    with ThreadPoolExecutor(2) as pool:  # before the database has a table
        list(pool.map(lambda folder: sync(folder, done), folders))
    sync(sweep.folder, done)

    client = MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'cyclegan_dist'")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"trial-0000", "trial-0001", "swept"}
    parent = runs["swept"]
    for name in ("trial-0000", "trial-0001"):
        assert runs[name].data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert "mlflow.parentRunId" not in parent.data.tags
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["best.trial"] == "trial-0000"
    assert parent.data.metrics == {
        "best/loss/cycle": 0.5, "trials/finished": 2, "trials/cut": 0, "trials/diverged": 0, "trials/failed": 0,
        "trials/crashed": 0,
    }  # fmt: skip
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"sweep.yaml", "results.csv", "trials.json", "best.yaml"} <= files
    assert json.loads((sweep.folder / "trials.json").read_text())["key"] == parent.data.tags["cyclegan_dist.key"]
