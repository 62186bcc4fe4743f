"""Snapshots are evaluated during training, and the best is recorded."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation import during_training, evaluate
from cyclegan_dist.evaluation.command import Evaluate
from tests.conftest import make_dataset
from tests.forked import start_forked
from tests.training.trainings import go, records

pytestmark = pytest.mark.slow


class Forked:
    """In place of `subprocess.Popen`: the command's main function in a forked process, which has torch already."""

    def __init__(self, command: list[str], *, stdout: IO[bytes], stderr: IO[bytes], env: dict[str, str]):
        nice, _, _, python, _, module, *arguments = command
        assert (nice, python, module) == ("nice", sys.executable, evaluate.__name__) and stdout is stderr

        self._process = start_forked(
            evaluate.main, *arguments, stdout=stdout.fileno(), stderr=stderr.fileno(), environment=env
        )
        self.kill = self._process.kill

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        assert self._process.exitcode is not None
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations start in a moment; the first test, without this fixture, has one that users have."""
    how = SimpleNamespace(Popen=Forked, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(during_training, "subprocess", how)


def test_a_snapshot_is_evaluated_by_a_process_of_its_own(tiny_run: Callable[..., Config], dataset: Path) -> None:
    config = tiny_run(held_out__data=str(dataset), every__snapshot=8, stop_after=8)
    assert go(config) == "FINISHED"
    assert [record["nimg"] for record in records(config) if record["kind"] == "evaluation"] == [8]


def test_every_snapshot_is_evaluated_and_the_best_is_named(
    tiny_run: Callable[..., Config], dataset: Path, forked: None
) -> None:
    config = tiny_run(held_out__data=str(dataset), every__snapshot=8, stop_after=16)
    assert go(config) == "FINISHED"
    judged = [record for record in records(config) if record["kind"] == "evaluation"]
    assert [record["nimg"] for record in judged] == [8, 16]
    found = [
        json.loads((config.run_dir / "evaluations" / f"nimg-{n:09d}" / "metrics.json").read_text()) for n in (8, 16)
    ]
    assert [record["findings"] for record in judged] == [result["findings"] for result in found]
    means = [sum(record["values"][f"kd/untrained_{d}"] for d in ("AB", "BA")) / 2 for record in judged]
    best = json.loads((config.run_dir / "best.json").read_text())
    assert best["value"] == pytest.approx(min(means))
    assert best["snapshot"] == f"snapshots/nimg-{judged[means.index(min(means))]['nimg']:09d}"
    assert records(config)[-1]["kind"] == "end"


def test_an_unrecorded_evaluation_is_recorded_by_the_resumed_run(
    tiny_run: Callable[..., Config], dataset: Path, forked: None
) -> None:
    """As after a training that was killed while its snapshot was evaluated."""
    go(tiny_run(every__snapshot=8, stop_after=8))
    config = tiny_run(held_out__data=str(dataset), every__snapshot=8, stop_after=16)
    evaluate.run(Evaluate(str(config.run_dir), data=str(dataset), device="cpu"))
    assert go(config) == "FINISHED"
    assert [record["nimg"] for record in records(config) if record["kind"] == "evaluation"] == [8, 16]


def test_snapshots_that_are_evaluated_on_other_images_are_not_compared(
    tiny_run: Callable[..., Config], dataset: Path, tmp_path: Path, forked: None
) -> None:
    shutil.copytree(dataset, tmp_path / "held_out")
    how = {"held_out__data": str(tmp_path / "held_out"), "every__snapshot": 8}
    go(tiny_run(**how, stop_after=8))
    shutil.rmtree(tmp_path / "held_out")
    make_dataset(tmp_path / "other", seed=5).rename(tmp_path / "held_out")
    config = tiny_run(**how, stop_after=16)
    assert go(config) == "FINISHED"
    found = records(config)
    assert [record["nimg"] for record in found if record["kind"] == "evaluation"] == [8]
    assert any("nimg-000000016 was evaluated on other images" in record.get("text", "") for record in found)
    assert json.loads((config.run_dir / "best.json").read_text())["snapshot"] == "snapshots/nimg-000000008"


def test_a_failing_evaluation_is_reported_and_the_run_continues(
    tiny_run: Callable[..., Config], dataset: Path, tmp_path: Path, forked: None
) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"none")
    digest = hashlib.sha256(b"none").hexdigest()
    how = {"held_out__features": f"resnet18:{weights}", "held_out__best": f"kd/resnet18-{digest[:8]}"}
    config = tiny_run(held_out__data=str(dataset), **how, stop_after=4)
    assert go(config) == "FINISHED"
    said = [record["text"] for record in records(config) if record["kind"] == "message"]
    assert any("was not evaluated: error: " in text and str(weights) in text for text in said)


def test_missing_held_out_images_are_refused_before_ranks_start(tiny_run: Callable[..., Config]) -> None:
    with pytest.raises(UsageError, match="no data set at"):
        tiny_run(held_out__data="/none")


def test_a_best_figure_of_another_network_is_refused_before_ranks_start(
    tiny_run: Callable[..., Config], dataset: Path
) -> None:
    with pytest.raises(UsageError, match=r"held_out\.best kd/untrained is not measured with features resnet18:w"):
        tiny_run(held_out__data=str(dataset), held_out__features="resnet18:w")


def test_a_network_that_trains_is_refused_with_that_reason_before_its_figures(
    tiny_run: Callable[..., Config], dataset: Path
) -> None:
    how = {"held_out__features": "efficientnet_lite0", "method__cycle_distance": "features"}
    how |= {"data__load_size": 36, "data__crop_size": 32}
    for best in ("kd/untrained", "kd/efficientnet_lite0"):
        with pytest.raises(UsageError, match="was trained with efficientnet_lite0, which cannot evaluate it"):
            tiny_run(held_out__data=str(dataset), held_out__best=best, **how)


def test_a_missing_extra_is_refused_before_ranks_start(
    tiny_run: Callable[..., Config], dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"held_out__features": "efficientnet_lite0", "held_out__best": "kd/efficientnet_lite0"}
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(UsageError, match="needs pip install"):
        tiny_run(held_out__data=str(dataset), **how)
