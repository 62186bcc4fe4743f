"""Sends a run's journal to MLflow, idempotently."""

import dataclasses
import json
import sys
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag, LifecycleStage, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.multimedia import compress_image_size
from PIL import Image

from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import read_records
from cyclegan_dist.tracking.mlflow_places import KEY_TAG, find_experiment, find_or_create, find_sweep
from cyclegan_dist.tracking.refused import RefusedRecords, is_invalid, is_unclear
from cyclegan_dist.tracking.sender_state import SenderState, key_of, server_of

BATCH, PARAMS = 1000, 100  # limits of metrics and of parameters in one call of MLflow
MOST_FAILED = 64  # calls of the search for refused metrics, before one is taken
LONGEST_TAG = 5000  # characters
GONE = "RESOURCE_DOES_NOT_EXIST"  # code of MLflow
PARENT_TAG = "mlflow.parentRunId"

Point = tuple[Metric, dict[str, Any], int]  # with its record, and where that ends in the journal
FinalSnapshot = Callable[[str, Path, int], None]


class MlflowRun:
    """The one MLflow run of a run folder, across resumed trainings and restarted senders. `offset` is the number of
    bytes of the journal that have been read.

    With `isolating`, after failures without progress, a metric is set aside too if MLflow fails for it with an error of
    its own, twice, and takes others: such as a number that its database cannot hold, which no retry would send.
    """

    def __init__(
        self,
        run_dir: Path,
        experiment: str,
        artifacts: Path,
        on_final_snapshot: FinalSnapshot,
        *,
        parent: str = "",
        isolating: bool = False,
    ):
        self._isolating = isolating
        self.run_dir, self.client, self.on_final_snapshot = run_dir, MlflowClient(), on_final_snapshot
        self._points: list[Point] = []  # until `flush`
        self._refused = RefusedRecords(run_dir)
        self._state = SenderState.read(run_dir)
        key, store = key_of(run_dir), server_of(mlflow.get_tracking_uri())
        if (self._state.key, self._state.store) == (key, store) and self._is_gone():
            gone = f"MLflow run {self._state.run_id} of {store} has been deleted permanently"
            print(f"{gone}: {run_dir} is sent as a new run", file=sys.stderr)
            self._state = SenderState(store, key)
        if (self._state.key, self._state.store) != (key, store) or not self._state.run_id:
            self._state = SenderState(store, key)
            self._state.save(run_dir)  # so that a later sender uses the same store
            experiment_id = find_experiment(self.client, experiment, artifacts)
            above = {PARENT_TAG: find_sweep(self.client, experiment_id, run_dir.parent, parent)} if parent else {}
            first, _ = next(read_records(RunFolder(run_dir).journal, 0))
            run_id = find_or_create(self.client, experiment_id, run_dir, key, above, first["time"])
            self._state = SenderState(store, key, run_id)
        elif self.client.get_run(self._state.run_id).info.lifecycle_stage == LifecycleStage.DELETED:
            find_experiment(self.client, experiment, artifacts)  # raises if all of the experiment is in the trash
            raise UsageError(
                f"MLflow run {self._state.run_id} of {store} is in the trash: restore it with "
                f"MLFLOW_TRACKING_URI={store} mlflow runs restore --run-id {self._state.run_id}, or delete "
                f"{RunFolder(run_dir).sender_state} to send {run_dir} as a new run"
            )
        self.offset = self._state.offset

    @property
    def run_id(self) -> str:
        return self._state.run_id

    def _is_gone(self) -> bool:
        """Whether there was a run, and it has been deleted for good, by `mlflow gc`."""
        try:
            if self._state.run_id:
                self.client.get_run(self._state.run_id)
            return False
        except MlflowException as error:
            if error.error_code != GONE:
                raise
            return True

    def send(self, record: dict[str, Any], offset: int) -> None:
        """Send one record, which ends at byte `offset` of the journal. Metrics wait for `flush`. Records that MLflow
        refuses for good are set aside.
        """
        kind = record["kind"]
        handlers = {"run": self._run, "image": self._image, "snapshot": self._snapshot, "end": self._end}
        if kind in ("metrics", "evaluation"):
            handlers[kind] = lambda record: self._wait(record, offset)
        else:
            self.flush()
        try:
            if kind in handlers:
                handlers[kind](record)
        except Exception as error:
            if not self._refuses(error):
                raise
            self._refused.add(record, offset, error)
        self.offset = offset
        if len(self._points) >= BATCH - 50:
            self.flush()
        elif not self._points:
            self._save_state()

    def _wait(self, record: dict[str, Any], offset: int) -> None:
        step, time = record["step"], record["time"]
        values = record["values"].items()
        self._points += [(Metric(name, value, time, step), record, offset) for name, value in values]

    def flush(self) -> None:
        """Send the waiting metrics. MLflow stores a point that is sent twice once."""
        if self._points:
            # By name: where one metric is refused, the others are sent in few calls.
            self._log(sorted(self._points, key=lambda point: point[0].key))
            self._points = []
            self._save_state()

    def _log(self, points: list[Point]) -> None:
        """Send metrics; MLflow takes all of them or none. Refused ones are searched for by halving, the largest parts
        first, so that it shows early whether others are taken.
        """
        parts, suspects, taken, failed = deque([points]), list[tuple[Point, Exception]](), False, 0
        while parts:
            part = parts.popleft()
            try:
                self._log_batch(part)
                taken = True
            except Exception as error:
                failed += 1
                unclear = self._isolating and is_unclear(error)
                if not (is_invalid(error) or unclear) or (not taken and failed > MOST_FAILED):
                    raise
                if len(part) > 1:
                    parts += [part[: len(part) // 2], part[len(part) // 2 :]]
                elif unclear:
                    suspects.append((part[0], error))
                elif self._refuses(error):
                    self._set_aside(part[0], error)
                else:
                    raise
        for point, error in suspects:
            if not taken:  # the server may be the cause
                raise error
            try:
                self._log_batch([point])
            except Exception as again:
                if not is_unclear(again):
                    raise
                self._set_aside(point, again)

    def _log_batch(self, points: list[Point]) -> None:
        self.client.log_batch(self.run_id, metrics=[metric for metric, _, _ in points], synchronous=True)

    def _set_aside(self, point: Point, error: Exception) -> None:
        metric, record, offset = point
        self._refused.add(record, offset, error, metric=metric.key)

    def _refuses(self, error: Exception) -> bool:
        """Whether an error is due to what was sent, and MLflow still takes what is valid: not if the run is in the
        trash, or the server refuses everything.
        """
        if not is_invalid(error):
            return False
        try:
            self.client.set_tag(self.run_id, KEY_TAG, self._state.key, synchronous=True)
        except (MlflowException, OSError):
            return False
        return True

    def _save_state(self) -> None:
        self._state = dataclasses.replace(self._state, offset=self.offset)
        self._state.save(self.run_dir)

    def _run(self, record: dict[str, Any]) -> None:
        self.client.update_run(self.run_id, status="RUNNING")
        known = self.client.get_run(self.run_id).data.params  # a resumed run may have others; MLflow refuses changes
        new = [Param(key, str(value)) for key, value in record["config"].items() if key not in known]
        inputs: list[DatasetInput] = []
        tags = [RunTag("mlflow.source.git.commit", record["commit"])] if record.get("commit") else []
        for number, segment in enumerate(record.get("segments", ()), start=1):
            changed = ", ".join(f"{key}: {was} -> {now}" for key, (was, now) in segment["changed"].items())
            text = f"from {segment['nimg']} images on: {changed}"[:LONGEST_TAG]
            tags.append(RunTag(f"cyclegan_dist.extension.{number}", text))
        if start := record.get("initialised_from"):
            sha256 = ", ".join(f"{name} {digest}" for name, digest in start["sha256"].items())
            text = f"{start['source']}: {' '.join(start['parts'])}; sha256 {sha256}"
            tags.append(RunTag("cyclegan_dist.initialised_from", text[:LONGEST_TAG]))
        if made := record.get("environment"):
            short = {key: value for key, value in made.items() if key != "packages"}
            tags.append(RunTag("cyclegan_dist.environment", json.dumps(short)))
        names = record.get("domain_names", {})
        tags += [RunTag(f"domain.{domain}", name) for domain, name in names.items()]
        for data in record["data"]:
            source = resolve_dataset_source(data["source"])
            dataset = MetaDataset(
                source, name=f"domain {names.get(data['name'], data['name'])}", digest=data["digest"][:36]
            )
            inputs.append(DatasetInput(dataset._to_mlflow_entity(), [InputTag("mlflow.data.context", "training")]))
            tags.append(RunTag(f"data.{data['name']}", f"{data['samples']} images, sha256 {data['digest']}"))
        for start in range(0, max(1, len(new)), PARAMS):
            part = new[start : start + PARAMS]
            self.client.log_batch(self.run_id, params=part, tags=tags, synchronous=True)
        self.client.log_inputs(self.run_id, datasets=inputs)

    def _image(self, record: dict[str, Any]) -> None:
        """Like `client.log_image`, which is not idempotent: it names the same image differently each time."""
        path = self.run_dir / record["path"]
        try:
            image = Image.open(path).convert("RGB")
        except OSError as error:
            _report_skipped(path, error)
            return
        name = f"{record['key']}+step+{record['step']}+timestamp+{record['time']}"
        name = f"{name}+{uuid.uuid5(uuid.NAMESPACE_URL, name)}"
        with TemporaryDirectory() as folder:
            image.save(Path(folder, f"{name}.png"))
            compress_image_size(image).save(Path(folder, f"{name}+compressed.webp"))
            self.client.log_artifacts(self.run_id, folder, "images")
        self.client.set_tag(self.run_id, "mlflow.loggedImages", "True", synchronous=True)

    def _snapshot(self, record: dict[str, Any]) -> None:
        folder = self.run_dir / record["path"]
        try:
            if not folder.is_dir():
                raise UsageError("the folder does not exist")
            self.client.log_artifacts(self.run_id, str(folder), artifact_path=record["path"])
            if record["final"]:
                self.on_final_snapshot(self.run_id, folder, record["step"])
        except UsageError as error:
            _report_skipped(folder, error)

    def _end(self, record: dict[str, Any]) -> None:
        started = self.client.get_run(self.run_id).info.start_time
        end = max(record["time"], started)  # the clock may have been set back
        self.client.set_terminated(self.run_id, status=record["status"], end_time=end)


@contextmanager
def measuring_system(run_id: str) -> Iterator[None]:
    """Send the load of this machine to a run until the block ends, or the server fails."""
    try:
        import psutil  # noqa: F401 - MLflow needs it, but does not require it
    except ModuleNotFoundError:
        print("tracking.system_metrics needs the package psutil: pip install psutil", file=sys.stderr)
        yield
        return
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=True)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def _report_skipped(path: Path, reason: Exception) -> None:
    """For files that no retry could send; the rest is sent."""
    print(f"{path} is not sent to MLflow: {reason}", file=sys.stderr)


__all__ = ["MlflowException", "MlflowRun", "measuring_system"]
