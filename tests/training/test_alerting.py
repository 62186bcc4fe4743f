"""Alerts of a run, by the process that sends its journal."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cyclegan_dist.alerts import webhook
from cyclegan_dist.alerts.config import SECRET_VARIABLE
from cyclegan_dist.checkpoint.fence import SupersededError
from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import lock
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.config import TrackingConfig
from cyclegan_dist.tracking.journal import append, read_records
from cyclegan_dist.training import sender
from cyclegan_dist.training.alerting import alerts_of, recording_failure
from cyclegan_dist.training.local_rank import train_here
from pipelines import sync
from tests.alerts.receivers import WebReceiver, mail_receiver, web_receiver
from tests.alerts.settings import SECRET, settings_for
from tests.conftest import Answer
from tests.watch.runs import make_run

SET = threading.Event()
SET.set()
NOTHING = TrackingConfig(mlflow=False)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebReceiver]:
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    with web_receiver() as found:
        yield found


def records(path: Path, kind: str) -> list[dict[str, Any]]:
    return [record for record, _ in read_records(RunFolder(path).journal, 0) if record["kind"] == kind]


def test_a_run_that_finishes_is_told_of_once_by_both_ways(tmp_path: Path, web: WebReceiver) -> None:
    path = make_run(tmp_path / "one", end="FINISHED")
    with mail_receiver() as relay:
        for _ in range(2):
            assert sender.send(path, NOTHING, SET, settings_for(web, relay))
        assert web.events == ["finished"] and [one["Subject"] for one in relay.messages] == [
            "[cyclegan_dist] finished: one"
        ]
    assert [record["event"] for record in records(path, "alert")] == ["finished"]


def test_one_that_hangs_holds_up_no_other_and_is_a_message(
    tmp_path: Path, web: WebReceiver, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.1)
    monkeypatch.setattr(sender, "ALERT_PAUSE_S", 0.01)
    path = make_run(tmp_path / "one", end="FINISHED")
    web.holds.set()
    with mail_receiver() as relay:
        assert not sender.send(path, NOTHING, SET, settings_for(web, relay))
        assert len(relay.messages) == 1
    place = f"webhook at {web.url.removesuffix('/hook')}"
    assert capfd.readouterr().err == f"error: {place} did not accept the alerts: timed out\n"
    told = f"{place} is unreachable (timed out); {RunFolder(path).journal} keeps the rest"
    assert records(path, "message")[-1]["text"] == told
    web.holds.clear()
    assert sender.send(path, NOTHING, SET, settings_for(web)) and web.events[-1] == "finished"


def test_a_failure_is_recorded_unless_the_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: Exception) -> list[str]:
        with pytest.raises(type(error)), recording_failure(tmp_path, (SupersededError,)):
            raise error
        return [record["text"] for record in records(tmp_path, "gave_up")]

    append(tmp_path, "message", text="begun")
    assert fail(SupersededError("by another")) == []
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "2")
    assert fail(ValueError("rank died")) == []
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    assert fail(ValueError("rank died")) == ["rank died"]


def test_trials_of_a_sweep_send_none(web: WebReceiver, tiny_run: Callable[..., Config]) -> None:
    config = tiny_run(alerts__webhook=web.url)
    assert alerts_of(config).destinations == ("webhook",)
    assert alerts_of(tiny_run(name="trial", alerts__webhook=web.url, tracking__parent="key")).destinations == ()


def test_a_missing_secret_is_refused_before_anything_is_written(
    web: WebReceiver, dataset: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.conftest import TINY, check_config

    monkeypatch.delenv(SECRET_VARIABLE)
    tree = {**TINY, "data": {**TINY["data"], "path": str(dataset)}, "alerts": {"webhook": web.url}}
    with pytest.raises(UsageError, match=f"alerts.webhook: alerts are signed: set {SECRET_VARIABLE}"):
        train_here(check_config(tree, "test"), alone=True)
    assert not (own_home / "runs").exists()


KILLED = """
import sys, time
from pathlib import Path
from rich.console import Console
from cyclegan_dist.storage.files import lock
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.training.observing import sending
from cyclegan_dist.training.run_folder import read_config
from cyclegan_dist.training.alerting import alerts_of
path = Path(sys.argv[1])
config = read_config(path)
with lock(RunFolder(path).lock), sending(path, config.tracking, Console(), alerts_of(config)):
    print("here", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_launcher_that_is_killed_is_told_of_by_its_sender(web: WebReceiver, tiny_run: Callable[..., Config]) -> None:
    config = tiny_run(alerts__webhook=web.url)
    make_run(config.run_dir)
    with subprocess.Popen([sys.executable, "-c", KILLED, config.run_dir], stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout and launcher.stdout.readline()
        deadline = time.monotonic() + 20
        while not RunFolder(config.run_dir).state_of("webhook").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(launcher.pid, signal.SIGKILL)
    while not web.posts and time.monotonic() < deadline:
        time.sleep(0.02)
    assert web.events == ["failed"] and "launcher was killed" in web.bodies[0]["data"]["reason"]


def test_what_happens_is_told_of_while_the_training_goes_on(
    tmp_path: Path, web: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "LOOK_S", 0.02)
    path, done = make_run(tmp_path / "one"), threading.Event()
    with lock(RunFolder(path).lock):
        thread = threading.Thread(target=sender.send, args=(path, NOTHING, done, settings_for(web)))
        thread.start()
        found = [{"name": "collapsed", "direction": "AB", "text": "all alike"}]
        append(path, "evaluation", step=4, nimg=16, values={}, findings=found)
        deadline = time.monotonic() + 20
        while not web.posts and time.monotonic() < deadline:
            time.sleep(0.02)
        assert web.events == ["collapsed"] and thread.is_alive()
        append(path, "gave_up", text="rank 1: gone")
        done.set()
        thread.join()
    assert [body["text"] for body in web.bodies] == ["collapsed: one: all alike", "failed: one: rank 1: gone"]


def test_sync_sends_what_is_left(
    web: WebReceiver, tiny_run: Callable[..., Config], command: Callable[..., Answer]
) -> None:
    config = tiny_run(alerts__webhook=web.url)
    make_run(config.run_dir, end="FINISHED")
    assert command(sync.main, config.run_dir, "--no-mlflow", "--no-alerts") == (0, "", "") and not web.posts
    told = f"no alert is left to send to webhook at {web.url.removesuffix('/hook')}\n"
    for _ in range(2):
        assert command(sync.main, config.run_dir, "--no-mlflow") == (0, told, "") and web.events == ["finished"]
