"""Sends a sweep to MLflow, idempotently: the parent run of its trials."""

import json
from pathlib import Path
from typing import Any

from cyclegan_dist.storage.layout import Status
from cyclegan_dist.tracking.mlflow_run import MlflowClient, find_experiment, find_sweep

FILES = ("sweep.yaml", "results.csv", "trials.json", "best.yaml", "history.png", "parallel_coordinates.png")
LONGEST = 6000  # characters of a value in MLflow


def send_sweep(folder: Path, experiment: str, artifacts: Path) -> None:
    """Send `trials.json` of a sweep's folder, with the files beside it.

    Raises:
        MlflowException: if the server fails.
    """
    results = json.loads((folder / "trials.json").read_text())
    client = MlflowClient()
    run_id = find_sweep(client, find_experiment(client, experiment, artifacts), folder, results["key"])
    client.update_run(run_id, status="RUNNING")
    for name in FILES:
        if (folder / name).exists():
            client.log_artifact(run_id, str(folder / name))
    for key in ("metric", "mode"):
        client.set_tag(run_id, f"sweep.{key}", results[key])
    best = next((trial for trial in results["trials"] if trial["name"] == results["best"]), None)
    if best is not None:
        _send_best(client, run_id, results["metric"], best)
    for status in ("finished", "cut", "diverged", "failed", "crashed"):
        client.log_metric(run_id, f"trials/{status}", sum(trial["status"] == status for trial in results["trials"]))
    client.set_terminated(run_id, status=Status.FINISHED if results["is_over"] else Status.KILLED)


def _send_best(client: MlflowClient, run_id: str, metric: str, trial: dict[str, Any]) -> None:
    """As tags: a resumed sweep may find a better trial, and MLflow does not change parameters."""
    last = trial["results"][-1]
    client.set_tag(run_id, "best.trial", trial["name"])
    for key, value in trial["values"].items():
        client.set_tag(run_id, f"best.{key.replace(',', ' ')}", str(value)[:LONGEST])
    client.log_metric(run_id, f"best/{metric}", last["value"], step=last["step"])
