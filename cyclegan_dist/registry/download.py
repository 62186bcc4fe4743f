"""Downloads of registered models and of a run's snapshots, kept in a local cache and verified on every load."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts, list_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.utils.file_utils import local_file_uri_to_path

from cyclegan_dist.errors import UsageError, pipeline_command
from cyclegan_dist.models.snapshot import CARD, Snapshot
from cyclegan_dist.models.training_state import STATE, file_sha256
from cyclegan_dist.registry.models import SHA256, STATE_SHA256
from cyclegan_dist.registry.sources import REGISTRY, store_in_use
from cyclegan_dist.registry.versions import DIGEST
from cyclegan_dist.tracking.sender_state import first_line

# The codes of MLflow for a name or version that does not exist, and for an alias.
NO_SUCH_MODEL = (ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(INVALID_PARAMETER_VALUE))


def download(uri: str, cache: Path, *, with_state: bool = False) -> Path:
    """The snapshot folder of a registered model, kept in `cache` by store and model id: a name can be deleted and
    registered again, and two stores can have the same name.

    Args:
        uri: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        cache: folder for models that were downloaded.
        with_state: download the training state too, if the model has one.

    Raises:
        UsageError: if there is no such model, its files are missing or not those that were registered, or MLflow cannot
            be reached.
    """
    client = MlflowClient()
    try:
        version = _version(client, uri.removeprefix(REGISTRY))
        model_id, location, sha256, state_sha256 = files_of(client, version)
    except (MlflowException, OSError) as error:
        raise _not_loaded(uri, error) from error
    folder = cache / cache_key(store_in_use()) / model_id
    exact = f"{REGISTRY}{version.name}/{version.version}"
    try:
        _cached(folder, lambda draft: _fetch_folders(exact, draft), sha256)
        if with_state and state_sha256:
            _cache_state(folder, exact, state_sha256)
    except (MlflowException, OSError) as error:
        if _is_gone(location):
            raise UsageError(
                f"{uri} cannot be loaded: {store_in_use()} has its files at {location}, which does not exist: move "
                "them back there, or register the model again"
            ) from error
        raise UsageError(f"{uri} of {store_in_use()} cannot be loaded from {location}: {first_line(error)}") from error
    return folder


def exact_uri(uri: str) -> str:
    """`models:/NAME/VERSION` of a registered model, whose alias may move.

    Raises:
        UsageError: if there is no such model, or MLflow cannot be reached.
    """
    try:
        version = _version(MlflowClient(), uri.removeprefix(REGISTRY))
    except (MlflowException, OSError) as error:
        raise _not_loaded(uri, error) from error
    return f"{REGISTRY}{version.name}/{version.version}"


def fetch_texts(uri: str, names: Sequence[str]) -> dict[str, str]:
    """The content of small files that a registered model carries beside its snapshot, by name; those it lacks are left
    out.

    Raises:
        UsageError: if there is no such model, or MLflow cannot be reached.
    """
    try:
        exact = exact_uri(uri)
        there = {Path(file.path).name for file in list_artifacts(artifact_uri=f"{exact}/artifacts")}
        with tempfile.TemporaryDirectory() as draft:
            return {
                name: Path(download_artifacts(artifact_uri=f"{exact}/artifacts/{name}", dst_path=draft)).read_text()
                for name in names
                if name in there
            }
    except (MlflowException, OSError) as error:
        raise _not_loaded(uri, error) from error


def alias_is_set(uri: str) -> bool:
    """Whether the alias of `models:/NAME@ALIAS` names a version.

    Raises:
        UsageError: if there is no such model, or MLflow cannot be reached.
    """
    name, alias = uri.removeprefix(REGISTRY).split("@", 1)
    try:
        return alias.lower() == "latest" or alias in MlflowClient().get_registered_model(name).aliases
    except (MlflowException, OSError) as error:
        raise _not_loaded(uri, error) from error


def fetch_snapshot(run_id: str, cache: Path) -> tuple[Path, str]:
    """The newest snapshot that an MLflow run has, kept in `cache`, and the run's configuration as YAML.

    Raises:
        UsageError: if there is no such run, it has none, or MLflow cannot be reached.
    """
    client, store = MlflowClient(), store_in_use()
    try:
        run = client.get_run(run_id)
        found = sorted(file.path for file in client.list_artifacts(run_id, "snapshots") if file.is_dir)
        if not found:
            raise UsageError(
                f"MLflow run {run_id} of {store} has no snapshots at {run.info.artifact_uri}: it must be one of this "
                "program that has ended"
            )
        folder = cache / cache_key(store) / run_id / Path(found[-1]).name
        _cached(folder, lambda draft: client.download_artifacts(run_id, found[-1], draft))
        return folder, yaml.safe_dump(dict(run.data.params))
    except (MlflowException, OSError) as error:
        raise UsageError(f"MLflow run {run_id} cannot be loaded from {store}: {first_line(error)}") from error


def _fetch_folders(uri: str, folder: str) -> None:
    """Download the folders of a model's artifacts, its snapshot, without files such as a training state, which may be
    several times as large; or all of a model that was registered otherwise.
    """
    found = [f"{uri}/{file.path}" for file in list_artifacts(artifact_uri=f"{uri}/artifacts") if file.is_dir]
    for one in found or [uri]:
        download_artifacts(artifact_uri=one, dst_path=folder)


def _cache_state(folder: Path, uri: str, sha256: str) -> None:
    """Make sure that the snapshot's folder holds the training state of this sha256 too."""
    kept = folder / STATE
    if kept.exists() and file_sha256(kept) == sha256:
        return
    with tempfile.TemporaryDirectory(dir=folder.parent) as draft:
        fetched = Path(download_artifacts(artifact_uri=f"{uri}/artifacts/{STATE}", dst_path=draft))
        if file_sha256(fetched) != sha256:
            raise OSError(
                f"its training state is not the one that was registered, of sha256 {sha256}: register it again"
            )
        os.replace(fetched, kept)


