"""Alerts of the runs of a folder, by a process that is not theirs."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cyclegan_dist.alerts.delivery import AlertDestination
from cyclegan_dist.alerts.run_events import RunEvents
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import lock
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import append, read_records
from cyclegan_dist.watch import alerting
from cyclegan_dist.watch.alerting import FolderAlerts
from tests.alerts.receivers import WebReceiver, web_receiver
from tests.alerts.settings import settings_for
from tests.watch.runs import CONFIG, make_run

HOLD = """
import sys, time
from pathlib import Path
from cyclegan_dist.storage.files import lock
with lock(Path(sys.argv[1])):
    print("here", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def web() -> Iterator[WebReceiver]:
    with web_receiver() as found:
        yield found


def start(folder: Path, web: WebReceiver) -> FolderAlerts:
    (folder / alerting.OUTBOX).mkdir(parents=True, exist_ok=True)
    return FolderAlerts(folder, settings_for(web), every_s=0.2)


def recorded(folder: Path) -> list[str]:
    journal = RunFolder(folder / alerting.OUTBOX).journal
    return [f"{r['event']} {r['name']}" for r, _ in read_records(journal, 0) if r["kind"] == "alert"]


def wait_for(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


@contextmanager
def running(folder: Path, web: WebReceiver) -> Iterator[None]:
    with alerting.alerting(folder, settings_for(web), 0.2, threading.Event()):
        yield


def test_a_launcher_that_is_killed_is_told_of_once_also_after_a_restart(tmp_path: Path, web: WebReceiver) -> None:
    path = make_run(tmp_path / "one")
    with subprocess.Popen([sys.executable, "-c", HOLD, RunFolder(path).lock], stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout and launcher.stdout.readline()
        with running(tmp_path, web):
            time.sleep(0.5)
            assert not web.posts
            launcher.kill()
            killed = time.monotonic()
            wait_for(lambda: web.posts)
            assert time.monotonic() - killed < 2
    with running(tmp_path, web):
        time.sleep(0.5)
    assert web.events == ["failed"] and web.bodies[0]["data"]["name"] == "one"


def test_a_journal_that_is_not_understood_keeps_no_other_run_from_alerts(
    tmp_path: Path, web: WebReceiver, capsys: pytest.CaptureFixture[str]
) -> None:
    alerts = start(tmp_path, web)
    append(make_run(tmp_path / "a"), "estimate", step=9, nimg=36, values={})
    append(make_run(tmp_path / "b"), "gave_up", text="x\udce4.png is no image")
    alerts.look()
    assert recorded(tmp_path) == ["failed b"]
    out, err = capsys.readouterr()
    assert (
        "failed: b: x\\udce4.png is no image" in out
        and err.count("a: no alerts of this run: its journal is not understood") == 1
    )


def test_what_was_not_sent_is_sent_after_a_restart(
    tmp_path: Path, web: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerting, "LAST_S", 0.1)
    web.holds.set()
    with running(tmp_path, web):
        make_run(tmp_path / "one", end="FINISHED")
        wait_for(lambda: recorded(tmp_path) == ["finished one"])
    assert not web.posts
    web.holds.clear()
    with running(tmp_path, web):
        wait_for(lambda: web.posts)
    assert {*web.events} == {"finished"} and len({headers["webhook-id"] for headers, _ in web.posts}) == 1


def test_runs_that_had_ended_and_trials_are_left_out(
    tmp_path: Path, web: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "old", end="FINISHED")
    time.sleep(0.01)
    alerts = start(tmp_path, web)
    monkeypatch.setitem(CONFIG, "tracking.parent", "sweep")
    make_run(tmp_path / "sweep" / "trial", end="FAILED")
    append(tmp_path / "sweep" / "trial", "gave_up", text="diverged")
    monkeypatch.delitem(CONFIG, "tracking.parent")
    make_run(tmp_path / "new", end="FINISHED")
    assert not alerts.look() and recorded(tmp_path) == ["finished new"]
    assert not start(tmp_path, web).look() and recorded(tmp_path) == ["finished new"]


def test_what_a_run_sends_itself_is_not_sent_again(
    tmp_path: Path, web: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts = start(tmp_path, web)
    for name in ("sent", "unsent"):
        path = make_run(tmp_path / name, end="FINISHED")
        [alert] = RunEvents(path, name).look(0)
        append(path, "alert", **alert.record())
    path = tmp_path / "sent"
    destination = AlertDestination(path, "webhook", settings_for(web))
    for record, offset in read_records(RunFolder(path).journal, 0):
        destination.send(record, offset)
    assert len(web.posts) == 1
    alerts.look()
    assert recorded(tmp_path) == []
    monkeypatch.setattr(alerting, "OWN_S", 0.0)
    alerts.look()
    assert recorded(tmp_path) == ["finished unsent"]


def test_one_process_sends_those_of_a_folder(tmp_path: Path, web: WebReceiver) -> None:
    refused = pytest.raises(UsageError, match="another process sends alerts of")
    with running(tmp_path, web), refused, running(tmp_path, web):
        pass


def test_a_journal_that_cannot_be_read_is_said_once(
    tmp_path: Path, web: WebReceiver, capsys: pytest.CaptureFixture[str]
) -> None:
    alerts = start(tmp_path, web)
    broken = make_run(tmp_path / "broken")
    RunFolder(broken).journal.unlink()
    RunFolder(broken).journal.mkdir()
    make_run(tmp_path / "one", end="FINISHED")
    alerts.look()
    alerts.look()
    out = capsys.readouterr()
    assert out.err.count("broken cannot be read") == 1 and recorded(tmp_path) == ["finished one"]
    assert out.out == "alert: finished: one: 12 images\n"


def test_a_run_that_hangs_is_told_of(tmp_path: Path, web: WebReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONFIG, "world.timeout_s", 0.01)
    monkeypatch.setitem(CONFIG, "every.log", 0.01)
    path = make_run(tmp_path / "one")
    with lock(RunFolder(path).lock):
        time.sleep(0.15)
        alerts = start(tmp_path, web)
        alerts.look()
    assert recorded(tmp_path) == ["stalled one"]
