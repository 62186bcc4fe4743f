"""Refusals of a drill; whole drills are rows A1 to A13 of the fault matrix."""

from pathlib import Path

import pytest

from cyclegan_dist.config.config import Config, check_config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.operations.drill.plan import Fault, list_plan, write_plan
from cyclegan_dist.operations.drill.run import run_drill

PLAN = list_plan(["kill"], every=20, rank=0, point="step")


@pytest.fixture
def config(own_home: Path) -> Config:
    return check_config({"name": "tiny", "runs_dir": str(own_home), "data": {"path": "data"}}, "test")


def test_a_run_that_is_not_a_drill_is_refused(config: Config, own_home: Path) -> None:
    (own_home / "tiny-baseline").mkdir()
    with pytest.raises(UsageError, match="exists and is not a drill: give another --name"):
        run_drill(config, PLAN)


def test_a_drill_with_other_faults_is_refused(config: Config, own_home: Path) -> None:
    write_plan(own_home / "tiny-baseline", [Fault(number=0, kind="kill", step=1)])
    with pytest.raises(UsageError, match="is a drill with other faults: give another --name"):
        run_drill(config, PLAN)


def test_a_failed_training_ends_the_drill(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cyclegan_dist.operations.drill.run.TRAIN", ["sh", "-c", "echo no such data; exit 3"])
    with pytest.raises(UsageError, match="training tiny-baseline ended with exit code 3: see") as failed:
        run_drill(config, PLAN)
    assert Path(str(failed.value).split(": see ")[1]).read_text() == "no such data\n"


def test_a_training_that_ends_before_a_fault_is_due_is_refused(
    config: Config, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plan(own_home / "tiny-baseline", [])
    (own_home / "tiny-baseline" / "drill" / "steps.jsonl").write_text('{"step": 12, "time": 1.0, "attempt": "a"}\n')
    monkeypatch.setattr("cyclegan_dist.operations.drill.run.TRAIN", ["true"])
    with pytest.raises(UsageError, match="tiny-baseline ends after 12 steps, before the last fault at step 20"):
        run_drill(config, PLAN)
