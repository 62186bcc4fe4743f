"""Registered models, downloaded from a real MLflow store into the local cache."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.registry.sources import open_source
from tests.conftest import MLFLOW
from tests.service.running import make_snapshot

pytestmark = MLFLOW


@pytest.fixture
def store(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The database of a store, in use."""
    use(own_home / "mlflow.db", monkeypatch)
    yield own_home / "mlflow.db"
    forget()


def use(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    mlflow.set_tracking_uri(f"sqlite:///{database}")


def forget() -> None:
    import mlflow

    mlflow.set_tracking_uri(None)


def register(folder: Path, *, promoted: bool) -> str:
    """Register a new snapshot in `folder` as horses. Returns its digest."""
    from mlflow import MlflowClient

    from cyclegan_dist.registry.models import log_generators
    from cyclegan_dist.registry.versions import CHAMPION, DIGEST, Registered

    snapshot = Snapshot.open(make_snapshot(folder / "made"))
    change(snapshot.folder, len(str(folder)))  # other weights in each folder
    client = MlflowClient()
    run = client.create_run(client.create_experiment("made", artifact_location=(folder / "artifacts").as_uri()))
    client.set_terminated(run.info.run_id, "KILLED", end_time=run.info.start_time + 7)
    uri = log_generators(run.info.run_id, snapshot.folder, 0)
    info = client.get_run(run.info.run_id).info
    assert (info.status, info.end_time) == ("KILLED", info.start_time + 7)  # whoever attaches to it
    tags = {DIGEST: snapshot.digest()} if promoted else {}
    number = Registered("horses").register(uri, run.info.run_id, tags, "")
    Registered("horses").point(CHAMPION, number)
    return snapshot.digest()


def test_a_name_that_is_registered_anew_or_in_another_store_gives_its_own_weights(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    from cyclegan_dist.registry.download import alias_is_set

    first = register(tmp_path / "first", promoted=True)
    assert open_source("models:/horses@champion").digest() == first
    assert [alias_is_set(f"models:/horses@{alias}") for alias in ("champion", "candidate", "latest")] == [
        True,
        False,
        True,
    ]
    with pytest.raises(UsageError, match="zebras"):
        alias_is_set("models:/zebras@champion")
    use(tmp_path / "other.db", monkeypatch)
    second = register(tmp_path / "second", promoted=True)
    assert second != first
    assert open_source("models:/horses/1").digest() == second
    use(store, monkeypatch)
    assert open_source("models:/horses/1").digest() == first
    MlflowClient().delete_registered_model("horses")
    MlflowClient().rename_experiment("1", "before")
    third = register(tmp_path / "the third", promoted=True)
    assert open_source("models:/horses/1").digest() == third != first


@pytest.mark.parametrize("promoted", [True, False])
def test_changed_weights_are_never_loaded(store: Path, tmp_path: Path, promoted: bool) -> None:
    digest = register(tmp_path, promoted=promoted)
    cached = open_source("models:/horses@champion").folder
    change(cached, 1)
    assert open_source("models:/horses@champion").digest() == digest  # downloaded again
    (original,) = [path.parent for path in (tmp_path / "artifacts").rglob("card.json")]
    change(original, 1)
    assert open_source("models:/horses@champion").digest() == digest  # from the cache
    shutil.rmtree(cached)
    with pytest.raises(UsageError, match=rf"models:/horses@champion of sqlite:///{store} .* are not those .* {digest}"):
        open_source("models:/horses@champion")
    (tmp_path / "artifacts").rename(tmp_path / "moved")
    with pytest.raises(UsageError, match=rf"files at .*{tmp_path}/artifacts/.*, which does not exist: move them back"):
        open_source("models:/horses@champion")


def change(snapshot: Path, value: int) -> None:
    """Change one weight."""
    path = snapshot / "G_BA.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + bytes([value]))


def test_a_name_an_alias_and_a_version_that_are_not_registered_say_how_to_register(store: Path) -> None:
    import mlflow

    with pytest.raises(UsageError, match="no MLflow store"):
        open_source("models:/horses@champion")
    mlflow.MlflowClient().create_registered_model("horses")
    for source in ("models:/zebras@champion", "models:/horses@champion", "models:/horses/3"):
        name = source.removeprefix("models:/")[:6]
        with pytest.raises(
            UsageError, match=rf"not found; .*promote --name {name} --list .*promote RUN_DIR --name {name} --data DATA"
        ):
            open_source(source)
