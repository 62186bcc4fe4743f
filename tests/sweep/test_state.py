"""What a sweep knows survives its process, and nobody gets into anybody's way."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.step.update import NonFiniteError
from cyclegan_dist.storage.layout import SWEEP_JOURNAL, RunFolder
from cyclegan_dist.sweep.record import Result
from cyclegan_dist.sweep.spec import Values
from cyclegan_dist.sweep.state import Sweep, open_sweep
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.training.run_folder import read_config
from tests.sweep.sweeps import tiny_sweep

MakeRun = Callable[..., Config]


def finish(sweep: Sweep, number: int, value: float, status: str = "FINISHED") -> None:
    """As if a trial had run."""
    sweep.hear(number, 40, 20, value)
    with Journal(sweep.folder / f"trial-{number:04d}") as journal:
        journal.write("end", status=status)
    sweep.settle(number)


def test_trials_are_runs_of_their_own(tiny_run: MakeRun) -> None:
    spec = tiny_sweep(tiny_run(checkpoints="somewhere"), max_images=30, workers_per_trial=2)
    with open_sweep(spec) as sweep:
        found = sweep.next()
        assert found is not None
        trial, config = found
        assert config.run_dir == sweep.folder / "trial-0000"
        assert read_config(config.run_dir) == config
        assert config.method.lambda_cycle_A == trial.values["method.lambda_cycle_A,method.lambda_cycle_B"]
        assert (config.stop_after, config.world.num_workers, config.world.max_failures) == (30, 2, 0)
        assert config.schedule == sweep.base.schedule
        assert config.tracking.parent == sweep.record.key
        assert config.checkpoint_path.endswith("somewhere/swept/trial-0000")


@pytest.mark.parametrize("sampler", ["random", "optuna"])
def test_an_interrupted_sweep_neither_loses_nor_repeats_a_trial(tiny_run: MakeRun, sampler: str) -> None:
    spec = tiny_sweep(tiny_run(), sampler=sampler)
    drawn = []
    for died_with in range(4):  # every process finishes the trial the last one left, and dies with another under way
        with open_sweep(spec) as sweep:
            for _ in range(2):
                found = sweep.next()
                if found is not None:
                    drawn.append(found[0])
            if died_with:
                finish(sweep, drawn[-1].number if died_with == 3 else drawn[-2].number, 1.0)
    with open_sweep(spec) as sweep:
        while (found := sweep.next()) is not None:
            drawn.append(found[0])
            finish(sweep, found[0].number, 1.0)
        trials = list(sweep.record.trials.values())
        assert not sweep.has_more
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert {trial.status for trial in trials} == {"finished"}
    assert len({str(trial.values) for trial in trials}) == 4
    for trial in drawn:
        assert trial.values == trials[trial.number].values


def test_how_a_trial_ended(tiny_run: MakeRun) -> None:
    with open_sweep(tiny_sweep(tiny_run(), num_trials=7)) as sweep:
        for number in range(7):
            assert sweep.next() is not None
            folder = sweep.folder / f"trial-{number:04d}"
            if number == 0:
                finish(sweep, number, 1.0)
            elif number == 1:
                sweep.record.write("cut", trial=number)
                finish(sweep, number, 1.0, status="KILLED")
            elif number == 2:
                RunFolder(folder).write_failure(NonFiniteError("step 4: a gradient of player G"), rank=0)
                finish(sweep, number, 1.0, status="FAILED")
            elif number == 3:
                (folder / "FAILED").write_text("a shard is gone")
                finish(sweep, number, 1.0, status="FAILED")
            elif number == 4:
                sweep.settle(number, crash="rank 0 died")
            elif number == 5:
                finish(sweep, number, 1.0, status="KILLED")  # interrupted
            else:
                sweep.settle(number)  # interrupted before it began
    statuses = ["finished", "cut", "diverged", "failed", "crashed", "open", "open"]
    with open_sweep(tiny_sweep(tiny_run(), num_trials=7)) as sweep:
        assert [trial.status for trial in sweep.record.trials.values()] == statuses
        assert sweep.record.trials[4].text == "rank 0 died"
        assert [found[0].number for found in (sweep.next(), sweep.next()) if found] == [5, 6]
        assert sweep.next() is None


def test_a_trial_that_was_told_to_stop_stays_stopped(tiny_run: MakeRun) -> None:
    with open_sweep(tiny_sweep(tiny_run())) as sweep:
        sweep.next()
        sweep.hear(0, 10, 5, 3.0)
        sweep.record.write("cut", trial=0)
        assert not sweep.hear(0, 20, 10, 2.0)  # what it still says counts for nothing
    with open_sweep(tiny_sweep(tiny_run())) as sweep:
        assert sweep.record.trials[0].status == "cut"
        assert sweep.record.trials[0].results == (Result(10, 5, 3.0),)


def test_a_resumed_trial_that_says_it_all_again_is_heard_once(tiny_run: MakeRun) -> None:
    with open_sweep(tiny_sweep(tiny_run())) as sweep:
        sweep.next()
        assert [sweep.hear(0, nimg, nimg, 1.0) for nimg in (10, 20, 10, 20, 30)] == [True, True, False, False, True]
        assert not sweep.hear(0, 40, 40, float("nan"))


def test_half_a_line_is_passed_over(tiny_run: MakeRun) -> None:
    with open_sweep(tiny_sweep(tiny_run())) as sweep:
        sweep.next()
        folder, key = sweep.folder, sweep.record.key
    with (folder / SWEEP_JOURNAL).open("a") as file:
        file.write('{"kind": "end", "tri')
    with open_sweep(tiny_sweep(tiny_run())) as sweep:
        assert sweep.record.key == key
        finish(sweep, 0, 1.0)
    with open_sweep(tiny_sweep(tiny_run())) as sweep:
        assert sweep.record.trials[0].status == "finished"


def test_another_sweep_of_the_same_name_is_refused(tiny_run: MakeRun) -> None:
    with open_sweep(tiny_sweep(tiny_run())) as sweep:
        sweep.next()
    for changes in ({"seed": 1}, {"metric": "loss/G"}, {"space": {"method.pool_size": Values(choice=(0, 1))}}):
        with (
            pytest.raises(UsageError, match=f"another {next(iter(changes))}"),
            open_sweep(tiny_sweep(tiny_run(), **changes)),
        ):
            pass
    with pytest.raises(UsageError, match=r"optim\.lr"), open_sweep(tiny_sweep(tiny_run(name="b", optim__lr=0.5))):
        pass
    with open_sweep(tiny_sweep(tiny_run(), num_trials=6, max_failures=9)) as sweep:  # more of the same
        assert len(sweep.record.trials) == 1


def test_one_process_at_a_time(tiny_run: MakeRun) -> None:
    spec = tiny_sweep(tiny_run())
    with open_sweep(spec), pytest.raises(UsageError, match="already"), open_sweep(spec):
        pass


def test_missing_data_is_told_before_ray_starts(tiny_run: MakeRun, tmp_path: Path) -> None:
    spec = tiny_sweep(tiny_run(), overrides={"data.path": str(tmp_path / "gone")})
    with pytest.raises(UsageError, match="gone"), open_sweep(spec):
        pass
