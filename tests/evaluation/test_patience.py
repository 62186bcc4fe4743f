"""Training ends when its evaluations do not improve."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cyclegan_dist.config.config import Config, with_values
from cyclegan_dist.config.held_out import HeldOutConfig, held_out_data
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.during_training import SnapshotEvaluations
from cyclegan_dist.step.distributed import World
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.training.hooks.progress import Progress
from cyclegan_dist.training.run_folder import draw_synthetic, open_run
from tests.ranks import run_ranks
from tests.training.trainings import ALONE, go, records

MakeRun = Callable[..., Config]
FIGURES = {8: 0.5, 16: 0.2, 24: 0.3, 32: 0.25, 40: 0.4, 48: 0.1}  # by images


@pytest.fixture(autouse=True)
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """The figure of each snapshot, in place of its evaluation, which takes no time."""
    found = dict(FIGURES)

    def start(self: SnapshotEvaluations, niceness: int = 0) -> bool:
        waiting = (s for s in sorted((self.run_dir / "snapshots").glob("nimg-*")) if s.name not in self._done)
        for snapshot in waiting:
            nimg = int(snapshot.name[5:])
            self._done.add(snapshot.name)
            self._values[snapshot.name] = {"kd/untrained_AB": found.get(nimg, 1.0)}
            self.journal.write("evaluation", step=nimg // 2, nimg=nimg, values=self._values[snapshot.name])
            self._write_best()
        return False

    monkeypatch.setattr(SnapshotEvaluations, "_start_next", start)
    monkeypatch.setattr(
        "cyclegan_dist.training.stop.time", type("Clock", (), {"monotonic": staticmethod(_clock().__next__)})
    )
    return found


def _clock() -> Iterator[float]:
    """Every step takes so long that ranks exchange whether to stop after each."""
    now = 0.0
    while True:
        yield (now := now + 10.0)


def run_with(tiny_run: MakeRun, dataset: Path, **changes: object) -> Config:
    how = {"held_out__data": str(dataset), "every__snapshot": 8, "schedule__n_epochs": 8, "optim__batch_size": 2}
    return tiny_run(**{**how, **changes})


def test_it_ends_finished_with_a_snapshot_and_a_reason(tiny_run: MakeRun, dataset: Path) -> None:
    config = run_with(tiny_run, dataset, held_out__patience=16)
    assert go(config) == "FINISHED"
    found = records(config)
    early = next(record for record in found if record["kind"] == "early_end")
    assert 32 <= early["nimg"] <= 40 and early["patience"] == 16 and found[-1]["status"] == "FINISHED"
    said = [record["text"] for record in found if record["kind"] == "message"]
    assert (
        "ending before the schedule does: kd/untrained was lowest, 0.2, at 16 images, and has not improved in the 16 "
        "images since (held_out.patience 16)" in said
    )
    assert any(record["kind"] == "snapshot" and record["final"] for record in found)
    assert json.loads((config.run_dir / "best.json").read_text())["snapshot"] == "snapshots/nimg-000000016"
    # The same command again does nothing, and one with more patience, which is safe to change, goes on.
    assert go(config) == "FINISHED"
    assert max(r["nimg"] for r in records(config) if r["kind"] == "early_end") == early["nimg"]
    longer = open_run(with_values(config, {"held_out.patience": 24}, "test"))
    assert go(longer) == "FINISHED"
    assert max(record["nimg"] for record in records(config) if record["kind"] == "early_end") > early["nimg"]


def test_it_goes_on_while_the_figure_improves(tiny_run: MakeRun, dataset: Path, figures: dict[int, float]) -> None:
    figures |= {nimg: 1 / nimg for nimg in range(8, 100, 8)}
    config = run_with(tiny_run, dataset, held_out__patience=8, schedule__n_epochs=2)
    assert go(config) == "FINISHED"
    assert max(record["nimg"] for record in records(config) if record["kind"] == "evaluation") == 40
    assert not any(record["kind"] == "early_end" for record in records(config))


def test_an_interrupted_run_ends_where_it_would_have(tiny_run: MakeRun, dataset: Path) -> None:
    run_with_stop = run_with(tiny_run, dataset, held_out__patience=16, stop_after=24, every__checkpoint=8)
    assert go(run_with_stop) == "FINISHED"
    config = open_run(with_values(run_with_stop, {"stop_after": 0}, "test"))
    assert go(config) == "FINISHED"
    assert 32 <= next(r["nimg"] for r in records(config) if r["kind"] == "early_end") <= 40


def test_all_ranks_end_after_the_same_step(tiny_run: MakeRun, dataset: Path) -> None:
    config = run_with(tiny_run, dataset, held_out__patience=16)

    def work(world: World) -> str:
        return go(config, world)

    assert run_ranks(work, 2) == ["FINISHED", "FINISHED"]
    assert 32 <= next(r["nimg"] for r in records(config) if r["kind"] == "early_end") <= 40


def test_an_extension_counts_from_its_start(tiny_run: MakeRun, dataset: Path) -> None:
    config = run_with(tiny_run, dataset, held_out__patience=16)
    go(config)
    end = next(record["nimg"] for record in records(config) if record["kind"] == "early_end")
    longer = open_run(with_values(config, {"schedule.n_epochs": 2}, "test"), extend=1)
    assert go(longer) == "FINISHED"
    assert max(record["nimg"] for record in records(config) if record["kind"] == "evaluation") >= end + 16


def test_a_better_last_snapshot_does_not_start_it_again(tmp_path: Path) -> None:
    config = with_values(Config(), {"runs_dir": str(tmp_path), "held_out.patience": 16}, "test")
    with Journal(config.run_dir) as journal:
        for nimg, value in ((8, 0.2), (24, 0.3), (26, 0.1)):
            journal.write("evaluation", step=nimg, nimg=nimg, values={"kd/untrained_AB": value})
        journal.write("early_end", nimg=26, patience=16)
        for patience, ends in ((16, True), (8, True), (17, False), (0, False)):
            asked: list[bool] = []
            SnapshotEvaluations(
                with_values(config, {"held_out.patience": patience}, "test"),
                journal,
                Progress(step=26, nimg=26, batch_size=1, epoch_size=10, total=100),
                lambda asked=asked: asked.append(True),
            )
            assert bool(asked) == ends


def test_patience_without_evaluations_is_refused(tiny_run: MakeRun, dataset: Path) -> None:
    with pytest.raises(UsageError, match=r"set held_out\.data to a data set .*--validation"):
        tiny_run(held_out__patience=100)
    with pytest.raises(UsageError, match=r"every\.snapshot"):
        tiny_run(held_out__patience=100, held_out__data=str(dataset), every__snapshot=0)


def test_the_validation_part_is_found(tmp_path: Path, dataset: Path) -> None:
    shutil.copytree(dataset, tmp_path / "data")
    assert held_out_data(HeldOutConfig(), str(tmp_path / "data")) == ""
    shutil.copytree(dataset, tmp_path / "data" / "test")  # which is never chosen by
    assert held_out_data(HeldOutConfig(), str(tmp_path / "data")) == ""
    shutil.copytree(dataset, tmp_path / "data" / "val")
    assert held_out_data(HeldOutConfig(), str(tmp_path / "data")) == f"{tmp_path}/data/val"
    assert held_out_data(HeldOutConfig(data=""), str(tmp_path / "data")) == ""
    assert held_out_data(HeldOutConfig(), "synthetic") == held_out_data(HeldOutConfig(), "") == ""


def test_a_run_evaluates_on_the_validation_part_by_default(tiny_run: MakeRun, dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "data")
    shutil.copytree(dataset, tmp_path / "data" / "val")
    config = tiny_run(data__path=str(tmp_path / "data"), stop_after=4)
    assert config.held_out.data == f"{tmp_path}/data/val"
    assert go(config, ALONE) == "FINISHED"
    assert any(record["kind"] == "evaluation" for record in records(config))


def test_a_run_without_evaluations_is_resumed_without(tiny_run: MakeRun, dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "data")
    config = tiny_run(data__path=str(tmp_path / "data"), stop_after=4)
    shutil.copytree(dataset, tmp_path / "data" / "val")
    auto = with_values(config, {"held_out.data": "auto"}, "test")
    assert open_run(auto).held_out.data == ""
    given = with_values(config, {"held_out.data": str(dataset)}, "test")
    assert open_run(given).held_out.data == str(dataset)


def test_held_out_images_count_for_drawn_data_too(tiny_run: MakeRun, tmp_path: Path) -> None:
    draw_synthetic(tmp_path / "drawn", size=24, seed=1, count=8)
    config = tiny_run(data__path="synthetic", held_out__data=str(tmp_path / "drawn"))
    assert config.held_out.data == str(tmp_path / "drawn")
