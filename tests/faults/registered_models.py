"""Drills E9 and E10: registered models and runs whose store, name or files have changed."""

import json
import os
import shutil
import threading
from pathlib import Path
from unittest.mock import patch

from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.registry.sources import open_source
from cyclegan_dist.storage.layout import RunFolder
from tests.faults.matrix import Measured, Stage, row
from tests.service.running import make_snapshot
from tests.training.trainings import go

EVERYTHING = threading.Event()
EVERYTHING.set()


def _use(database: Path) -> None:
    import mlflow

    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{database}"
    mlflow.set_tracking_uri(f"sqlite:///{database}")


def _register(folder: Path, value: int) -> str:
    """Register a snapshot as horses, with one byte of its weights set to `value`. Returns its digest."""
    from mlflow import MlflowClient

    from cyclegan_dist.registry.models import log_generators
    from cyclegan_dist.registry.versions import CHAMPION, DIGEST, Registered

    snapshot = Snapshot.open(make_snapshot(folder / "made"))
    _change(snapshot.folder, value)
    client = MlflowClient()
    experiment = client.create_experiment(f"made-{value}", artifact_location=(folder / "artifacts").as_uri())
    run = client.create_run(experiment)
    client.set_terminated(run.info.run_id, "FINISHED")
    uri = log_generators(run.info.run_id, snapshot.folder, 0)
    number = Registered("horses").register(uri, run.info.run_id, {DIGEST: snapshot.digest()}, "")
    Registered("horses").point(CHAMPION, number)
    return snapshot.digest()


def _change(snapshot: Path, value: int) -> None:
    path = snapshot / "G_BA.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + bytes([value]))


def _refused(source: str, *words: str) -> bool:
    try:
        open_source(source)
    except UsageError as error:
        return "\n" not in str(error) and all(word in str(error) for word in words)
    return False


@row(
    "E9",
    "a model is deleted and registered anew, two stores use one name, files are changed, moved or deleted",
    "always the weights that the store names; otherwise refused, with the store and the files",
    slow=True,
)
def models_that_changed(stage: Stage) -> Measured:
    from mlflow import MlflowClient

    source, right = "models:/horses@champion", 0
    with patch.dict(os.environ, {"CYCLEGAN_DIST_HOME": str(stage.folder)}):
        _use(stage.folder / "one.db")
        first = _register(stage.folder / "first", 1)
        right += open_source(source).digest() == first
        _use(stage.folder / "two.db")
        second = _register(stage.folder / "second", 2)
        right += open_source(source).digest() == second != first
        _use(stage.folder / "one.db")
        right += open_source(source).digest() == first
        MlflowClient().delete_registered_model("horses")
        third = _register(stage.folder / "third", 3)
        right += open_source("models:/horses/1").digest() == third != first

        cached = open_source(source).folder
        _change(cached, 9)
        right += open_source(source).digest() == third  # downloaded again
        shutil.rmtree(cached)
        (original,) = [path.parent for path in (stage.folder / "third" / "artifacts").rglob("card.json")]
        _change(original, 9)
        right += _refused(source, third, "one.db")
        (stage.folder / "third" / "artifacts").rename(stage.folder / "moved")
        right += _refused(source, "third/artifacts", "does not exist")
        _use(stage.folder / "none.db")
        right += _refused(source, "none.db") and not (stage.folder / "none.db").exists()
        _forget()
    return Measured(f"right weights or refused {right} of 8", right == 8)


def _forget() -> None:
    import mlflow

    mlflow.set_tracking_uri(None)


@row(
    "E10",
    "an interrupted run is promoted; a run or its experiment is in MLflow's trash",
    "status and end of the run stay as they are; what is in the trash is named with the command that restores it",
    slow=True,
)
def runs_that_were_ended_or_deleted(stage: Stage) -> Measured:
    import mlflow

    from cyclegan_dist.registry.models import log_generators
    from cyclegan_dist.training.sender import sync

    with patch.dict(os.environ, {"CYCLEGAN_DIST_HOME": str(stage.folder)}):
        _use(stage.folder / "mlflow.db")
        config = stage.run(stop_after=8)
        go(config)
        sync(config.run_dir, EVERYTHING)
        run_id = json.loads(RunFolder(config.run_dir).sender_state.read_text())["run_id"]
        client = mlflow.MlflowClient()
        right = 0
        for status in ("KILLED", "FAILED"):
            client.set_terminated(run_id, status, end_time=client.get_run(run_id).info.start_time + 7)
            log_generators(run_id, Snapshot.open(config.run_dir).folder, 8)
            info = client.get_run(run_id).info
            right += (info.status, info.end_time) == (status, info.start_time + 7)
        with RunFolder(config.run_dir).journal.open("a") as journal:  # something to send
            journal.write(json.dumps({"kind": "message", "time": 0.0, "text": "more"}) + "\n")
        client.delete_run(run_id)
        right += _sync_refused(config.run_dir, f"mlflow runs restore --run-id {run_id}")
        experiment = client.get_run(run_id).info.experiment_id
        client.delete_experiment(experiment)
        right += _sync_refused(config.run_dir, f"mlflow experiments restore --experiment-id {experiment}")
        _forget()
    return Measured(f"as expected {right} of 4", right == 4)


def _sync_refused(run_dir: Path, cure: str) -> bool:
    from cyclegan_dist.training.sender import sync

    try:
        sync(run_dir, EVERYTHING)
    except UsageError as error:
        return cure in str(error)
    return False
