"""The MLflow store: reachable, writable, and fast enough."""

import socket
import sqlite3
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cyclegan_dist.config.config import Config, home
from cyclegan_dist.errors import pipeline_command
from cyclegan_dist.operations.doctor.report import Report, first_line
from cyclegan_dist.registry.sources import use_store
from cyclegan_dist.storage.urls import sqlite_path
from cyclegan_dist.tracking.sender_state import server_of

CONNECT_S, SLOW_S = 5.0, 5.0
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}
EXPERIMENT = "cyclegan_dist.doctor"
ADVICE = (
    "Set MLFLOW_TRACKING_URI, or fix the store; training continues without it, and "
    f"{pipeline_command('sync')} sends the data later."
)


def check_mlflow(report: Report, config: Config, nodes: int) -> None:
    """Check that a run can be written to the server and deleted, or a database file written or created. The launcher
    may run on any of the `nodes`.
    """
    if not config.tracking.mlflow:
        report.add("green", "off: tracking.mlflow is False")
        return
    uri = use_store()
    if (database := sqlite_path(uri)) is not None:
        _check_file(report, database, nodes)
        return
    where = server_of(uri)
    try:
        parts = urlsplit(uri)
        port = parts.port or PORTS.get(parts.scheme.split("+")[0])
        if parts.hostname and port:  # clients of databases would retry for minutes
            socket.create_connection((parts.hostname, port), timeout=CONNECT_S).close()
        from cyclegan_dist.tracking.mlflow_run import MlflowClient  # loads mlflow, which takes seconds

        began = time.monotonic()
        _write_run(MlflowClient(), config.tracking.experiment)
        took_s = time.monotonic() - began
    except Exception as error:  # MLflow raises many kinds
        report.add("red", f"{where}: {first_line(error)}", ADVICE)
        return
    found = f"{where} accepted a run and a file in {took_s:.1f} s; both are deleted again"
    if took_s > SLOW_S:
        advice = "Training does not wait for it, but its last points may be minutes late: look at the server's load."
        report.add("yellow", found, advice, {"seconds": took_s})
    report.ok(found, {"seconds": took_s})


def _write_run(client: Any, experiment: str) -> None:
    """Write and delete a run with a metric and a file, in a separate experiment."""
    from cyclegan_dist.tracking.mlflow_run import find_experiment

    theirs, ours = (client.get_experiment_by_name(name) for name in (experiment, EXPERIMENT))
    if theirs is not None and theirs.lifecycle_stage == "deleted":
        raise OSError(f"experiment {experiment} is deleted: restore it, or set --tracking.experiment to another")
    if ours is not None and ours.lifecycle_stage == "deleted":
        client.restore_experiment(ours.experiment_id)
    experiment_id = find_experiment(client, EXPERIMENT, home() / "mlartifacts")
    run_id = client.create_run(experiment_id, run_name=f"doctor-{uuid.uuid4().hex[:8]}").info.run_id
    try:
        client.log_metric(run_id, "probe", 1.0)
        client.log_text(run_id, "written by pipelines.doctor", "probe.txt")
    finally:
        client.delete_run(run_id)


def _check_file(report: Report, path: Path, nodes: int) -> None:
    """Check that the database file, if there is one, can be locked and written."""
    if exists := path.exists():
        try:
            with closing(sqlite3.connect(path, timeout=CONNECT_S, isolation_level=None)) as database:
                for statement in ("BEGIN IMMEDIATE", "CREATE TABLE doctor (probe)", "ROLLBACK"):
                    database.execute(statement)
        except sqlite3.Error as error:
            report.add("red", f"{path}: {first_line(error)}", ADVICE)
    if nodes > 1:
        advice = "Set MLFLOW_TRACKING_URI to a server, so that a launcher on another node finds the same runs."
        report.add("yellow", f"{path} is a file of this machine", advice)
    report.ok(f"{path} {'can be written' if exists else 'will be made'}")
