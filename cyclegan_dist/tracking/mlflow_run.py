"""A run's journal, told to MLflow."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A dead server must answer quickly; with MLflow's own settings one call blocks for four minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")

import mlflow
from mlflow import MlflowClient
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param
from mlflow.exceptions import MlflowException

STATE_NAME = "mlflow.json"
BATCH = 1000  # most metrics MLflow takes in one call

FinalSnapshot = Callable[[str, Path, int], None]


class MlflowRun:
    """One MLflow run for one run folder, through all its resumptions. `offset` says how far the journal has been
    sent.
    """

    def __init__(self, run_dir: Path, experiment: str, artifacts: Path, on_final_snapshot: FinalSnapshot):
        self.run_dir, self.client, self.on_final_snapshot = run_dir, MlflowClient(), on_final_snapshot
        self._state_path = run_dir / STATE_NAME
        self._metrics: list[Metric] = []
        state = json.loads(self._state_path.read_text()) if self._state_path.exists() else {}
        self.offset: int = state.get("offset", 0)
        self.run_id: str = state.get("run_id") or self._create(experiment, artifacts)

    def _create(self, name: str, artifacts: Path) -> str:
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            # Over a bare database MLflow would put artifacts below the current folder, which differs between processes.
            remote = mlflow.get_tracking_uri().startswith(("http", "databricks"))
            place = None if remote else artifacts.as_uri()
            experiment_id = self.client.create_experiment(name, artifact_location=place)
        else:
            experiment_id = experiment.experiment_id
        tags = {
            "cyclegan_dist.run_dir": str(self.run_dir),
            "mlflow.source.name": "cyclegan_dist.train",
            "mlflow.user": _user(),
        }
        run_id = self.client.create_run(experiment_id, run_name=self.run_dir.name, tags=tags).info.run_id
        self._save_state(run_id)
        return run_id

    def send(self, record: dict[str, Any], offset: int) -> None:
        """Tell MLflow one record, which ends at byte `offset` of the journal. Metrics wait for `flush`."""
        kind = record["kind"]
        if kind == "metrics":
            step, time = record["step"], record["time"]
            self._metrics += [Metric(name, value, time, step) for name, value in record["values"].items()]
            self.offset = offset
            if len(self._metrics) >= BATCH - 50:
                self.flush()
            return
        self.flush()
        {
            "run": self._run,
            "image": self._image,
            "snapshot": self._snapshot,
            "message": lambda _: None,
            "end": self._end,
        }[kind](record)
        self.offset = offset
        self._save_state(self.run_id)

    def flush(self) -> None:
        """Send the metrics that wait. The same point twice is one point to MLflow."""
        if self._metrics:
            self.client.log_batch(self.run_id, metrics=self._metrics)
            self._metrics = []
            self._save_state(self.run_id)

    def _save_state(self, run_id: str) -> None:
        temporary = self._state_path.with_suffix(".tmp")
        state = {"run_id": run_id, "offset": self.offset, "store": server_of(mlflow.get_tracking_uri())}
        temporary.write_text(json.dumps(state))
        os.replace(temporary, self._state_path)

    def _run(self, record: dict[str, Any]) -> None:
        self.client.update_run(self.run_id, status="RUNNING")
        known = self.client.get_run(self.run_id).data.params
        new = [Param(key, str(value)) for key, value in record["config"].items() if key not in known]
        if new:
            self.client.log_batch(self.run_id, params=new)
        if known:  # resumed: the data set is the same and there already
            return
        inputs = []
        for data in record["data"]:
            source = resolve_dataset_source(data["source"])
            dataset = MetaDataset(source, name=f"domain {data['name']}", digest=data["digest"][:36])
            inputs.append(DatasetInput(dataset._to_mlflow_entity(), [InputTag("mlflow.data.context", "training")]))
            self.client.set_tag(
                self.run_id, f"data.{data['name']}", f"{data['samples']} images, sha256 {data['digest']}"
            )
        self.client.log_inputs(self.run_id, datasets=inputs)

    def _image(self, record: dict[str, Any]) -> None:
        image = mlflow.Image(str(self.run_dir / record["path"]))
        self.client.log_image(
            self.run_id, image, key=record["key"], step=record["step"], timestamp=record["time"], synchronous=True
        )

    def _snapshot(self, record: dict[str, Any]) -> None:
        folder = self.run_dir / record["path"]
        self.client.log_artifacts(self.run_id, str(folder), artifact_path=record["path"])
        if record["final"]:
            self.on_final_snapshot(self.run_id, folder, record["step"])

    def _end(self, record: dict[str, Any]) -> None:
        self.client.set_terminated(self.run_id, status=record["status"])


def server_of(tracking_uri: str) -> str:
    """A tracking URI without a user's name and password."""
    scheme, separator, rest = tracking_uri.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if scheme.startswith("http") else tracking_uri


def _user() -> str:
    return os.environ.get("USER", "unknown")


__all__ = ["MlflowException", "MlflowRun", "server_of"]
