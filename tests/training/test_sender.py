"""One process sends to several destinations: none waits for another, and what fails is one line."""

import errno
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.config import TrackingConfig
from cyclegan_dist.tracking.journal import Journal, append
from cyclegan_dist.training import sender
from pipelines import sync
from tests.conftest import Answer
from tests.tracking.test_event_file import scalars

SET = threading.Event()
SET.set()
BOTH = TrackingConfig(mlflow=False, tensorboard=True, wandb="horses")


def write_run(path: Path) -> None:
    with Journal(path) as journal:
        journal.write("run", config={"optim.lr": 0.1}, data=[], nimg=0, total=100)
        journal.write("metrics", step=1, nimg=4, values={"loss/G": 0.5})


def test_a_destination_that_does_not_answer_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path)
    done, answer = threading.Event(), threading.Event()

    def hang(failures: int) -> None:
        answer.wait(20)

    monkeypatch.setattr(sender, "_wandb", lambda *_: sender._Target("wandb", "it", (OSError,), hang))
    process = threading.Thread(target=sender.send, args=(tmp_path, BOTH, done))
    process.start()
    append(tmp_path, "metrics", step=2, nimg=8, values={"loss/G": 0.25})
    done.set()
    deadline = time.monotonic() + 20
    while not RunFolder(tmp_path).state_of("tensorboard").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.is_alive() and not RunFolder(tmp_path).state_of("wandb").exists()
    assert scalars(tmp_path, "loss/G") == [(4, 0.5), (8, 0.25)]
    answer.set()
    process.join()
    assert capfd.readouterr().err == ""


def test_a_package_that_is_missing_is_one_line_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path)
    monkeypatch.delitem(sys.modules, "cyclegan_dist.tracking.wandb_run", raising=False)
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert not sender.send(tmp_path, BOTH, SET)
    expected = "error: tracking.wandb needs the package wandb: pip install 'cyclegan_dist[wandb]'\n"
    assert capfd.readouterr().err == expected
    assert scalars(tmp_path, "loss/G") == [(4, 0.5)]


def test_a_run_that_was_trained_without_is_written_for_tensorboard(
    tiny_run: Callable[..., Config], command: Callable[..., Answer]
) -> None:
    run_dir = tiny_run().run_dir
    write_run(run_dir)
    code, out, err = command(sync.main, run_dir, "--tensorboard", "--no-mlflow")
    assert (code, err) == (0, "") and out == f"event file for TensorBoard: {run_dir}/tensorboard\n"
    assert scalars(run_dir, "loss/G") == [(4, 0.5)]
    RunFolder(run_dir).sweep_journal.touch()
    code, _, err = command(sync.main, run_dir, "--tensorboard")
    assert code == 2 and "is a sweep, which is sent to MLflow only" in err


def test_a_full_disk_is_tried_again_and_leaves_no_double_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path)
    fsync, calls = os.fsync, count()

    def full_at_first(descriptor: int) -> None:
        if next(calls) == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", full_at_first)
    monkeypatch.setattr(sender, "PAUSE_S", 0.0)
    assert sender.send(tmp_path, replace(BOTH, wandb=""), SET)
    assert scalars(tmp_path, "loss/G") == [(4, 0.5)]


@pytest.mark.parametrize("project", ["a/b/c", "a b", "/a", "a" * 129])
def test_what_is_no_project_is_refused(project: str) -> None:
    with pytest.raises(UsageError, match=r"tracking\.wandb"):
        TrackingConfig(wandb=project)
    assert TrackingConfig(wandb="team/horses-2").destinations == ("MLflow", "Weights & Biases")
