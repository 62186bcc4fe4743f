"""Generators as MLflow models: image bytes in, image bytes out, no pickle anywhere.

A model has all generators of a snapshot, so that an alias of the registry changes all directions at once.
"""

import importlib.metadata
import io
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from PIL import Image

from cyclegan_dist.data.arrays import PICTURES, array_bytes
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.registry.sources import store_in_use
from cyclegan_dist.tracking.sender_state import first_line

MODEL_NAME = "generators"
SHA256 = "snapshot_sha256"  # parameter of a logged model: `Snapshot.digest`
STATE_SHA256 = "state_sha256"  # that of its training state, if it has one
_PACKAGE = Path(__file__).parents[1]
_NEEDS = (
    *("mlflow", "torch", "safetensors", "pydantic", "numpy", "pandas", "fsspec", "pyarrow"),
    *("pillow", "tifffile", "imagecodecs"),
)


def log_generators(
    run_id: str,
    snapshot: Path,
    step: int,
    *,
    name: str = MODEL_NAME,
    files: Mapping[str, Path] | None = None,
    state_sha256: str = "",
) -> str:
    """Log the generators of a snapshot as one model of an MLflow run. Returns its URI.

    It is a pyfunc model made from code and safetensors: a column `image` of the bytes of image files (base64 over
    HTTP) and the parameter `direction` in, PNGs in base64 out, of 16 bits where the domain has uint16 values, or
    `.npy` files where no PNG holds them. It carries this package's source, so that it loads where the package is not
    installed. What an earlier call has logged stays; what it has begun and not ended is deleted.

    Args:
        run_id: of the MLflow run.
        snapshot: folder of the generators.
        step: that they were trained for.
        name: of the model within the run.
        files: further files that the model carries, by their names.
        state_sha256: of the training state, if that is among the files.
    """
    opened = Snapshot.open(snapshot)
    direction, nimg = opened.directions[0], opened.card["nimg"]
    whole = _keep_whole(run_id, name, nimg)
    if whole:
        return whole
    client = MlflowClient()
    run = client.get_run(run_id)
    params = {**run.data.params, "nimg": str(nimg), SHA256: opened.digest()}
    if state_sha256:
        params[STATE_SHA256] = state_sha256
    model = client.create_logged_model(run.info.experiment_id, name, run_id, params=params)
    with _not_loaded():
        # Not `mlflow.pyfunc.log_model`, which needs an active run: to activate a run changes its status and end time.
        logged = Model.log(
            artifact_path=None,
            name=name,
            flavor=mlflow.pyfunc,
            run_id=run_id,
            model_id=model.model_id,
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
        raise UsageError(f"{store_in_use()}: {first_line(error)}") from error


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


def example_input(channels: int) -> pd.DataFrame:
    """One grey 16 x 16 image of `channels` channels, as a model takes it."""
    grey, buffer = np.full((16, 16, channels), 128, np.uint8), io.BytesIO()
    if channels in PICTURES:
        Image.fromarray(grey[..., 0] if channels == 1 else grey).save(buffer, "PNG")
    return pd.DataFrame({"image": [buffer.getvalue() or array_bytes(grey)]})
