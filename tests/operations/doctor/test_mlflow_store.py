import dataclasses
import os
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.doctor import mlflow_store
from cyclegan_dist.operations.doctor.mlflow_store import check_mlflow
from cyclegan_dist.tracking.config import TrackingConfig
from tests.conftest import MLFLOW
from tests.operations.doctor.fleets import findings, levels


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`use_store` sets it."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


def test_a_database_that_will_be_made_is_green(own_home: Path) -> None:
    (found,) = findings(check_mlflow, Config(), 1)
    assert (found.level, found.found) == ("green", f"{own_home}/mlflow.db will be made")
    assert not (own_home / "mlflow.db").exists()


def test_a_database_of_one_machine_is_yellow_for_several_nodes(own_home: Path) -> None:
    (found,) = findings(check_mlflow, Config(), 2)
    assert found.level == "yellow" and "MLFLOW_TRACKING_URI" in found.advice


def test_no_mlflow_is_green() -> None:
    (found,) = findings(check_mlflow, Config(tracking=TrackingConfig(mlflow=False)), 2)
    assert found.level == "green"


def test_a_database_is_tried_and_left_as_it_was(own_home: Path) -> None:
    with closing(sqlite3.connect(own_home / "mlflow.db")) as database:
        database.execute("CREATE TABLE runs (id)")
        database.commit()
        before = (own_home / "mlflow.db").read_bytes()
        assert findings(check_mlflow, Config(), 1)[0].found.endswith("mlflow.db can be written")
        assert (own_home / "mlflow.db").read_bytes() == before


@pytest.mark.parametrize("reason", ["locked", "garbage"])
def test_a_database_that_cannot_be_written_is_red(reason: str, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_store, "CONNECT_S", 0.1)
    with closing(sqlite3.connect(own_home / "mlflow.db", isolation_level=None)) as database:
        if reason == "locked":
            database.execute("BEGIN IMMEDIATE")
        else:
            (own_home / "mlflow.db").write_bytes(b"no database " * 100)
        (found,) = findings(check_mlflow, Config(), 1)
    assert found.level == "red"


def test_a_server_that_does_not_listen_is_red_at_once_without_its_password() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for scheme in ("http", "postgresql"):
        os.environ["MLFLOW_TRACKING_URI"] = f"{scheme}://me:canary@127.0.0.1:{port}"
        began = time.monotonic()
        (found,) = findings(check_mlflow, Config(), 1)
        assert time.monotonic() - began < 3
        assert found.level == "red" and "Connection refused" in found.found
        assert scheme == "postgresql" or "canary" not in str(found)  # hidden where all findings are, see test_report


@pytest.fixture
def silent_server() -> Callable[[], str]:
    server = socket.create_server(("127.0.0.1", 0))
    return lambda: f"http://127.0.0.1:{server.getsockname()[1]}"


class TestServer:
    pytestmark = MLFLOW

    def test_a_server_that_never_answers_is_red(self, silent_server: Callable[[], str]) -> None:
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "1"
        os.environ["MLFLOW_TRACKING_URI"] = silent_server()
        (found,) = findings(check_mlflow, Config(), 1)
        assert found.level == "red" and found.advice

    @pytest.mark.long
    def test_a_server_takes_a_run_and_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import mlflow

        from tests.faults.mlflow_server import MlflowServer

        server = MlflowServer(tmp_path)
        try:
            os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{server.port}"
            for _ in range(2):  # the second finds the experiment of the first
                (found,) = findings(check_mlflow, Config(), 2)
                assert found.level == "green", found
            monkeypatch.setattr(mlflow_store, "SLOW_S", 0.0)
            assert levels(check_mlflow, Config(), 2) == ["yellow"]
            client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
            own = client.get_experiment_by_name(mlflow_store.EXPERIMENT)
            assert own is not None and client.search_runs([own.experiment_id]) == []
            client.delete_experiment(own.experiment_id)
            assert levels(check_mlflow, Config(), 2) == ["yellow"]
            client.delete_experiment(client.create_experiment("gone"))
            config = dataclasses.replace(Config(), tracking=TrackingConfig(experiment="gone"))
            (found,) = findings(check_mlflow, config, 2)
            assert found.level == "red" and "experiment gone is deleted" in found.found
        finally:
            server.stop()
