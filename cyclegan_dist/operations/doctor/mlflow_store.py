"""Can the run be recorded: MLflow is reached, takes a run and its files, and says so in seconds."""

import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cyclegan_dist.config.config import Config, home
from cyclegan_dist.operations.doctor.findings import Finding, told
from cyclegan_dist.registry.sources import use_store
from cyclegan_dist.tracking.sender_state import server_of

CHECK = "MLflow"
CONNECT_S, ANSWER_S, SLOW_S = 5.0, 30.0, 5.0
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}
SQLITE = "sqlite:///"
EXPERIMENT = "cyclegan_dist.doctor"
WAY_OUT = "Training goes on without it and pipelines.sync sends the rest later; set MLFLOW_TRACKING_URI, or mend it."


def check_mlflow(config: Config, nodes: int) -> list[Finding]:
    """Write a run and delete it again.

    Args:
        config: of the training.
        nodes: of the cluster, any of which the launcher may run on.
    """
    if not config.tracking.mlflow:
        return [Finding(check=CHECK, level="green", found="off: tracking.mlflow is False")]
    uri = use_store()
    if uri.startswith(SQLITE):
        return [_check_file(Path(uri.removeprefix(SQLITE)), nodes)]
    where = server_of(uri)
    try:
        _connect(uri)
        from cyclegan_dist.tracking.mlflow_run import MlflowClient  # loads mlflow, which has its own time

        took_s = _within(ANSWER_S, lambda: _write_run(MlflowClient(), config.tracking.experiment))
    except Exception as error:  # MLflow has many of them; each is the answer
        return [Finding(check=CHECK, level="red", found=f"{where}: {told(error)}", advice=WAY_OUT)]
    found = f"{where} took a run and a file in {took_s:.1f} s; they are deleted again"
    if took_s > SLOW_S:
        advice = "It does not hold up training, but the last points may come minutes late; see what it is busy with."
        return [Finding(check=CHECK, level="yellow", found=found, advice=advice, figures={"seconds": took_s})]
    return [Finding(check=CHECK, level="green", found=found, figures={"seconds": took_s})]


def _connect(uri: str) -> None:
    """Find out in seconds that nobody is there: clients of databases try again for minutes."""
    parts = urlsplit(uri)
    port = parts.port or PORTS.get(parts.scheme.split("+")[0])
    if parts.hostname and port:
        with socket.create_connection((parts.hostname, port), timeout=CONNECT_S):
            pass


def _within(limit_s: float, work: Callable[[], Any]) -> float:
    """Seconds that `work` takes. It is left alone when its time is up, for it may wait for a server for ever."""
    problem: list[BaseException] = []

    def call() -> None:
        try:
            work()
        except BaseException as error:  # raised again below, in the thread that asked
            problem.append(error)

    began = time.monotonic()
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {limit_s:.0f} s")
    if problem:
        raise problem[0]
    return time.monotonic() - began


def _write_run(client: Any, experiment: str) -> None:
    """A run with a metric and a file, in an experiment of the doctor's own, and away with it; the run's own experiment
    must not be one that somebody has deleted.
    """
    from cyclegan_dist.tracking.mlflow_run import find_experiment

    theirs, ours = (client.get_experiment_by_name(name) for name in (experiment, EXPERIMENT))
    if theirs is not None and theirs.lifecycle_stage == "deleted":
        raise OSError(f"experiment {experiment} is deleted: restore it, or give --tracking.experiment another")
    if ours is not None and ours.lifecycle_stage == "deleted":
        client.restore_experiment(ours.experiment_id)
    experiment_id = find_experiment(client, EXPERIMENT, home() / "mlartifacts")
    run_id = client.create_run(experiment_id, run_name=f"doctor-{uuid.uuid4().hex[:8]}").info.run_id
    try:
        client.log_metric(run_id, "probe", 1.0)
        client.log_text(run_id, "written by pipelines.doctor", "probe.txt")
    finally:
        client.delete_run(run_id)


def _check_file(path: Path, nodes: int) -> Finding:
    """A database file: take and leave its lock, or see that it can be made."""
    advice = f"Choose another CYCLEGAN_DIST_HOME, or set MLFLOW_TRACKING_URI. {WAY_OUT.split(';')[0]}."
    try:
        if path.exists():
            with closing(sqlite3.connect(path, timeout=CONNECT_S, isolation_level=None)) as database:
                database.execute("BEGIN IMMEDIATE")
                database.execute("CREATE TABLE doctor (probe)")
                database.execute("ROLLBACK")
        elif not _can_be_made(path.parent):
            raise PermissionError(f"{path.parent} cannot be written")
    except (OSError, sqlite3.Error) as error:
        return Finding(check=CHECK, level="red", found=f"{path}: {told(error)}", advice=advice)
    state = "can be written" if path.exists() else "will be made"
    if nodes > 1:
        advice = "Set MLFLOW_TRACKING_URI to a server, so that a launcher on another node finds the same runs."
        return Finding(check=CHECK, level="yellow", found=f"{path} {state}, a file of this machine", advice=advice)
    return Finding(check=CHECK, level="green", found=f"{path} {state}")


def _can_be_made(folder: Path) -> bool:
    if folder.exists():
        return folder.is_dir() and os.access(folder, os.W_OK)
    return _can_be_made(folder.parent)
