"""A sender may fail; the run continues and prints how to send the rest."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cyclegan_dist.tracking.config import TrackingConfig
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.training.observing import observing


def observe(monkeypatch: pytest.MonkeyPatch, run_dir: Path, code: str) -> float:
    """Seconds that the end takes with a sender that runs `code`."""
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **how: start([sys.executable, "-c", code], **how))
    with observing(run_dir, TrackingConfig()):
        with Journal(run_dir) as journal:
            journal.message("trained")
        started = time.monotonic()
    return time.monotonic() - started


def test_a_failed_sender_is_reported_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    observe(monkeypatch, tmp_path, "import sys; sys.stdin.read(1); sys.exit(2)")
    assert f"trained\nnot everything reached MLflow; send the rest with: python -m pipelines.sync {tmp_path}" in (
        capfd.readouterr().out
    )


def test_a_sender_is_killed_after_the_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cyclegan_dist.training.observing.SENDER_TIMEOUT_S", 0.2)
    assert observe(monkeypatch, tmp_path, "import time; time.sleep(60)") < 10
    assert "python -m pipelines.sync" in capfd.readouterr().out


def test_a_sender_ends_although_another_process_holds_its_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    start, held = subprocess.Popen, []

    def start_and_hold(*command: Any, **how: Any) -> "subprocess.Popen[bytes]":
        process = start(*command, **how)
        assert process.stdin is not None
        held.append(os.dup(process.stdin.fileno()))  # as a forked data loader does
        return process

    monkeypatch.setattr(subprocess, "Popen", start_and_hold)
    observe(monkeypatch, tmp_path, "import sys; print(repr(sys.stdin.read(1)))")
    os.close(held[0])
    assert "'.'" in capfd.readouterr().out


def test_a_sender_that_cannot_be_started_does_not_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*command: object, **how: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", fail)
    with observing(tmp_path, TrackingConfig()), Journal(tmp_path) as journal:
        journal.message("trained")
    out = capfd.readouterr().out
    assert "trained" in out and "could be started" in out and "python -m pipelines.sync" in out
