"""What a real MLflow store needs."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.tracking.sender_state import SenderState
from pipelines.prune import main
from tests.conftest import MLFLOW, Answer
from tests.operations.prune.runs import make_run

pytestmark = MLFLOW


@pytest.fixture
def store(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URI of a store, in use."""
    import mlflow

    uri = f"sqlite:///{own_home}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    yield uri
    mlflow.set_tracking_uri(None)  # pyright: ignore[reportArgumentType]


def test_what_a_version_was_made_from_stays_and_other_downloads_go(
    command: Callable[..., Answer], own_home: Path, store: str
) -> None:
    from mlflow import MlflowClient

    from cyclegan_dist.registry.download import cache_key
    from cyclegan_dist.registry.models import SHA256
    from cyclegan_dist.registry.versions import DIGEST, Registered

    run, client = make_run(own_home / "runs" / "one"), MlflowClient()
    experiment = client.create_experiment("made", artifact_location=(own_home / "artifacts").as_uri())
    run_id = client.create_run(experiment).info.run_id
    SenderState(store=store, run_id=run_id, offset=10**6).save(run)
    folders = [run / "snapshots" / f"nimg-{nimg:09d}" for nimg in (4, 8, 12)]
    digests = [Snapshot.open(folder).digest() for folder in folders]
    tags, params = ({DIGEST: digests[0]}, {}), ({}, {SHA256: digests[1]})  # promoted, and registered by hand
    models = [client.create_logged_model(experiment, "made", run_id, params=params[number]) for number in (0, 1)]
    for model, tag in zip(models, tags, strict=True):
        Registered("horses").register(model.model_uri, run_id, tag, "")
    cache = own_home / "models" / cache_key(store)
    needed, needless, young, draft = (cache / name for name in (models[0].model_id, "m-0", "m-1", "tmp0a1b2c3d"))
    for folder in (needed, needless, young, draft):
        shutil.copytree(folders[2], folder)
        for path in (*folder.iterdir(), folder):
            os.utime(path, None if folder == young else (0, 0))
    client.delete_run(run_id)
    code, out, err = command(main, "--yes")
    assert code == 0 and str(needless) in out and str(draft) in out
    assert {*cache.iterdir()} == {needed, young}
    left = sorted(path.name for path in (run / "snapshots").iterdir())
    assert left == [folders[0].name, folders[1].name, "nimg-000000016"]
    assert "has deleted runs, whose files `mlflow gc` removes, also those of horses/1, horses/2: restore" in err


def test_a_server_that_does_not_answer(
    command: Callable[..., Answer], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(own_home / "runs" / "one")
    server = "http://127.0.0.1:9"
    SenderState(store=server, run_id="1", offset=10**6).save(run)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://name:secret@127.0.0.1:9")
    code, out, err = command(main, "--yes")
    assert code == 0 and "snapshots/" not in out and "so snapshots are kept" in err and "secret" not in err
