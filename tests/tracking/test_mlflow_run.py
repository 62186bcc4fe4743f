"""A run's journal in a real MLflow store: everything is sent once, also after a sender was killed."""

import base64
import io
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.tracking.journal import Journal, source_commit
from cyclegan_dist.tracking.sender_state import SenderState
from tests.conftest import MLFLOW, Answer, named

pytestmark = MLFLOW

SET = threading.Event()
SET.set()


def finish(config: Config) -> None:
    import torch

    from cyclegan_dist.step.distributed import World
    from cyclegan_dist.training.stop import StopRequest
    from cyclegan_dist.training.trainer import train

    world = World(0, 1, torch.device("cpu"))
    train(config, world, StopRequest(config.run_dir, world))


def without_models(config: Config) -> None:
    """Delete the snapshots: logging models takes seconds."""
    shutil.rmtree(config.run_dir / "snapshots")


WITHOUT_TORCH = """
import sys
from cyclegan_dist.training.sender import main
main()
assert "torch" not in sys.modules
"""


def test_a_run_and_its_model_are_sent_without_torch(tiny_run: Callable[..., Config], store: str) -> None:
    from mlflow import MlflowClient

    config = tiny_run(stop_after=8)
    finish(config)
    sender = [sys.executable, "-c", WITHOUT_TORCH, str(config.run_dir)]
    done = subprocess.run(sender, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    client = MlflowClient()
    (model,) = client.search_logged_models([each.experiment_id for each in client.search_experiments()])
    assert model.params["nimg"] == "8"


def test_tags_say_where_a_run_started_and_how_it_was_extended(
    tiny_run: Callable[..., Config], store: str, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    from cyclegan_dist.config.config import with_values
    from cyclegan_dist.training.run_folder import open_run
    from cyclegan_dist.training.sender import sync
    from tests.service.running import make_snapshot

    short = {"schedule__n_epochs": 1, "schedule__n_epochs_decay": 0}
    data = named(Path(tiny_run(name="other").data.path), tmp_path / "named")
    finish(config := tiny_run(init_from=str(make_snapshot(tmp_path / "made")), data__path=str(data), **short))
    without_models(config)
    sync(config.run_dir, SET)
    finish(open_run(with_values(config, {"optim.lr": 1e-4}, "test"), 1))
    without_models(config)
    sync(config.run_dir, SET)
    run = MlflowClient().get_run(SenderState.read(config.run_dir).run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["optim.lr"] == "0.0002"  # MLflow refuses to change it
    assert run.data.tags["cyclegan_dist.extension.1"] == "from 10 images on: optim.lr: 0.0002 -> 0.0001"
    assert (run.data.tags["domain.A"], run.data.tags["domain.B"]) == ("summer", "winter")
    start = run.data.tags["cyclegan_dist.initialised_from"]
    assert start.startswith(f"{tmp_path}/made: G_AB G_BA; sha256 G_AB.safetensors ")


def test_a_run_is_sent_completely_and_once(tiny_run: Callable[..., Config], store: str, own_home: Path) -> None:
    import mlflow
    from mlflow import MlflowClient

    from cyclegan_dist.training.sender import sync

    finish(tiny_run(stop_after=16, every__samples=20))
    config = tiny_run(every__samples=20)
    sync(config.run_dir, SET)
    client = MlflowClient()
    run_id = json.loads((config.run_dir / "mlflow.json").read_text())["run_id"]
    assert client.get_run(run_id).info.status == "FINISHED"  # as far as it was asked to go
    finish(config)
    sync(config.run_dir, SET)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    first = {model.model_id for model in client.search_logged_models(experiments)}
    (config.run_dir / "mlflow.json").write_text(json.dumps({"run_id": run_id, "offset": 0}))  # the sender state is lost
    sync(config.run_dir, SET)

    (experiment,) = client.search_experiments(filter_string="name = 'cyclegan_dist'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "tiny"
    assert run.data.params["method.lambda_cycle_A"] == "10.0"
    assert run.data.params["optim.batch_size"] == "2"
    points = client.get_metric_history(run_id, "loss/G_AB")
    assert sorted(point.step for point in points) == list(range(2, 21, 2))
    assert {i.dataset.name for i in run.inputs.dataset_inputs} == {"domain A", "domain B"}
    assert all(len(i.dataset.digest) == 36 for i in run.inputs.dataset_inputs)
    names = {file.path for file in client.list_artifacts(run_id, "snapshots/nimg-000000040")}
    assert {name.rsplit("/", 1)[-1] for name in names} == {"G_AB.safetensors", "G_BA.safetensors", "card.json"}
    assert client.list_artifacts(run_id, "images")

    logged = client.search_logged_models([experiment.experiment_id])
    assert len(logged) == 2  # two snapshots were a run's last, each sent once
    assert {model.model_id for model in logged} == first
    (model,) = [model for model in logged if model.params["nimg"] == "40"]
    files = list(Path(model.artifact_location.removeprefix("file://")).rglob("*"))
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pth")]
    picture = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (18, 22, 3), np.uint8)  # of one colour, norms leave nothing
    Image.fromarray(pixels).save(picture, "PNG")
    loaded = mlflow.pyfunc.load_model(model.model_uri)
    asked = pd.DataFrame({"image": [picture.getvalue()]})
    there, back = (loaded.predict(asked, params={"direction": d})["image"][0] for d in ("AB", "BA"))
    assert Image.open(io.BytesIO(base64.b64decode(there))).size == (22, 18)
    assert there != back
    assert loaded.predict(asked)["image"][0] == there


def test_an_unreachable_server_is_named_and_loses_nothing(
    tiny_run: Callable[..., Config], store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    from cyclegan_dist.training.sender import sync

    config = tiny_run(stop_after=8)
    finish(config)
    without_models(config)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    mlflow.set_tracking_uri("http://me:secret@127.0.0.1:9")
    with pytest.raises(UsageError, match=r"MLflow at http://127\.0\.0\.1:9 did not accept the run") as error:
        sync(config.run_dir, SET)
    assert "secret" not in str(error.value) and "\n" not in str(error.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    mlflow.set_tracking_uri(store)
    sync(config.run_dir, SET)
    run_id = json.loads((config.run_dir / "mlflow.json").read_text())["run_id"]
    assert len(mlflow.MlflowClient().get_metric_history(run_id, "loss/G_AB")) == 2


def test_missing_files_are_skipped(
    tiny_run: Callable[..., Config], store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    from cyclegan_dist.training.sender import sync

    config = tiny_run(stop_after=8, every__samples=4)
    finish(config)
    for path in (config.run_dir / "samples").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    shutil.rmtree(config.run_dir / "snapshots")
    sync(config.run_dir, SET)
    assert capsys.readouterr().err.count("is not sent to MLflow") == 4
    run_id = json.loads((config.run_dir / "mlflow.json").read_text())["run_id"]
    assert mlflow.MlflowClient().get_run(run_id).info.status == "FINISHED"


def test_what_is_in_the_trash_is_named_with_its_cure_and_sync_says_what_it_did(
    tiny_run: Callable[..., Config], store: str, command: Callable[..., Answer]
) -> None:
    import mlflow

    from pipelines import sync

    config = tiny_run(stop_after=8)
    code, out, _ = command(sync.main, config.run_dir)
    assert code == 0 and "has nothing to send" in out
    finish(config)
    without_models(config)
    for said in ("sent ", "nothing is left to send"):
        code, out, _ = command(sync.main, config.run_dir)
        assert code == 0 and out.startswith(said) and store in out
    client, run_id = mlflow.MlflowClient(), json.loads((config.run_dir / "mlflow.json").read_text())["run_id"]
    run = client.get_run(run_id)
    tags = run.data.tags
    assert tags["mlflow.source.type"] == "LOCAL" and tags["mlflow.user"]
    assert tags.get("mlflow.source.git.commit", "") == source_commit()
    client.delete_run(run_id)
    code, _, err = command(sync.main, config.run_dir)
    assert code == 2 and err.count("\n") == 1 and f"mlflow runs restore --run-id {run_id}" in err and store in err
    client.delete_experiment(run.info.experiment_id)
    code, _, err = command(sync.main, config.run_dir)
    assert code == 2 and f"mlflow experiments restore --experiment-id {run.info.experiment_id}" in err


def test_the_load_of_the_machine_is_sent_on_demand(
    tiny_run: Callable[..., Config], store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    from cyclegan_dist.training.sender import sync

    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    config = tiny_run(tracking__system_metrics=True)
    with Journal(config.run_dir) as journal:
        journal.write("run", config={}, data=[], nimg=0, total=40)
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(sync, config.run_dir, done)
        client, known = mlflow.MlflowClient(), set[str]()
        end = time.monotonic() + 20
        while "system/cpu_utilization_percentage" not in known and time.monotonic() < end:
            time.sleep(0.1)
            if run_id := SenderState.read(config.run_dir).run_id:
                known = set(client.get_run(run_id).data.metrics)
        done.set()
        sending.result()
    assert "system/cpu_utilization_percentage" in known


def test_a_run_is_found_by_its_key_when_its_id_was_not_saved(tiny_run: Callable[..., Config], store: str) -> None:
    import mlflow

    from cyclegan_dist.training.sender import sync

    config = tiny_run(stop_after=8)
    finish(config)
    without_models(config)
    for _ in range(2):
        sync(config.run_dir, SET)
        (config.run_dir / "mlflow.json").unlink()
    client = mlflow.MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'cyclegan_dist'")
    assert len(client.search_runs([experiment.experiment_id])) == 1
