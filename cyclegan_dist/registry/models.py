"""Generators as MLflow models: image bytes in, image bytes out, no pickle anywhere.

A model has all generators of a snapshot, so that an alias of the registry changes all directions at once.
"""

import importlib.metadata
import io
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from PIL import Image

from cyclegan_dist.data.arrays import PICTURES, array_bytes
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import CARD, Snapshot
from cyclegan_dist.tracking.sender_state import first_line

MODEL_NAME = "generators"
_PACKAGE = Path(__file__).parents[1]
_NEEDS = ("mlflow", "torch", "safetensors", "pydantic", "numpy", "pandas", "pillow", "fsspec", "pyarrow")


def log_generators(
    run_id: str, snapshot: Path, step: int, *, name: str = MODEL_NAME, files: Mapping[str, Path] | None = None
) -> str:
    """Log the generators of a snapshot as one model of an MLflow run. Returns its URI.

    It is a pyfunc model made from code and safetensors: a column `image` of the bytes of image files (base64 over
    HTTP) and the parameter `direction` in, PNGs in base64 out, or `.npy` files where the channels are not 1 or 3. It
    carries this package's source, so that it loads where the package is not installed. What an earlier call has logged
    stays; what it has begun and not ended is deleted.

    Args:
        run_id: of the MLflow run.
        snapshot: folder of the generators.
        step: that they were trained for.
        name: of the model within the run.
        files: further files that the model carries, by their names.
    """
    opened = Snapshot.open(snapshot)
    direction, nimg = opened.directions[0], opened.card["nimg"]
    whole = _keep_whole(run_id, name, nimg)
    if whole:
        return whole
    with _not_loaded(), mlflow.start_run(run_id=run_id):
        logged = mlflow.pyfunc.log_model(
            name=name,
            python_model=str(_PACKAGE / "models" / "mlflow_model.py"),
            artifacts={"snapshot": str(snapshot), **{key: str(path) for key, path in (files or {}).items()}},
            code_paths=[str(_PACKAGE)],
            signature=ModelSignature(
                inputs=Schema([ColSpec(DataType.binary, "image")]),
                outputs=Schema([ColSpec(DataType.string, "image")]),
                params=ParamSchema([ParamSpec("direction", DataType.string, direction)]),
            ),
            pip_requirements=[f"{need}=={importlib.metadata.version(need)}" for need in _NEEDS],
            input_example=example_input(opened.channels(direction)[0]),
            step=step,
            params={"nimg": nimg},
        )
    return logged.model_uri


@contextmanager
def _not_loaded() -> Iterator[None]:
    """Within it, MLflow does not load models that it logs, see `models/mlflow_model.py`."""
    os.environ["CYCLEGAN_DIST_LOGS_MODEL"] = "1"
    try:
        yield
    finally:
        del os.environ["CYCLEGAN_DIST_LOGS_MODEL"]


def log_evaluation(run_id: str, step: int, values: Mapping[str, float], folder: Path) -> None:
    """Add an evaluation's figures and files to a run: the same again changes nothing.

    Raises:
        UsageError: if MLflow cannot be reached.
    """
    client = MlflowClient()
    try:
        began = client.get_run(run_id).info.start_time
        points = [Metric(key, value, began, step) for key, value in values.items() if math.isfinite(value)]
        client.log_batch(run_id, metrics=points, synchronous=True)
        client.log_artifacts(run_id, str(folder), f"evaluations/{folder.name}")
    except (MlflowException, OSError) as error:
        raise UsageError(first_line(error)) from error


def _keep_whole(run_id: str, name: str, nimg: int) -> str:
    """The URI of a run's whole model of `nimg` images, or nothing. Others of them are deleted."""
    client, whole = MlflowClient(), ""
    experiment_id = client.get_run(run_id).info.experiment_id
    theirs = f"source_run_id = '{run_id}' AND name = '{name}' AND params.nimg = '{nimg}'"
    for model in client.search_logged_models([experiment_id], theirs):
        if model.status == LoggedModelStatus.READY and not whole:
            whole = model.model_uri
        else:
            client.delete_logged_model(model.model_id)
    return whole


def download(uri: str, cache: Path) -> Path:
    """The snapshot folder of a registered model, kept in `cache`: a version never changes.

    Args:
        uri: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        cache: folder for versions that were downloaded.

    Raises:
        UsageError: if there is no such model, its files are missing, or MLflow cannot be reached.
    """
    try:
        name, version = _version(uri.removeprefix("models:/"))
        return _cached(
            cache / name / version,
            lambda draft: download_artifacts(artifact_uri=f"models:/{name}/{version}", dst_path=draft),
        )
    except (MlflowException, OSError) as error:
        raise UsageError(f"{uri} cannot be loaded: {first_line(error)}") from error


def fetch_snapshot(run_id: str, cache: Path) -> tuple[Path, str]:
    """The newest snapshot that an MLflow run has, kept in `cache`, and the run's configuration as YAML.

    Raises:
        UsageError: if there is no such run, it has none, or MLflow cannot be reached.
    """
    client = MlflowClient()
    try:
        params = client.get_run(run_id).data.params
        found = sorted(file.path for file in client.list_artifacts(run_id, "snapshots") if file.is_dir)
        if not found:
            raise UsageError(f"MLflow run {run_id} has no snapshots: it must be one of this program that has ended")
        folder = cache / run_id / Path(found[-1]).name
        _cached(folder, lambda draft: client.download_artifacts(run_id, found[-1], draft))
        return folder, yaml.safe_dump(dict(params))
    except (MlflowException, OSError) as error:
        raise UsageError(f"MLflow run {run_id} cannot be loaded: {first_line(error)}") from error


def _cached(folder: Path, fetch: Callable[[str], Any]) -> Path:
    """`folder` with a snapshot, which `fetch` puts somewhere below a temporary folder if it is not there yet."""
    if not (folder / CARD).exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as draft:
            fetch(draft)
            found = next(Path(draft).rglob(CARD), None)
            if found is None:
                raise FileNotFoundError(f"{CARD} is missing, so that it is no model of this program")
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(found.parent, folder)
    return folder


def _version(name: str) -> tuple[str, str]:
    if "@" in name:
        name, alias = name.split("@", 1)
        return name, str(MlflowClient().get_model_version_by_alias(name, alias).version)
    name, _, version = name.partition("/")
    if not version:
        raise UsageError(f"models:/{name}: give a version, models:/{name}@champion or models:/{name}/1")
    return name, version


def example_input(channels: int) -> pd.DataFrame:
    """One grey 16 x 16 image of `channels` channels, as a model takes it."""
    grey, buffer = np.full((16, 16, channels), 128, np.uint8), io.BytesIO()
    if channels in PICTURES:
        Image.fromarray(grey[..., 0] if channels == 1 else grey).save(buffer, "PNG")
    return pd.DataFrame({"image": [buffer.getvalue() or array_bytes(grey)]})
