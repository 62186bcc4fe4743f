"""Sources of models: a run, a snapshot, or the registry."""

import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from cyclegan_dist.config.config import home
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.urls import sqlite_uri

if TYPE_CHECKING:
    from cyclegan_dist.models.snapshot import Snapshot

REGISTRY = "models:/"
SETTINGS = {
    # A server that is down must be noticed quickly; with MLflow's own settings one call blocks for four minutes. Calls
    # are not retried by MLflow: a run whose creation was answered too late would be created twice.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # no server but the user's own is called
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}


def open_source(source: str) -> "Snapshot":
    """The snapshot of a run, of a folder, or of a registered model.

    Args:
        source: a run's folder, whose newest snapshot is taken; a snapshot's; or a registered model,
            `models:/NAME@ALIAS` or `models:/NAME/VERSION`, out of the store of MLFLOW_TRACKING_URI.

    Raises:
        UsageError: if there is nothing of that name, it is damaged, or MLflow cannot be reached.
    """
    from cyclegan_dist.models.snapshot import Snapshot

    if not source.startswith(REGISTRY):
        return Snapshot.open(source)
    use_store()
    from cyclegan_dist.registry.models import download  # loads mlflow

    return Snapshot.open(download(source, home() / "models"))


def refuse_missing_source(source: str) -> None:
    """Refuse a folder that does not exist, before anything is loaded that could open it.

    Raises:
        UsageError: saying what to give.
    """
    if not source.startswith(REGISTRY) and not Path(source).exists():
        raise UsageError(
            f"{source} is neither a snapshot nor a run with snapshots: it does not exist; give the folder of one, "
            f"or a registered model, {REGISTRY}NAME@ALIAS"
        )


def use_store(known: str = "") -> str:
    """Use the MLflow of MLFLOW_TRACKING_URI, or else the one that is `known`, or else the database next to
    the runs. Returns its URI. Call it before mlflow is loaded.
    """
    # MLflow warns of its own migrations and of ambiguous sources; errors come as exceptions.
    warnings.filterwarnings("ignore", category=UserWarning, module="mlflow")
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = SETTINGS["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
    return os.environ.setdefault("MLFLOW_TRACKING_URI", known or sqlite_uri(home() / "mlflow.db"))
