"""Ray Train, as users run it: real clusters on this machine, ranks that die, jobs that are submitted."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import yaml

from cyclegan_dist.config import Config, dump_config
from cyclegan_dist.tracking.journal import read_records
from tests.test_trainer import differences, final_state, go_on

pytestmark = [pytest.mark.ray, pytest.mark.slow]

LONGER = {"schedule__n_epochs": 30, "every__checkpoint": 40, "world__num_workers": 2, "keep_checkpoints": 1}


def start(config: Config) -> "subprocess.Popen[str]":
    """The command on a run's own config: two ranks on a cluster of its own."""
    path = config.run_dir.parent / f"{config.name}.yaml"
    path.write_text(dump_config(config))
    command = [sys.executable, "-m", "cyclegan_dist.train", str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


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


def worker(process: "subprocess.Popen[str]") -> psutil.Process:
    """One of the run's ranks."""
    found = [p for p in psutil.Process(process.pid).children(recursive=True) if "TrainWorker" in " ".join(p.cmdline())]
    assert len(found) == 2, found
    return found[1]


def test_a_killed_rank_costs_nothing(tiny_run: Callable[..., Config]) -> None:
    """SIGKILL of one of two ranks: started again from the checkpoint, and equal to the run nobody disturbed."""
    whole = tiny_run(name="whole", **LONGER)
    go_on(2, whole)
    config = tiny_run(name="killed", **LONGER)
    process = start(config)
    wait_for_step(config, 60, process)
    worker(process).send_signal(signal.SIGKILL)
    code, out, err = end(process)
    assert code == 0, err
    assert "resumed at step" in out
    assert differences(final_state(whole, 2), final_state(config, 2)) == []


def test_sigterm_then_the_same_command_again(tiny_run: Callable[..., Config]) -> None:
    whole = tiny_run(name="whole", **LONGER)
    go_on(2, whole)
    config = tiny_run(name="stopped", **LONGER)
    process = start(config)
    wait_for_step(config, 30, process)
    process.terminate()
    code, _, err = end(process)
    assert code == 143, err
    assert "the same command again resumes it" in err
    code, out, err = end(start(config))
    assert code == 0, err
    assert f"finished: {config.run_dir}" in out
    assert differences(final_state(whole, 2), final_state(config, 2)) == []


def test_what_starting_again_cannot_mend_ends_in_one_line(tiny_run: Callable[..., Config], tmp_path: Path) -> None:
    import shutil

    config = tiny_run(world__num_workers=2)
    copy = Path(shutil.copytree(config.data.path, tmp_path / "copy"))
    for shard in copy.rglob("*.tar"):
        shard.write_bytes(shard.read_bytes()[:1000])
    config = tiny_run(world__num_workers=2, data__path=str(copy))
    began = time.monotonic()
    code, _, err = end(start(config))
    assert code == 2
    assert "error: " in err and ".tar, sample" in err
    assert "Traceback" not in err
    assert time.monotonic() - began < 100


def test_more_ranks_than_the_cluster_has_is_refused(tiny_run: Callable[..., Config]) -> None:
    config = tiny_run(world__num_workers=64, optim__batch_size=64)
    code, _, err = end(start(config))
    assert code == 2
    assert "world.num_workers 64 is more than the cluster's" in err


@pytest.fixture
def head(own_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Ray head as an administrator starts it: token authentication, loopback. Yields the environment of its clients."""
    import secrets
    import shutil
    import tempfile

    temporary = tempfile.mkdtemp(prefix="cgdhead", dir="/tmp")
    port, dashboard = 6390, 8275
    environment = os.environ | {
        "HOME": str(own_home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "CYCLEGAN_DIST_HOME": str(own_home),
    }
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--node-ip-address=127.0.0.1"]
    command += [f"--port={port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", "--num-cpus=2"]
    command += [f"--temp-dir={temporary}", "--disable-usage-stats"]
    with (own_home / "head.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(120):
            try:
                if requests.get(f"http://127.0.0.1:{dashboard}/api/version", timeout=2).status_code in (200, 401, 403):
                    break
            except requests.ConnectionError:
                time.sleep(0.5)
        yield environment
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.terminate()  # the second ends its wait for nodes to drain
        for member in [*family, psutil.Process(process.pid)]:
            try:
                member.wait(10)
            except psutil.TimeoutExpired:
                member.kill()
        process.wait()
        shutil.rmtree(temporary, ignore_errors=True)


def test_ray_job_submit(head: dict[str, str], own_home: Path) -> None:
    root = Path(__file__).parent.parent
    command = [str(Path(sys.executable).parent / "ray"), "job", "submit", "--working-dir", ".", "--"]
    command += [
        "python",
        "-m",
        "cyclegan_dist.train",
        "demo",
        "--stop_after",
        "40",
        "--every.log",
        "20",
        "--tracking.mlflow",
        "False",
    ]
    done = subprocess.run(command, cwd=root, env=head, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "images 40/40" in done.stdout  # the job's own lines come back
    run_dir = own_home / "runs" / "demo"
    kept = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert kept["stop_after"] == 40
    records: list[dict[str, Any]] = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert records[0]["world_size"] == 2
    assert records[-1]["status"] == "FINISHED"
