"""Sends a sweep to MLflow, idempotently: the parent run of its trials."""

import json
from pathlib import Path

from cyclegan_dist.storage.layout import Status
from cyclegan_dist.tracking.mlflow_places import MlflowClient, find_experiment, find_sweep

RESULTS = "trials.json"
FILES = ("sweep.yaml", "results.csv", RESULTS, "best.yaml", "history.png", "parallel_coordinates.png")
LONGEST = 6000  # characters of a value in MLflow


def send_sweep(folder: Path, experiment: str, artifacts: Path) -> None:
    """Send `trials.json` of a sweep's folder, with the other files there.

    Raises:
        MlflowException: if the server fails.
    """
    sweep = json.loads((folder / RESULTS).read_text())
    trials, metric = sweep["trials"], sweep["metric"]
    client = MlflowClient()
    run_id = find_sweep(client, find_experiment(client, experiment, artifacts), folder, sweep["key"])
    client.update_run(run_id, status="RUNNING")
    for name in FILES:
        if (folder / name).exists():
            client.log_artifact(run_id, str(folder / name))
    tags = {"sweep.metric": metric, "sweep.mode": sweep["mode"]}
    for best in [trial for trial in trials if trial["name"] == sweep["best"]]:
        # As tags: a resumed sweep may find a better trial, and MLflow does not change parameters.
        tags["best.trial"] = best["name"]
        tags |= {f"best.{key.replace(',', ' ')}": str(value)[:LONGEST] for key, value in best["values"].items()}
        last = best["results"][-1]
        client.log_metric(run_id, f"best/{metric}", last["value"], step=last["step"])
    for key, value in tags.items():
        client.set_tag(run_id, key, value)
    for status in ("finished", "cut", "diverged", "failed", "crashed"):
        client.log_metric(run_id, f"trials/{status}", sum(trial["status"] == status for trial in trials))
    client.set_terminated(run_id, status=Status.FINISHED if sweep["is_over"] else Status.KILLED)
