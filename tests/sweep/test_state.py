"""An opened sweep: its trials survive its process, and each is a separate run."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.reader import DataError
from cyclegan_dist.errors import UsageError
from cyclegan_dist.step.finite import NonFiniteError
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.sweep.config import SweepConfig, Values
from cyclegan_dist.sweep.state import open_sweep
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.training.run_folder import read_config
from tests.sweep.sweeps import LAMBDAS, end_run, tiny_sweep

MakeRun = Callable[..., Config]


def test_trials_are_separate_runs(tiny_run: MakeRun) -> None:
    spec = tiny_sweep(tiny_run(checkpoints="somewhere"), max_images=30, workers_per_trial=2)
    with open_sweep(spec) as sweep:
        found = sweep.next()
        assert found is not None
        trial, config = found
        assert config.run_dir == sweep.folder / "trial-0000"
        assert read_config(config.run_dir) == config
        assert config.method.lambda_cycle_A == trial.values[LAMBDAS]
        assert (config.stop_after, config.world.num_workers, config.world.max_failures) == (30, 2, 0)
        assert config.schedule == sweep.base.schedule
        assert config.tracking.parent == sweep.record.key
        assert config.checkpoint_path.endswith("somewhere/swept/trial-0000")


def test_a_sweep_begun_before_an_option_keeps_what_it_did(tiny_run: MakeRun) -> None:
    spec = tiny_sweep(tiny_run())
    with open_sweep(spec) as sweep:
        files = list(sweep.folder.rglob("config.yaml"))
    assert len(files) == 2  # the sweep's and the first trial's
    for path in files:
        tree = yaml.safe_load(path.read_text())
        del tree["method"]["lambda_critic"]
        path.write_text(yaml.safe_dump(tree))
    for _ in range(2):  # the second time the file has the option
        with open_sweep(spec) as sweep:
            trial = sweep.record.trials[0]
            assert sweep.base.method.lambda_critic == sweep.config(trial).method.lambda_critic == 1.0


@pytest.mark.parametrize("sampler", ["random", "optuna"])
def test_an_interrupted_sweep_neither_loses_nor_repeats_a_trial(tiny_run: MakeRun, sampler: str) -> None:
    spec = tiny_sweep(tiny_run(), sampler=sampler)
    drawn = []
    for died_with in range(4):  # every process finishes the trial the last one left, and dies with another running
        with open_sweep(spec) as sweep:
            for _ in range(2):
                found = sweep.next()
                if found is not None:
                    drawn.append(found[0])
            if died_with:
                end_run(sweep, drawn[-1].number if died_with == 3 else drawn[-2].number, 1.0)
    with open_sweep(spec) as sweep:
        while (found := sweep.next()) is not None:
            drawn.append(found[0])
            end_run(sweep, found[0].number, 1.0)
        trials = list(sweep.record.trials.values())
        assert not sweep.has_more
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert {trial.status for trial in trials} == {"finished"}
    assert len({str(trial.values) for trial in trials}) == 4
    for trial in drawn:
        assert trial.values == trials[trial.number].values


def test_how_a_trial_ended(tiny_run: MakeRun) -> None:
    spec = tiny_sweep(tiny_run(), num_trials=8)
    with open_sweep(spec) as sweep:
        while sweep.next() is not None:
            pass
        end_run(sweep, 0, 1.0)
        sweep.record.note(1, is_cut=True)
        end_run(sweep, 1, 1.0, status="KILLED")
        for number, error in ((2, NonFiniteError("step 4: a gradient of player G")), (3, DataError("a shard is gone"))):
            RunFolder(sweep.folder / f"trial-{number:04d}").write_failure(error, rank=0)
            end_run(sweep, number, 1.0, status="FAILED")
        sweep.finish(4, crash="rank 0 died")
        end_run(sweep, 5, 1.0, status="KILLED")  # interrupted
        sweep.finish(6)  # interrupted before it began
        sweep.record.note(7, is_cut=True)  # ASHA's stop came after its training had ended
        end_run(sweep, 7, 1.0)
    with open_sweep(spec) as sweep:
        statuses = [trial.status for trial in sweep.record.trials.values()]
        assert statuses == ["finished", "cut", "diverged", "failed", "crashed", "open", "open", "cut"]
        assert sweep.record.trials[4].text == "rank 0 died"
        assert [found[0].number for found in (sweep.next(), sweep.next()) if found] == [5, 6]
        assert sweep.next() is None


def test_a_value_that_tune_did_not_deliver_is_taken_from_the_journal(tiny_run: MakeRun) -> None:
    with open_sweep(tiny_sweep(tiny_run(), num_trials=1)) as sweep:
        found = sweep.next()
        assert found is not None
        trial, config = found
        sweep.report(trial.number, 20, 0.5)
        with Journal(config.run_dir) as journal:
            for step, value in ((10, 0.5), (20, 0.25)):
                journal.write(
                    "metrics", step=step, nimg=2 * step, values={"loss/cycle_A": value, "loss/cycle_B": value}
                )
            journal.write("end", status="FINISHED")
        sweep.finish(trial.number)
        ended = sweep.record.trials[trial.number]
        assert (ended.status, ended.nimg, ended.value) == ("finished", 40, 0.25)
        assert ended.results == {20: 0.5, 40: 0.25}


def test_values_that_do_not_fit_together_fail_their_trial_only(tiny_run: MakeRun) -> None:
    space = {"schedule.n_epochs": Values(grid=(0, 1)), "schedule.n_epochs_decay": Values(grid=(0, 1))}
    with open_sweep(tiny_sweep(tiny_run(), space=space, sampler="grid")) as sweep:
        found = sweep.next()
        assert found is not None and found[0].number == 1
        assert sweep.record.trials[0].status == "failed"
        assert "nothing to train" in sweep.record.trials[0].text


TRIALS = 9


@pytest.fixture
def asha(tiny_run: MakeRun) -> SweepConfig:
    return tiny_sweep(tiny_run(), num_trials=TRIALS, scheduler="asha", max_images=90, grace_images=10)


def test_asha_stops_the_trials_that_are_behind(asha: SweepConfig) -> None:
    with open_sweep(asha) as sweep:
        while sweep.next() is not None:
            pass
        assert not sweep.report(0, 5, 9.0)  # before grace_images nothing counts
        assert not sweep.report(0, 10, 1.0)
        assert not sweep.report(1, 10, 0.5)  # better than the one before
        assert sweep.report(2, 10, 2.0)
        assert sweep.record.trials[2].is_cut
        assert not sweep.report(3, 12, 0.4)
        assert not sweep.report(1, 20, 99.0)  # between two rungs nothing counts
        assert not sweep.report(1, 90, 99.0)  # at max_images a trial ends by itself


def stopped(spec: SweepConfig, parts: Sequence[Sequence[tuple[int, int, float]]]) -> list[int]:
    """The trials that ASHA stops, in order, if a new process continues after each part of the reports."""
    numbers: list[int] = []
    for part in parts:
        with open_sweep(spec) as sweep:
            while sweep.next() is not None:
                pass
            numbers += [number for number, nimg, value in part if sweep.report(number, nimg, value)]
    return numbers


def test_an_interruption_does_not_change_decisions_of_asha(asha: SweepConfig, own_home: Path) -> None:
    generator = np.random.default_rng(3)
    reports = [(number, nimg, float(generator.uniform())) for nimg in range(5, 95, 5) for number in range(TRIALS)]
    reports.sort(key=lambda one: one[1] + 7 * one[0] % 11)  # as of trials that run beside each other
    whole = stopped(asha, [reports])
    assert 2 < len(whole) < TRIALS
    shutil.rmtree(own_home / "runs" / "swept")
    assert stopped(asha, [reports[:61], reports]) == whole  # a resumed trial reports its old values again


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


def test_missing_data_is_reported_before_ray_starts(tiny_run: MakeRun, tmp_path: Path) -> None:
    spec = tiny_sweep(tiny_run(), overrides={"data.path": str(tmp_path / "gone")})
    with pytest.raises(UsageError, match="gone"), open_sweep(spec):
        pass
    with open_sweep(tiny_sweep(tiny_run())) as sweep:  # the corrected command
        assert sweep.has_more
