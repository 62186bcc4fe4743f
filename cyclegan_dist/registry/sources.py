"""Where generators come from: a run, a snapshot, or the registry."""

import logging
import os
import warnings
from pathlib import Path

from cyclegan_dist.config.config import home
from cyclegan_dist.errors import UsageError

REGISTRY = "models:/"
SETTINGS = {
    # A dead server must answer quickly; with MLflow's own settings one call blocks for four minutes. It may not repeat
    # a call by itself: a run whose making was answered too late would be made twice.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # we call nobody but the user's own server
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}


def open_source(source: str) -> Path:
    """The folder of a snapshot: both generators and their card.

    Args:
        source: a run's folder, whose newest snapshot is taken; a snapshot's; or a registered model,
            `models:/NAME@ALIAS` or `models:/NAME/VERSION`, out of the store of MLFLOW_TRACKING_URI.

    Raises:
        UsageError: if there is nothing of that name, or MLflow is away.
    """
    if not source.startswith(REGISTRY):
        from cyclegan_dist.models.snapshot import find_snapshot  # loads torch

        return find_snapshot(Path(source))
    use_store()
    from cyclegan_dist.registry.models import download  # loads mlflow

    return download(source, home() / "models")


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
    """Speak to the MLflow of MLFLOW_TRACKING_URI, or else to the one that is `known`, or else to the database beside
    the runs. Returns its URI. Call it before mlflow is loaded.
    """
    # MLflow remarks on its own migrations and on ambiguous sources; what matters comes as an exception.
    warnings.filterwarnings("ignore", category=UserWarning, module="mlflow")
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = SETTINGS["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
    return os.environ.setdefault("MLFLOW_TRACKING_URI", known or f"sqlite:///{home() / 'mlflow.db'}")