def files_of(client: MlflowClient, version: ModelVersion) -> tuple[str, str, str, str]:
    """The id of a version's logged model, where its files are, the digest of its snapshot, and the sha256 of its
    training state; these are empty if there are none in the store.
    """
    source, sha256 = str(version.source), version.tags.get(DIGEST, "")
    # A database leaves `model_id` empty, and has it in the source.
    model_id = version.model_id or re.sub(f"^{REGISTRY}(?=m-)", "", source)
    if model_id == source:  # registered from files of no logged model
        return f"{version.name}-{version.version}-{version.creation_timestamp}", source, sha256, ""
    model = client.get_logged_model(model_id)
    state_sha256 = model.params.get(STATE_SHA256, "")
    return model_id, model.artifact_location, sha256 or model.params.get(SHA256, ""), state_sha256


def _cached(folder: Path, fetch: Callable[[str], Any], sha256: str = "") -> None:
    """Make sure that `folder` holds a snapshot of the digest `sha256`, if one is given. `fetch` puts it somewhere below
    a temporary folder if it is not there, or was changed.
    """
    if not _is_intact(folder, sha256):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as draft:
            fetch(draft)
            found = next(Path(draft).rglob(CARD), None)
            if found is None:
                raise FileNotFoundError(f"{CARD} is missing, so that it is no model of this program")
            if not _is_intact(found.parent, sha256):
                raise OSError(f"its weights are not those that were registered, of sha256 {sha256}: register it again")
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(found.parent, folder)


def _is_intact(folder: Path, sha256: str) -> bool:
    if not (folder / CARD).exists():
        return False
    try:
        return not sha256 or Snapshot.open(folder).digest() == sha256
    except (UsageError, OSError):
        return False


def _not_loaded(uri: str, error: Exception) -> UsageError:
    """What is said of a registered model that MLflow does not give, and what to do where there is none of that name."""
    advice = ""
    if getattr(error, "error_code", "") in NO_SUCH_MODEL:
        name, promote = re.split("[@/]", uri.removeprefix(REGISTRY))[0], pipeline_command("promote")
        advice = f"; {promote} --name {name} --list lists them, {promote} RUN_DIR --name {name} --data DATA adds one"
    return UsageError(f"{uri} cannot be loaded from {store_in_use()}: {first_line(error).rstrip('.')}{advice}")


def _version(client: MlflowClient, name: str) -> ModelVersion:
    if "@" in name:
        return client.get_model_version_by_alias(*name.split("@", 1))
    name, _, version = name.partition("/")
    if not version:
        raise UsageError(f"models:/{name}: give a version, models:/{name}@champion or models:/{name}/1")
    return client.get_model_version(name, version)


def cache_key(store: str) -> str:
    """The name of the folder in the cache with the models of a store, given its URI without a password."""
    return hashlib.sha256(store.encode()).hexdigest()[:16]


def _is_gone(location: str) -> bool:
    """Whether it is a folder of this machine that does not exist."""
    remote = "://" in location and not location.startswith("file:")
    return not remote and not Path(local_file_uri_to_path(location)).exists()
