import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.doctor.nodes import Node
from cyclegan_dist.operations.doctor.space import check_job_stop, check_space, checkpoint_bytes, stop_wait_here
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.world_config import WorldConfig
from tests.operations.doctor.fleets import findings
from tests.training.trainings import go

NODES = [Node(name="a", address="10.0.0.1", is_head=True)]


def test_a_checkpoint_has_the_size_that_was_predicted(tiny_run: Callable[..., Config]) -> None:
    config = tiny_run(stop_after=8)  # enough to fill the history
    go(config)
    (folder,) = (config.run_dir / "checkpoints").glob("step-*")
    written = sum(path.stat().st_size for path in folder.iterdir())
    assert 0.75 * written < checkpoint_bytes(config, NODES) < written  # of tiny tensors, names are a part


def test_the_checkpoint_of_the_paper() -> None:
    """2 x 11,378,179 + 2 x 2,764,737 parameters, Adam's two moments, 2 x 50 images of 256 x 256 x 3."""
    history = 4 * 100 * 256 * 256 * 3
    one = checkpoint_bytes(Config(), NODES)
    assert one == 4 * 3 * 28_285_832 + history
    assert checkpoint_bytes(Config(optim=OptimConfig(precision="fp64")), NODES) == 2 * one
    assert checkpoint_bytes(Config(optim=OptimConfig(ema_half_life_images=20.0)), NODES) == one + 4 * 2 * 11_378_179
    world, optim = WorldConfig(num_workers=8), OptimConfig(batch_size=8)
    assert checkpoint_bytes(Config(world=world, optim=optim), NODES) == one + 7 * history


@pytest.mark.parametrize(("free", "level"), [(2.0, "green"), (1.99, "yellow"), (1.0, "yellow"), (0.99, "red")])
def test_free_space(free: float, level: str, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the three checkpoints that are kept, the best one, and two more that are being written or removed."""
    config = Config(keep_best=2)
    need = 6 * checkpoint_bytes(config, NODES)
    asked: list[Path] = []
    usage = SimpleNamespace(free=int(free * need))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or usage)
    (found,) = findings(check_space, NODES, config)
    assert found.level == level and bool(found.advice) == (level != "green")
    assert found.figures["need"] == need and "6 checkpoints of 418 MB need 2.51 GB" in found.found
    assert asked == [own_home]  # the run's folder does not exist yet


def test_checkpoints_of_the_run_itself_count_as_free(tiny_run: Callable[..., Config]) -> None:
    config = tiny_run()
    (before,) = findings(check_space, NODES, config)
    file = config.run_dir / "checkpoints" / "step-000000001" / "shared.pt"
    file.parent.mkdir(parents=True)
    with file.open("wb") as sparse:
        sparse.truncate(10**12)
    (after,) = findings(check_space, NODES, config)
    assert after.figures["free"] - before.figures["free"] == pytest.approx(10**12, rel=0.01)


def test_the_free_space_of_an_object_store_is_not_known() -> None:
    (found,) = findings(check_space, NODES, dataclasses.replace(Config(), checkpoints="s3://b/k"))
    assert found.level == "green" and "is not known" in found.found


@pytest.mark.parametrize(("wait_s", "level"), [(3.0, "yellow"), (19.0, "yellow"), (20.0, "green")])
def test_a_stopped_job_has_time_for_a_checkpoint(wait_s: float, level: str) -> None:
    """The paper's takes 418 MB, 4.2 s at 100 MB/s, and 15 s to begin. Only the head counts, on which jobs run."""
    nodes = [Node(name="b", address="10.0.0.2"), *NODES]
    (found,) = findings(check_job_stop, nodes, {"a": wait_s, "b": 9999.0}, Config(world=WorldConfig(num_workers=1)))
    assert found.level == level and found.found.startswith(f"{wait_s:.0f} s between")
    assert ("RAY_JOB_STOP_WAIT_TIME_S=60" in found.advice) == (level == "yellow")


@pytest.mark.parametrize(("value", "wait_s"), [("", 3.0), ("60", 60.0)])
def test_the_wait_is_that_of_the_environment(value: str, wait_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_STOP_WAIT_TIME_S", value)
    assert stop_wait_here() == wait_s
