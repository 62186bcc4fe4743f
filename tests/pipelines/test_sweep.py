"""A sweep as users run it: killed, interrupted, and resumed."""

import contextlib
import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from cyclegan_dist.config.config import Config, dump_config, load_config
from cyclegan_dist.tracking.journal import read_records
from cyclegan_dist.training.run_folder import open_run
from pipelines.sweep import main
from tests.conftest import size_of
from tests.training.trainings import differences, final_state, go


def sweep_file(folder: Path, base: Config, **changes: Any) -> Path:
    """A sweep of learning rates: one that learns, one that diverges, one that stands still."""
    (folder / "base.yaml").write_text(dump_config(base))
    spec = {
        "base": str(folder / "base.yaml"),
        "space": {"optim.lr": {"grid": [1.0e-3, 1.0e30, 1.0e-9]}},
        "sampler": "grid",
        "max_images": 1200,
        "grace_images": 100,
        **changes,
    }
    path = folder / "rates.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def start(path: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "pipelines.sweep", str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]", timeout: float = 150) -> None:
    limit = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.05)


def journal(run_dir: Path) -> list[dict[str, Any]]:
    path = run_dir / "metrics.jsonl"
    return [record for record, _ in read_records(path, 0)] if path.exists() else []


def resumptions(run_dir: Path) -> int:
    return sum(record.get("text", "").startswith("resumed at step") for record in journal(run_dir))


def rank_of(run_dir: Path, process: "subprocess.Popen[str]") -> psutil.Process:
    """The process that writes a run's journal: its rank 0."""
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(file.path == str(run_dir / "metrics.jsonl") and "a" in file.mode for file in child.open_files()):
                return child
    raise AssertionError("no rank is at work")


@pytest.mark.long  # make test-long
@pytest.mark.ray
@pytest.mark.slow
def test_a_sweep_is_killed_interrupted_and_resumed(
    tiny_run: Callable[..., Config], tmp_path: Path, command: Callable[..., Any]
) -> None:
    base = tiny_run(schedule__n_epochs=200, schedule__policy="step", every__log=20, every__checkpoint=100)
    path = sweep_file(tmp_path, base)
    folder = tmp_path / "runs" / "rates"
    first = folder / "trial-0000"

    process = start(path)
    try:
        wait_for(lambda: any(record.get("nimg", 0) >= 240 for record in journal(first)), process)
        rank_of(first, process).kill()
        wait_for(lambda: '"crashes"' in (folder / "sweep.jsonl").read_text(), process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C
        out, err = process.communicate(timeout=120)
    except BaseException:
        process.kill()
        print(*process.communicate())
        raise
    assert process.returncode == 130, err
    assert "run the same command again to resume" in err and "Traceback" not in err
    assert "trial-0000 crashed, restarting: training failed: rank 0" in out
    assert "trial-0000 open: images" not in out and "trial-0000 interrupted: images" in out

    process = start(path)
    out, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    assert "trial-0000 continues" in out
    assert resumptions(first) == 1
    rows = {row["trial"]: row for row in csv.DictReader((folder / "results.csv").read_text().splitlines())}
    assert {trial: row["status"] for trial, row in rows.items()} == {
        "trial-0000": "finished",
        "trial-0001": "diverged",
        "trial-0002": "cut",
    }
    assert [rows["trial-0000"]["crashes"], rows["trial-0001"]["crashes"]] == ["1", "0"]
    assert "not finite" in rows["trial-0001"]["text"]
    assert 100 <= int(rows["trial-0002"]["images"]) < 1200
    assert resumptions(folder / "trial-0001") == 0

    # Neither the kill nor the interruption cost it anything, and the schedule is the config's.
    best = load_config(str(folder / "best.yaml"))
    assert (best.name, best.optim.lr, best.stop_after) == ("rates-best", 1e-3, 0)
    assert best.schedule == base.schedule
    whole = open_run(dataclasses.replace(best, name="whole", runs_dir=base.runs_dir, stop_after=1200))
    go(whole)
    assert (
        differences(
            final_state(whole, 1), final_state(dataclasses.replace(whole, name=first.name, runs_dir=str(folder)), 1)
        )
        == []
    )
    assert min(size_of(folder / "history.png") + size_of(folder / "parallel_coordinates.png")) > 300

    code, out, _ = command(main, path)  # once more: nothing is left to do
    assert code == 0
    assert "best: trial-0000" in out and "starts" not in out


def test_errors_are_one_line(tiny_run: Callable[..., Config], tmp_path: Path, command: Callable[..., Any]) -> None:
    path = sweep_file(tmp_path, tiny_run(), space={"optim.lrr": {"grid": [1]}})
    for arguments, message in (
        ((path,), "unknown key optim.lrr, did you mean optim.lr?"),
        (("abblations",), "did you mean ablations?"),
        ((tmp_path / "gone.yaml",), "cannot read"),
        (("default", "--set", "optim.lr"), "write --optim.lr VALUE"),
        (("default", "--base", "nothing"), "no preset 'nothing'"),
    ):
        code, out, err = command(main, *arguments)
        assert (code, out) == (2, "")
        assert message in err and err.count("\n") == 1


def test_a_dry_run_shows_the_trials(
    tiny_run: Callable[..., Config], tmp_path: Path, command: Callable[..., Any]
) -> None:
    code, out, _ = command(main, sweep_file(tmp_path, tiny_run()), "--dry-run")
    assert code == 0
    assert [line.split()[-1] for line in out.splitlines() if line.startswith("trial-")] == ["0.001", "1e+30", "1e-09"]
    assert not (tmp_path / "runs" / "rates").exists()
