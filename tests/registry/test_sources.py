"""Which MLflow store is used, without MLflow."""

import os
from pathlib import Path

import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.registry.sources import open_source, read_store, refuse_missing_source, use_store_of
from cyclegan_dist.tracking.sender_state import SenderState


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())


def sent(run_dir: Path, store: str) -> Path:
    run_dir.mkdir(parents=True)
    SenderState(store, "key", "id").save(run_dir)
    return run_dir


def test_reading_names_the_store_that_does_not_exist_and_creates_none(own_home: Path) -> None:
    for read in (read_store, lambda: open_source("models:/horses@champion")):
        with pytest.raises(
            UsageError, match=f"no MLflow store at sqlite:///{own_home}/mlflow.db: .*CYCLEGAN_DIST_HOME"
        ):
            read()
    assert list(own_home.iterdir()) == []


def test_the_run_of_a_joined_preset_is_suggested_for_the_name_of_its_first(own_home: Path) -> None:
    for name in ("h2z-laptop", "h2z-notes"):
        (own_home / "runs" / name).mkdir(parents=True)
    (own_home / "runs" / "h2z-laptop" / "config.yaml").touch()
    with pytest.raises(UsageError, match=r"does not exist: did you mean runs/h2z-laptop\? Give the folder of one"):
        open_source("runs/h2z")
    with pytest.raises(UsageError, match="does not exist; give the folder of one"):
        refuse_missing_source("runs/laptop")


def test_the_store_of_a_new_run_gets_a_folder(own_home: Path) -> None:
    os.environ["CYCLEGAN_DIST_HOME"] = str(own_home / "new" / "home")
    assert use_store_of(own_home) == f"sqlite:///{own_home}/new/home/mlflow.db"
    assert (own_home / "new" / "home").is_dir()


def test_a_run_stays_in_its_store(own_home: Path) -> None:
    (own_home / "first.db").touch()
    run_dir = sent(own_home / "run", f"sqlite:///{own_home}/first.db")
    os.environ["CYCLEGAN_DIST_HOME"] = str(own_home / "elsewhere")
    assert use_store_of(run_dir) == f"sqlite:///{own_home}/first.db"
    os.environ["MLFLOW_TRACKING_URI"] = "sqlite:///first.db"  # the same, from the current folder
    assert use_store_of(run_dir) == f"sqlite:///{own_home}/first.db"
    os.environ["MLFLOW_TRACKING_URI"] = "http://me:secret@other"
    with pytest.raises(
        UsageError, match=r"belongs to .*first\.db, and MLFLOW_TRACKING_URI names http://other: "
    ) as error:
        use_store_of(run_dir)
    assert "secret" not in str(error.value)


def test_a_store_that_was_moved_away_is_not_created_again(own_home: Path) -> None:
    run_dir = sent(own_home / "run", f"sqlite:///{own_home}/gone/mlflow.db")
    with pytest.raises(UsageError, match=r"gone/mlflow\.db, which does not exist: move it back there, or "):
        use_store_of(run_dir)
    assert not (own_home / "gone").exists()


def test_a_trial_goes_to_the_store_of_its_sweep(own_home: Path) -> None:
    (own_home / "first.db").touch()
    sweep = sent(own_home / "swept", f"sqlite:///{own_home}/first.db")
    (sweep / "sweep.jsonl").touch()
    assert use_store_of(sweep / "trial-0000") == f"sqlite:///{own_home}/first.db"
