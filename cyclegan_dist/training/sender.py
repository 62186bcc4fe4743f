"""Send a run's journal, from where the last sender stopped.

    python -m cyclegan_dist.training.sender RUN_DIR [--follow]

Sends it to MLflow. With --follow it sends to all destinations of the run's config, alerts too, and continues until a
byte or the end of its standard input: launchers run it so during a training. One sender at a time sends a run to a
destination.
"""

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from cyclegan_dist.alerts.alert import KIND
from cyclegan_dist.alerts.config import AlertSettings
from cyclegan_dist.alerts.delivery import CARRIERS, AlertDestination
from cyclegan_dist.alerts.run_events import RunEvents
from cyclegan_dist.config.config import home
from cyclegan_dist.data.stop_signals import ignore_stop_signals
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.registry.sources import use_store_of
from cyclegan_dist.storage.files import lock
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.storage.urls import sqlite_path
from cyclegan_dist.tracking.config import TrackingConfig
from cyclegan_dist.tracking.destination import send_journal
from cyclegan_dist.tracking.journal import append, follow
from cyclegan_dist.tracking.sender_state import SenderState, first_line, key_of, server_of
from cyclegan_dist.training.alerting import NO_ALERTS, alerts_of, restarts_follow
from cyclegan_dist.training.run_folder import read_config

TRIES = 3  # without progress, before the sender gives up after the end of the run
PAUSE_S = 30.0  # at most, between two tries
ALERT_PAUSE_S = 600.0  # the same for alerts, so that a receiver with a fault gets few requests
DYING_S = 0.2  # in which a launcher that is killed, and closed the input of this process, loses its lock
LOOK_S = 1.0  # between two looks at what people are alerted of


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)


@dataclass(frozen=True)
class _Target:
    """One destination of the journal.

    Attributes:
        name: of its state and lock.
        label: for people.
        errors: that may go away by themselves.
        send: sends until all is sent; given the number of failures without progress.
        pause_s: at most, between two tries.
        report: given a line when it cannot be reached.
    """

    name: str
    label: str
    errors: tuple[type[Exception], ...]
    send: Callable[[int], None]
    pause_s: float = PAUSE_S
    report: Callable[[str], None] = _to_stderr


def sync(run_dir: Path, done: threading.Event) -> None:
    """Send the journal until `done` is set and everything before that is sent, to the store that the run belongs to.

    Raises:
        UsageError: if MLflow fails after `done` is set, `run_dir` is not a run folder, or MLFLOW_TRACKING_URI names
            another store.
    """
    _persist(run_dir, _mlflow(run_dir, read_config(run_dir).tracking, done), done)


def send(run_dir: Path, config: TrackingConfig, done: threading.Event, alerts: AlertSettings = NO_ALERTS) -> bool:
    """As `sync`, to all destinations of `config`, at once: none waits for another. What people are alerted of is looked
    for meanwhile and sent to those of `alerts`. There is at least one destination. What fails is printed as one line.

    Returns:
        Whether everything was sent.
    """
    makers = {"MLflow": _mlflow, "TensorBoard": _tensorboard, "Weights & Biases": _wandb}
    failed: list[str] = []
    recorded = threading.Event()  # all alerts are

    def run(name: str) -> None:
        try:
            if name in makers:
                _persist(run_dir, makers[name](run_dir, config, done), done)
            else:
                send_alerts(run_dir, name, alerts, recorded)
        except (UsageError, OSError) as error:
            failed.append(name)
            print(f"error: {error}", file=sys.stderr, flush=True)

    if alerts.destinations:
        threading.Thread(target=_record_alerts, args=(run_dir, done, recorded), daemon=True).start()
    first, *others = (*config.destinations, *alerts.destinations)
    threads = [threading.Thread(target=run, args=(name,), daemon=True) for name in others]
    for thread in threads:
        thread.start()
    run(first)  # in this thread, in which it can be interrupted
    for thread in threads:
        thread.join()
    return not failed


