"""Experiments and runs of MLflow, found or created."""

import getpass
import os
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage

from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import lock
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.sender_state import SenderState, server_of

KEY_TAG = "cyclegan_dist.key"


def find_experiment(client: MlflowClient, name: str, artifacts: Path) -> str:
    """The id of the experiment `name`, created if it does not exist.

    Raises:
        MlflowException: if the server fails.
        UsageError: if it is in the trash.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        if experiment.lifecycle_stage == LifecycleStage.DELETED:
            store = server_of(mlflow.get_tracking_uri())
            raise UsageError(
                f"MLflow experiment {name} of {store} is in the trash: restore it with MLFLOW_TRACKING_URI={store} "
                f"mlflow experiments restore --experiment-id {experiment.experiment_id}, or choose another "
                "--tracking.experiment"
            )
        return experiment.experiment_id
    # With a bare database MLflow would put artifacts into the current folder, which differs between processes.
    remote = mlflow.get_tracking_uri().startswith(("http", "databricks"))
    return client.create_experiment(name, artifact_location=None if remote else artifacts.as_uri())


def find_sweep(client: MlflowClient, experiment_id: str, folder: Path, key: str) -> str:
    """The id of the parent run of a sweep's trials, created by the first sender that needs it.

    Raises:
        MlflowException: if the server fails.
        OSError: if the sweep's folder cannot be written, where it is kept.
    """
    with lock(RunFolder(folder).parent_lock, wait=True):
        run_id = find_or_create(client, experiment_id, folder, key, {"mlflow.source.name": "pipelines.sweep"})
        SenderState(server_of(mlflow.get_tracking_uri()), key, run_id).save(folder)
        return run_id


def find_or_create(
    client: MlflowClient, experiment_id: str, folder: Path, key: str, tags: dict[str, str], started: int | None = None
) -> str:
    """The run with the tag `key`. A sender that died before it saved the run's id may have created it."""
    found = client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
    if found:
        return found[0].info.run_id
    tags = {
        KEY_TAG: key,
        "cyclegan_dist.run_dir": str(folder),
        "mlflow.source.name": "cyclegan_dist.train",
        "mlflow.source.type": "JOB" if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ else "LOCAL",
        "mlflow.user": user_of_process(),
        **tags,
    }
    return client.create_run(experiment_id, start_time=started, run_name=folder.name, tags=tags).info.run_id


def user_of_process() -> str:
    """The name of the user that runs this process, which MLflow records too."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
