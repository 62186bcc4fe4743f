"""Tests of jobs that are submitted from another machine: placement, parity, resuming and authentication."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from cyclegan_dist.config.config import Config
from tests.conftest import make_dataset, make_run
from tests.multinode.lab import Lab
from tests.multinode.network import possible
from tests.multinode.training import EXACT, difference, last_step, records, submit, wait_for_step
from tests.training.trainings import go, go_on

pytestmark = [
    pytest.mark.multinode,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(possible()), reason=possible()),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    make_dataset(folder)
    with Lab(folder, workers=3) as lab:
        yield lab


def run(lab: Lab, **changes: Any) -> Config:
    """A run for three ranks in a folder that all machines share."""
    three = {"optim__batch_size": 6, "world__num_workers": 3, "every__log": 6, "every__checkpoint": 60}
    return make_run(lab.folder, **{"data__path": str(lab.folder / "out"), **three, **changes})


def test_three_machines_learn_the_same_as_one_process(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Compares 20 steps; after about 50, training amplifies rounding differences."""
    config, alone = (run(lab, name=name, schedule__n_epochs=40, stop_after=120, **EXACT) for name in ("three", "alone"))
    began = time.time()
    job = submit(lab, config)
    wait_for_step(config, 1, job)
    ranks = {machine: len(lab.processes(machine, "TrainWorker")) for machine in lab.network.machines}
    memory = lab.memory()
    assert job.ended() == "SUCCEEDED", job.logs()
    assert {machine: count for machine, count in ranks.items() if count} == dict.fromkeys(lab.workers, 1)
    assert sorted(records(config)[0]["hosts"]) == [lab.network.address(machine) for machine in lab.workers]
    first = next(record["time"] for record in records(config) if record["kind"] == "metrics") / 1000 - began
    assert go(alone) == "FINISHED"
    dw = difference(config, alone)
    addresses = ", ".join(lab.network.address(machine) for machine in lab.workers)
    used = ", ".join(f"{machine} {size:.2f}" for machine, size in memory.items() if size)
    with capsys.disabled():
        print(f"\nranks on {addresses}; {first:.1f} s from submit to first step; max |dW| {dw:.1e}; GB: {used}")
    assert dw < 1e-9


def test_a_second_training_with_the_same_name_is_refused(lab: Lab) -> None:
    config = run(lab, name="twice", schedule__n_epochs=1000)
    first = submit(lab, config)
    wait_for_step(config, 1, first)
    second = submit(lab, config)
    assert second.ended() == "FAILED"
    assert "run twice is in training already" in second.logs()
    assert "exit code 2" in second.facts()["message"]
    assert first.status == "RUNNING"
    lab.stop(first)
    assert first.ended() == "STOPPED"


def test_a_stopped_job_leaves_a_checkpoint_and_the_same_command_resumes(lab: Lab) -> None:
    config, whole = (run(lab, name=name, schedule__n_epochs=80, every__checkpoint=0) for name in ("stopped", "whole"))
    job = submit(lab, config)
    wait_for_step(config, 20, job)
    lab.stop(job)
    assert job.ended() == "STOPPED"
    stopped_at = last_step(config)
    assert (config.run_dir / "checkpoints" / f"step-{stopped_at:09d}").is_dir()
    job = submit(lab, config)
    assert job.ended() == "SUCCEEDED", job.logs()
    assert f"resumed at step {stopped_at}" in job.logs()
    go_on(3, whole)
    assert difference(config, whole) == 0


def test_jobs_without_the_token_are_not_run(lab: Lab) -> None:
    mark = lab.folder / "ran"
    job = {"entrypoint": f"touch {mark}"}
    assert lab.post("/api/jobs/", job) == 401
    assert lab.post("/api/jobs/", job, token="0" * 64) == 403
    assert lab.client("sh", "-c", f"RAY_AUTH_TOKEN={'1' * 64} ray job submit -- touch {mark}").returncode != 0
    time.sleep(2)
    assert not mark.exists()
    assert lab.submit("touch", str(mark)).ended() == "SUCCEEDED"
    assert mark.exists()