def _persist(run_dir: Path, target: _Target, done: threading.Event) -> None:
    """Send to one destination, again after failures."""
    folder, failures = RunFolder(run_dir), 0
    held = f"another sender is sending {run_dir}: waiting"
    with lock(folder.sender_lock_of(target.name), held=held, wait=True):
        while True:
            before = SenderState.read(run_dir, target.name)
            try:
                target.send(failures)
                return
            except target.errors as error:
                failures = failures + 1 if SenderState.read(run_dir, target.name) == before else 1
                is_last = done.is_set() and failures >= TRIES
                if failures == TRIES and (not is_last or target.report is not _to_stderr):
                    reason = "" if target.name == "mlflow" else f" ({first_line(error)})"
                    target.report(f"{target.label} is unreachable{reason}; {folder.journal} keeps the rest")
                if is_last:
                    what = "the alerts" if target.name in CARRIERS else "the run"
                    raise UsageError(f"{target.label} did not accept {what}: {first_line(error)}") from error
            pause = min(target.pause_s, 2.0 ** min(failures - 1, 20))
            if done.is_set():
                time.sleep(pause)
            else:
                done.wait(pause)


def _mlflow(run_dir: Path, config: TrackingConfig, done: threading.Event) -> _Target:
    store = server_of(use_store_of(run_dir))
    from cyclegan_dist.tracking.mlflow_run import MlflowException  # mlflow is loaded from here on

    def send(failures: int) -> None:
        before = SenderState.read(run_dir)
        if not before.run_id and before.store != store:  # kept for senders that start elsewhere
            replace(before, store=store).save(run_dir)
        _send_to_mlflow(run_dir, config, done, isolating=failures >= TRIES - 1)

    return _Target("mlflow", f"MLflow at {store}", (MlflowException, OSError), send)


def _tensorboard(run_dir: Path, config: TrackingConfig, done: threading.Event) -> _Target:
    from cyclegan_dist.tracking.event_file import TENSORBOARD, open_event_file

    def send(failures: int) -> None:
        if _has_begun(run_dir, done):
            with open_event_file(run_dir) as file:
                send_journal(RunFolder(run_dir).journal, file, done)

    return _Target(TENSORBOARD, f"the event file in {RunFolder(run_dir).event_files}", (Exception,), send)


def _wandb(run_dir: Path, config: TrackingConfig, done: threading.Event) -> _Target:
    try:
        from cyclegan_dist.tracking.wandb_run import WANDB, open_wandb_run
    except ModuleNotFoundError as error:
        needs = f"tracking.wandb needs the package {error.name}: pip install 'cyclegan_dist[wandb]'"
        raise UsageError(needs) from error

    def send(failures: int) -> None:
        if not _has_begun(run_dir, done):
            return
        sent = SenderState.read(run_dir, WANDB)
        offset = sent.offset if (sent.store, sent.key) == (config.wandb, key_of(run_dir)) else 0
        if next(follow(RunFolder(run_dir).journal, offset, done), None) is not None:  # else it would write an empty run
            with open_wandb_run(run_dir, config.wandb) as run:
                send_journal(RunFolder(run_dir).journal, run, done)

    return _Target(WANDB, f"project {config.wandb} of Weights & Biases", (Exception,), send)


def send_alerts(folder: Path, name: str, alerts: AlertSettings, done: threading.Event) -> None:
    """Send the alerts of a journal in `folder` to one destination of `alerts`, until `done` is set and all are sent.

    Raises:
        UsageError: if it fails after `done` is set.
        OSError: if its state or its lock cannot be written.
    """

    def send(failures: int) -> None:
        if _has_begun(folder, done):
            send_journal(RunFolder(folder).journal, AlertDestination(folder, name, alerts), done)

    label = f"{name} at {CARRIERS[name].place(alerts)}"

    def report(text: str) -> None:
        append(folder, "message", text=text)

    _persist(folder, _Target(name, label, (OSError,), send, ALERT_PAUSE_S, report), done)


