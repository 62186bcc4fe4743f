"""Ray Train, as users run it: real clusters on this machine, ranks that die, jobs that are submitted."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from cyclegan_dist.config.config import Config, dump_config
from cyclegan_dist.tracking.journal import read_records
from tests.orchestration.conftest import BIN, Head
from tests.training.trainings import differences, final_state, go_on

pytestmark = [pytest.mark.ray, pytest.mark.slow]

LONGER = {"schedule__n_epochs": 30, "every__checkpoint": 40, "world__num_workers": 2, "keep_checkpoints": 1}


def start(config: Config, head: Head | None = None) -> "subprocess.Popen[str]":
    """Run the command with a run's config, on the head's cluster or on a local one."""
    path = config.run_dir.parent / f"{config.name}.yaml"
    path.write_text(dump_config(config))
    command = [sys.executable, "-m", "cyclegan_dist.train", str(path)]
    environment = dict(os.environ) if head is None else head.client
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def end(process: "subprocess.Popen[str]", timeout: float = 150) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return process.returncode, out, err


def wait_for_step(config: Config, step: int, process: "subprocess.Popen[str]", timeout: float = 120) -> None:
    journal, limit = config.run_dir / "metrics.jsonl", time.monotonic() + timeout
    while time.monotonic() < limit:
        assert process.poll() is None, process.communicate()
        if journal.exists() and any(record.get("step", 0) >= step for record, _ in read_records(journal, 0)):
            return
        time.sleep(0.05)
    raise TimeoutError(f"step {step} was not reached")


@pytest.mark.long  # short of it, tests/orchestration/test_nodes.py loses a node; rows A1 and A7 do it all
def test_a_run_with_a_killed_rank_equals_an_undisturbed_one(tiny_run: Callable[..., Config], head: Head) -> None:
    """SIGKILL of one of two ranks: all restart from the last checkpoint."""
    whole = tiny_run(name="whole", **LONGER)
    go_on(2, whole)
    config = tiny_run(name="killed", **LONGER)
    process = start(config, head)
    wait_for_step(config, 60, process)
    head.ranks()[1].send_signal(signal.SIGKILL)
    code, out, err = end(process)
    assert code == 0, err
    assert "resumed at step" in out
    assert differences(final_state(whole, 2), final_state(config, 2)) == []


@pytest.mark.long
def test_a_run_resumes_after_sigterm(tiny_run: Callable[..., Config], head: Head) -> None:
    whole = tiny_run(name="whole", **LONGER)
    go_on(2, whole)
    config = tiny_run(name="stopped", **LONGER)
    process = start(config, head)
    wait_for_step(config, 30, process)
    process.terminate()
    code, _, err = end(process)
    assert code == 143, err
    assert "run the same command again to resume" in err
    go_on(2, tiny_run(name="stopped", **LONGER))  # it resumes under any launcher
    assert differences(final_state(whole, 2), final_state(config, 2)) == []


def test_an_error_that_a_restart_cannot_fix_is_one_line(
    tiny_run: Callable[..., Config], head: Head, tmp_path: Path
) -> None:
    config = tiny_run(world__num_workers=1)
    copy = Path(shutil.copytree(config.data.path, tmp_path / "copy"))
    for shard in copy.rglob("*.tar"):
        shard.write_bytes(shard.read_bytes()[:1000])
    config = tiny_run(world__num_workers=1, world__max_failures=0, data__path=str(copy))
    code, _, err = end(start(config, head))
    assert code == 2
    assert "error: " in err and ".tar, sample" in err
    assert "Traceback" not in err


def test_ranks_restarted_after_such_an_error_end_without_one(tiny_run: Callable[..., Config]) -> None:
    from cyclegan_dist.orchestration.ranks import train_rank

    config = tiny_run()
    (config.run_dir / "FAILED").write_text("a shard is gone")
    assert train_rank(dataclasses.asdict(config)) == "FAILED"


def test_a_local_cluster_leaves_no_files(tiny_run: Callable[..., Config]) -> None:
    own = lambda: {path for path in Path("/tmp").glob("cgd*") if not path.name.startswith("cgdhead")}  # noqa: E731
    before = own()
    code, out, err = end(start(tiny_run(world__num_workers=1, stop_after=4)))
    assert code == 0, err
    assert "finished: " in out
    assert own() <= before


def test_more_ranks_than_fit_on_the_cluster_are_refused(tiny_run: Callable[..., Config], head: Head) -> None:
    config = tiny_run(world__num_workers=64, optim__batch_size=64)
    (config.run_dir / "FAILED").write_text("of an earlier attempt")
    before = {path.name: path.read_text() for path in config.run_dir.iterdir()}
    code, _, err = end(start(config, head))
    assert code == 2
    assert {path.name: path.read_text() for path in config.run_dir.iterdir()} == before
    assert "world.num_workers 64 is more than the cluster's 2 CPU cores" in err


def test_ray_job_submit(head: Head, tmp_path: Path) -> None:
    command = [
        str(BIN / "ray"),
        "job",
        "submit",
        "--working-dir",
        ".",
        "--",
        "python",
        "-m",
        "cyclegan_dist.train",
        "demo",
    ]
    command += ["--stop_after", "40", "--every.log", "20", "--tracking.mlflow", "False", "--runs_dir", str(tmp_path)]
    root = Path(__file__).parents[2]
    for _ in range(30):
        done = subprocess.run(command, cwd=root, env=head.environment, capture_output=True, text=True, timeout=200)
        if "No available agent" not in done.stderr:  # which registers some time after the dashboard answers
            break
        time.sleep(1)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "images 40/40" in done.stdout  # the job's own lines come back
    lines = (tmp_path / "demo" / "metrics.jsonl").read_text().splitlines()
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert records[0]["world_size"] == 2
    assert records[-1]["status"] == "FINISHED"


def test_a_job_without_the_token_does_not_run(head: Head, tmp_path: Path) -> None:
    job = {"entrypoint": f"touch {tmp_path}/ran"}
    answer = requests.post(f"{head.dashboard}/api/jobs/", json=job, timeout=10)
    assert answer.status_code == 401
    time.sleep(2)
    assert not (tmp_path / "ran").exists()
