"""A sweep in MLflow: the run that its trials' runs are shown below. Telling it again changes nothing."""

import json
from pathlib import Path
from typing import Any

from cyclegan_dist.tracking.mlflow_run import MlflowClient, find_experiment, find_sweep

FILES = ("sweep.yaml", "results.csv", "trials.json", "best.yaml", "history.png", "parallel_coordinates.png")
LONGEST = 6000  # characters that MLflow takes as a parameter


def send_sweep(folder: Path, experiment: str, artifacts: Path) -> None:
    """Tell MLflow what `trials.json` in a sweep's folder says, with the files beside it.

    Raises:
        MlflowException: if the server does not take it.
    """
    told = json.loads((folder / "trials.json").read_text())
    client = MlflowClient()
    run_id = find_sweep(client, find_experiment(client, experiment, artifacts), folder, told["key"])
    client.update_run(run_id, status="RUNNING")
    for name in FILES:
        if (folder / name).exists():
            client.log_artifact(run_id, str(folder / name))
    for key in ("metric", "mode"):
        client.set_tag(run_id, f"sweep.{key}", told[key])
    found = next((trial for trial in told["trials"] if trial["name"] == told["best"]), None)
    if found is not None:
        _tell_best(client, run_id, told["metric"], found)
    for status in ("finished", "cut", "diverged", "failed", "crashed"):
        client.log_metric(run_id, f"trials/{status}", sum(trial["status"] == status for trial in told["trials"]))
    client.set_terminated(run_id, status="FINISHED" if told["is_over"] else "KILLED")


def _tell_best(client: MlflowClient, run_id: str, metric: str, trial: dict[str, Any]) -> None:
    """As tags, for a sweep that goes on may find a better one, and MLflow keeps the first value of a parameter."""
    last = trial["results"][-1]
    client.set_tag(run_id, "best.trial", trial["name"])
    for key, value in trial["values"].items():
        client.set_tag(run_id, f"best.{key.replace(',', ' ')}", str(value)[:LONGEST])
    client.log_metric(run_id, f"best/{metric}", last["value"], step=last["step"])