def _record_alerts(run_dir: Path, done: threading.Event, recorded: threading.Event) -> None:
    """Append what people are alerted of to the run's journal, until `done` is set and all before that is there."""
    events, failure = RunEvents(run_dir, run_dir.name), ""
    confirm_s = math.inf if restarts_follow() else 0.0  # this process belongs to the launcher, whose lock is seen here
    try:
        with lock(RunFolder(run_dir).sender_lock_of(KIND), wait=True):  # another sender may be at its end
            while True:
                is_last = done.is_set()
                try:
                    for alert in events.look(confirm_s):
                        if alert.id not in events.recorded:
                            append(run_dir, KIND, **alert.record())
                    failure = ""
                except OSError as error:
                    if failure != (failure := first_line(error)):
                        print(f"alerts of {run_dir} are delayed: {failure}", file=sys.stderr, flush=True)
                if is_last:
                    return
                if done.wait(LOOK_S):
                    time.sleep(DYING_S)
    finally:
        recorded.set()


def _has_begun(run_dir: Path, done: threading.Event) -> bool:
    """Wait for the first record; whether there is one."""
    return next(follow(RunFolder(run_dir).journal, 0, done), None) is not None


def _send_to_mlflow(run_dir: Path, config: TrackingConfig, done: threading.Event, *, isolating: bool) -> None:
    """Send what has not been sent, then what is appended, until `done` is set. `isolating` as for `MlflowRun`."""
    folder = RunFolder(run_dir)
    if folder.sweep_journal.exists():
        from cyclegan_dist.tracking.mlflow_sweep import RESULTS, send_sweep

        if not (run_dir / RESULTS).exists():
            raise UsageError(f"{run_dir} has no {RESULTS}: run the sweep's command again, which writes and sends it")
        with _database_lock():
            send_sweep(run_dir, config.experiment, home() / "mlartifacts")
        return
    from cyclegan_dist.tracking.mlflow_run import MlflowRun, measuring_system

    if not _has_begun(run_dir, done):
        return
    with _database_lock():
        artifacts, tries = home() / "mlartifacts", {"parent": config.parent, "isolating": isolating}
        run = MlflowRun(run_dir, config.experiment, artifacts, _log_generators, **tries)
    with measuring_system(run.run_id) if config.system_metrics and not done.is_set() else contextlib.nullcontext():
        send_journal(folder.journal, run, done)


@contextlib.contextmanager
def _database_lock() -> Iterator[None]:
    """Serialise the first access to a database file: it creates the tables, and fails if two processes do so."""
    path = sqlite_path(os.environ["MLFLOW_TRACKING_URI"])
    if path is None:
        yield
        return
    with lock(path.with_name(f"{path.name}.lock"), wait=True):
        yield


def _log_generators(run_id: str, snapshot: Path, step: int) -> None:
    from cyclegan_dist.registry.models import log_generators

    log_generators(run_id, snapshot, step)


def main() -> int:
    """Read the command line and send."""
    return tyro.cli(_main, prog="python -m cyclegan_dist.training.sender", description=__doc__)


def _main(run_dir: tyro.conf.Positional[Path], *, follow: bool = False) -> int:
    done = threading.Event()
    if not follow:
        done.set()
    else:
        ignore_stop_signals()  # the sender must outlive the training to send its end
        os.nice(19)  # lower priority than training; Ray runs ranks with a niceness of 15
        threading.Thread(target=lambda: (sys.stdin.buffer.read(1), done.set()), daemon=True).start()
    run_dir = run_dir.absolute()
    if follow:
        config = read_config(run_dir)
        return 0 if send(run_dir, config.tracking, done, alerts_of(config)) else 2
    sync(run_dir, done)
    return 0


if __name__ == "__main__":
    run_command(main)
