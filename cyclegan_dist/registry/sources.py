"""Sources of models: a run, a snapshot, or the registry; and the MLflow store that is used."""

import glob
import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from cyclegan_dist.config.config import home
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.storage.urls import SQLITE, sqlite_path, sqlite_uri
from cyclegan_dist.tracking.sender_state import SenderState, server_of

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


def open_source(source: str, *, with_state: bool = False) -> "Snapshot":
    """The snapshot of a run, of a folder, or of a registered model.

    Args:
        source: a run's folder, whose newest snapshot is taken; a snapshot's; or a registered model,
            `models:/NAME@ALIAS` or `models:/NAME/VERSION`, out of the store of MLFLOW_TRACKING_URI.
        with_state: of a registered model that was promoted with its training state, also download that, as
            `state.safetensors` of the snapshot's folder.

    Raises:
        UsageError: if there is nothing of that name, it is damaged, or there is no such store or it cannot be reached.
    """
    from cyclegan_dist.models.snapshot import Snapshot

    if not source.startswith(REGISTRY):
        refuse_missing_source(source)
        return Snapshot.open(source)
    read_store()
    from cyclegan_dist.registry.download import download  # loads mlflow

    return Snapshot.open(download(source, home() / "models", with_state=with_state))


def refuse_missing_source(source: str) -> None:
    """Refuse a folder that does not exist, before anything is loaded that could open it.

    Raises:
        UsageError: saying what to give.
    """
    path = Path(source)
    if source.startswith(REGISTRY) or path.exists():
        return
    # The folder of a run is named after all that was joined: horse2zebra+laptop trains horse2zebra-laptop.
    near = sorted(str(run) for run in path.parent.glob(f"{glob.escape(path.name)}-*") if RunFolder(run).config.exists())
    guess = f": did you mean {' or '.join(near[:3])}? Give" if near else "; give"
    raise UsageError(
        f"{source} is neither a snapshot nor a run with snapshots: it does not exist{guess} the folder of one, "
        f"or a registered model, {REGISTRY}NAME@ALIAS"
    )


def use_store(known: str = "") -> str:
    """Use the MLflow store of MLFLOW_TRACKING_URI, or else `known`, or else the database in the home folder. Returns
    its URI, with an absolute path. Creates nothing. Call it before mlflow is loaded.
    """
    # MLflow warns of its own migrations and of ambiguous sources; errors come as exceptions.
    warnings.filterwarnings("ignore", category=UserWarning, module="mlflow")
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = SETTINGS["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
    uri = os.environ.get("MLFLOW_TRACKING_URI") or known or sqlite_uri(home() / "mlflow.db")
    os.environ["MLFLOW_TRACKING_URI"] = _absolute(uri)
    return os.environ["MLFLOW_TRACKING_URI"]


def store_in_use() -> str:
    """The URI of the store that `use_store` has chosen, without a password."""
    return server_of(os.environ.get("MLFLOW_TRACKING_URI", ""))


def read_store() -> str:
    """As `use_store`, for a store that is read: MLflow would create an empty one where there is none.

    Raises:
        UsageError: if there is none.
    """
    uri = use_store()
    if is_missing(uri):
        raise UsageError(
            f"there is no MLflow store at {uri}: run this in the folder where the runs were started, or set "
            "CYCLEGAN_DIST_HOME to that folder, or MLFLOW_TRACKING_URI to the store"
        )
    return uri


def use_store_of(run_dir: Path) -> str:
    """Use the store that a run or a sweep belongs to, and create the folder of a database. Returns its URI.

    It is the store to which the run was first sent, which is kept in its `mlflow.json`. A run that was never sent goes
    to its sweep's, if it is a trial; otherwise to the one of `use_store`.

    Raises:
        UsageError: if MLFLOW_TRACKING_URI names another store, or the run's does not exist.
    """
    folders = [RunFolder(run_dir)]
    if RunFolder(run_dir.parent).sweep_journal.exists():
        folders.append(RunFolder(run_dir.parent))
    states = ((folder, SenderState.read(folder.path)) for folder in folders)
    folder, kept = next(((f, state) for f, state in states if state.store), (folders[0], SenderState()))
    named = _absolute(os.environ.get("MLFLOW_TRACKING_URI", ""))
    anew = f"delete {folder.sender_state} to send all of it there"
    if kept.run_id and kept.store and named and server_of(named) != kept.store:
        raise UsageError(
            f"{folder.path} belongs to the MLflow store {kept.store}, and MLFLOW_TRACKING_URI names "
            f"{server_of(named)}: unset it, or {anew}"
        )
    uri = use_store(kept.store)
    if kept.run_id and is_missing(uri):
        raise UsageError(
            f"{folder.path} belongs to the MLflow store {uri}, which does not exist: move it back there, or set "
            f"MLFLOW_TRACKING_URI to another one and {anew}"
        )
    if database := sqlite_path(uri):
        database.parent.mkdir(parents=True, exist_ok=True)
    return uri


def _absolute(uri: str) -> str:
    """A URI with the path of a database made absolute: the store must not depend on the current folder."""
    relative = uri.startswith(SQLITE) and not uri.startswith(f"{SQLITE}/")
    return f"{sqlite_uri(Path.cwd())}/{uri.removeprefix(SQLITE)}" if relative else uri


def is_missing(uri: str) -> bool:
    """Whether it is a database file, or a folder, of this machine that does not exist."""
    if database := sqlite_path(uri):
        return not database.exists()
    if uri.startswith("file:"):
        return not Path(unquote(urlsplit(uri).path)).exists()
    return "://" not in uri and not uri.startswith("databricks") and bool(uri) and not Path(uri).exists()
