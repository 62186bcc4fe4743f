"""An estimate follows the first steps of each attempt, and a warning where the whole run would take too long."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cyclegan_dist.config.config import Config
from cyclegan_dist.step.update import Step
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.training.hooks import estimate
from cyclegan_dist.training.hooks.estimate import Estimate
from cyclegan_dist.training.hooks.progress import Progress
from tests.ranks import run_ranks
from tests.training.trainings import ALONE, go, records

MakeRun = Callable[..., Config]


def estimates(config: Config) -> list[dict[str, Any]]:
    return [record for record in records(config) if record["kind"] == "estimate"]


def measure(config: Config, seconds: list[float], total: int) -> list[dict[str, Any]]:
    """What is recorded after steps that take so long."""
    torch.manual_seed(0)
    step = Step(config.method.build(rank_seed=0), config.optim, ALONE)
    with Journal(config.run_dir) as journal:
        hook = Estimate(config, step, journal)
        for number, step_s in enumerate(seconds, start=1):
            hook(Progress(number, 2 * number, 2, 10, total, step_s=step_s))
    return records(config)


def test_the_estimate_precedes_the_first_losses_and_fits_the_files(tiny_run: MakeRun) -> None:
    config = tiny_run(every__samples=8, every__snapshot=8, stop_after=16, world__price=3.0, every__log=8)
    go(config)
    kinds = [record["kind"] for record in records(config)]
    assert kinds.index("estimate") < kinds.index("metrics") and kinds.count("estimate") == 1
    values = estimates(config)[0]["values"]
    folder = RunFolder(config.run_dir)
    size = lambda path: sum(one.stat().st_size for one in path.rglob("*") if one.is_file())  # noqa: E731
    (checkpoint, *_) = folder.checkpoints.glob("step-*8")
    assert 0.7 < size(checkpoint) / values["checkpoint_bytes"] < 1.5
    others = size(folder.samples) + sum(size(one) for one in folder.snapshots.iterdir())
    expected = values["kept_bytes"] - 2 * values["checkpoint_bytes"]
    assert 0.8 < others / expected < 1.25, (others, expected, size(folder.samples))
    assert values["cost"] == pytest.approx(3.0 * values["seconds"] / 3600)
    assert 1e8 < values["memory_bytes"] < 1e11


def test_the_first_step_is_not_measured(tiny_run: MakeRun) -> None:
    first, found = measure(tiny_run(every__log=1000), [9.0, 2.0, 5.0], total=3604)
    assert first["text"].startswith("the first step took 9.0 s")
    assert (found["step"], found["values"]["images_per_s"], found["values"]["seconds"]) == (2, 1.0, 3600.0)
    assert found["values"]["log_s"] == 1000 and "cost" not in found["values"]


def test_short_steps_are_measured_until_losses_are_recorded(tiny_run: MakeRun) -> None:
    (found,) = measure(tiny_run(every__log=8), [0.5, 0.01, 0.02, 0.03, 9.0], total=100)
    assert found["step"] == 4
    assert found["values"]["images_per_s"] == pytest.approx(6 / 0.06)


@pytest.mark.parametrize(("total", "warned"), [(600_000, False), (1_300_000, True)])
def test_a_training_of_more_than_a_week_is_warned_of(tiny_run: MakeRun, total: int, warned: bool) -> None:
    found = [record["text"] for record in measure(tiny_run(), [0.1, 1.0], total) if record["kind"] == "message"]
    assert bool(found) == warned
    if warned:
        assert "7.5 days" in found[0] and "PRESET+laptop" in found[0] and "--stop_after 172804" in found[0]


def test_another_attempt_is_estimated_anew_on_the_first_of_two_ranks(tiny_run: MakeRun) -> None:
    for stop_after in (8, 16):
        config = tiny_run(stop_after=stop_after, every__log=8)
        run_ranks(lambda world, config=config: go(config, world), 2)
    assert [record["nimg"] <= stop_after for record, stop_after in zip(estimates(config), (8, 16), strict=True)]


def test_a_gpu_is_asked_for_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 5)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: type("Card", (), {"total_memory": 80}))
    assert estimate.memory(torch.device("cuda", 0)) == {"memory_bytes": 5, "card_bytes": 80}


def test_new_runs_begin_with_a_grid(tiny_run: MakeRun) -> None:
    config = tiny_run(every__samples=8, stop_after=8)
    go(config)
    found = [(r["kind"], r.get("step")) for r in records(config) if r["kind"] in ("image", "metrics", "estimate")]
    assert found[0] == ("image", 0)
    assert (RunFolder(config.run_dir).samples / "nimg-000000000.png").exists()
    assert not list(RunFolder(tiny_run(name="none", stop_after=2).run_dir).samples.glob("*"))
