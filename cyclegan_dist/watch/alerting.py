"""Alerts of all runs of a folder, from a process that is not theirs: it notices launchers that were killed."""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cyclegan_dist.alerts.alert import KIND, Alert, encodable
from cyclegan_dist.alerts.config import AlertSettings
from cyclegan_dist.alerts.delivery import is_delivered
from cyclegan_dist.alerts.run_events import RunEvents
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import lock
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import append, read_records
from cyclegan_dist.tracking.overview import find_runs
from cyclegan_dist.tracking.sender_state import first_line
from cyclegan_dist.training.sender import send_alerts

OUTBOX = ".alerts"  # in the folder of runs: a journal of alerts, and what has been sent of it
CONFIRM_S = 10.0  # at most, in which a launcher may restart itself
OWN_S = 60.0  # in which a run's own sender can deliver an alert, before this process does
LAST_S = 5.0  # at the end, to send the rest


@contextmanager
def alerting(folder: Path, settings: AlertSettings, every_s: float, stopped: threading.Event) -> Iterator[None]:
    """Send alerts of the runs in `folder` from a thread until the block ends, or `stopped` is set. If the thread fails,
    this process gets SIGTERM, and the block's end raises the error.

    Raises:
        UsageError: if another process sends alerts of the folder.
        OSError: as `FolderAlerts`.
    """
    (folder / OUTBOX).mkdir(exist_ok=True)
    held = f"another process sends alerts of {folder}: end it, or leave out --alert"
    with lock(folder / OUTBOX / "watch.lock", held=held):
        alerts, failure = FolderAlerts(folder, settings, every_s), list[BaseException]()

        def run() -> None:
            try:
                alerts.run(stopped)
            except BaseException as error:
                traceback.print_exc()
                failure.append(error)
                os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join(2 * LAST_S)
        if failure:
            raise failure[0]


def wait_for_signal(stopped: threading.Event, announcement: str) -> None:
    """Print the announcement and wait for SIGINT or SIGTERM, or until `stopped` is set."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stopped.set())
    print(announcement, flush=True)
    while not stopped.wait(0.5):
        pass


class FolderAlerts:
    """Looks for events in the runs of a folder and sends each once, also across restarts: they are written to a journal
    in `.alerts` before they are sent. Trials of sweeps are left out. So is what had ended before the first start.

    Args:
        folder: of runs, or that of one.
        settings: where alerts are sent.
        every_s: seconds after which a killed launcher is noticed, at the latest.

    Raises:
        OSError: if `.alerts` does not exist or cannot be written.
    """

    def __init__(self, folder: Path, settings: AlertSettings, every_s: float):
        self._folder, self._settings, self._every_s = folder, settings, every_s
        self._outbox, self._confirm_s = folder / OUTBOX, min(CONFIRM_S, every_s / 2)
        journal = RunFolder(self._outbox).journal
        if not journal.exists() or next(read_records(journal, 0), None) is None:
            append(self._outbox, "message", text=f"watching {folder}")
        records = [record for record, _ in read_records(journal, 0)]
        self._since = records[0]["time"] / 1000
        self._sent = {record["id"] for record in records if record["kind"] == KIND}
        self._runs: dict[Path, RunEvents] = {}
        self._seen: set[Path] = set()  # with a launcher
        self._problem = ""

    def run(self, stopped: threading.Event) -> None:
        """Look and send until `stopped` is set."""
        threads = [
            threading.Thread(target=self._send, args=(name, stopped), daemon=True)
            for name in self._settings.destinations
        ]
        for thread in threads:
            thread.start()
        while not stopped.is_set():
            waits = self.look()
            stopped.wait(self._confirm_s if waits else self._every_s - self._confirm_s)
        until = time.monotonic() + LAST_S
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def look(self) -> bool:
        """Look at all runs once, and record what is new. Returns whether one of them must be looked at again soon."""
        waits = False
        try:
            found = dict(find_runs(self._folder))
        except OSError as error:
            self._say(f"{self._folder} cannot be read: {first_line(error)}")
            return True
        self._runs = {path: self._runs.get(path) or RunEvents(path, name) for name, path in found.items()}
        problem = ""
        for path, run in self._runs.items():
            try:
                alerts = run.look(self._confirm_s)
            except OSError as error:
                problem = problem or f"{path} cannot be read: {first_line(error)}"
                continue
            except Exception as error:  # of a journal that another version has written: the other runs go on
                what = f"{type(error).__name__}: {first_line(error)}"
                problem = problem or f"{path}: no alerts of this run: its journal is not understood ({what})"
                continue
            waits |= run.unconfirmed
            if run.active:
                self._seen.add(path)
            if run.is_trial or (run.updated < self._since and path not in self._seen):
                continue
            for alert in alerts:
                if alert.id not in self._sent and not self._is_its_own(run, alert):
                    self._record(alert)
        self._say(problem)
        return waits

    def _is_its_own(self, run: RunEvents, alert: Alert) -> bool:
        """Whether the run's own sender has delivered an alert to the same places, or still may."""
        if alert.id not in run.recorded:
            return False
        offset, written = run.recorded[alert.id]
        if time.time() - written < OWN_S:
            return True
        return all(is_delivered(run.path, name, self._settings, offset) for name in self._settings.destinations)

    def _record(self, alert: Alert) -> None:
        try:
            append(self._outbox, KIND, **alert.record())
        except OSError as error:  # the next look tries again
            self._say(f"{self._outbox} cannot be written, alerts are delayed: {first_line(error)}")
            return
        self._sent.add(alert.id)
        print(encodable(f"alert: {alert.title}: {alert.reason}"), flush=True)

    def _send(self, name: str, stopped: threading.Event) -> None:
        while True:
            try:
                send_alerts(self._outbox, name, self._settings, stopped)
                return
            except (UsageError, OSError) as error:
                print(f"error: {first_line(error)}", file=sys.stderr, flush=True)
            if stopped.wait(self._every_s):
                return

    def _say(self, problem: str) -> None:
        """Print what is wrong once, until it is something else."""
        if problem and problem != self._problem:
            print(encodable(problem), file=sys.stderr, flush=True)
        self._problem = problem
