"""Generators as MLflow models: image bytes in, image bytes out, no pickle anywhere."""

import importlib.metadata
from pathlib import Path

import mlflow
import pandas as pd
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema

from cyclegan_dist.data.encode import encode_image
from cyclegan_dist.snapshot import CARD, DIRECTIONS, read_card

_PACKAGE = Path(__file__).parent
_NEEDS = ("mlflow", "torch", "torchvision", "safetensors", "pydantic", "numpy", "pandas", "pillow", "fsspec", "pyarrow")

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.binary, "image")]),
    outputs=Schema([ColSpec(DataType.string, "image")]),
)


def log_generators(run_id: str, snapshot: Path, step: int) -> None:
    """Log G_AB and G_BA of a snapshot as models of an MLflow run.

    Each is a pyfunc model made from code and safetensors: a column `image` of the bytes of image files (base64 over
    HTTP) in, PNGs in base64 out, or `.npy` files where the channels are not 1 or 3. It carries this package's source,
    so that it loads where the package is not installed. What an earlier call has logged stays; what it has begun and
    not ended goes.
    """
    card = read_card(snapshot)
    requirements = [f"{name}=={importlib.metadata.version(name)}" for name in _NEEDS]
    logged = _keep_whole(run_id, card["nimg"])
    with mlflow.start_run(run_id=run_id):
        for direction, name in DIRECTIONS.items():
            if name in logged:
                continue
            mlflow.pyfunc.log_model(
                name=name,
                python_model=str(_PACKAGE / "serving_model.py"),
                artifacts={"weights": str(snapshot / f"{name}.safetensors"), "card": str(snapshot / CARD)},
                code_paths=[str(_PACKAGE)],
                signature=SIGNATURE,
                pip_requirements=requirements,
                input_example=_example(card["input_nc"] if direction == "AB" else card["output_nc"]),
                step=step,
                params={"nimg": card["nimg"], "direction": direction},
            )


def _keep_whole(run_id: str, nimg: int) -> set[str]:
    """The names of a run's models of `nimg` images that are whole. Others of them are deleted."""
    client, whole = MlflowClient(), set()
    experiment_id = client.get_run(run_id).info.experiment_id
    for model in client.search_logged_models([experiment_id], f"source_run_id = '{run_id}' AND params.nimg = '{nimg}'"):
        if model.status == LoggedModelStatus.READY and model.name not in whole:
            whole.add(model.name)
        else:
            client.delete_logged_model(model.model_id)
    return whole


def _example(channels: int) -> pd.DataFrame:
    grey = torch.full((channels, 16, 16), 128, dtype=torch.uint8)
    return pd.DataFrame({"image": [encode_image(grey, "example").data]})
